"""One look at some changes: the stages of a linkage for the pairs that are new, and their links.

The channels to the registries are kept from step to step, and renewed now and then.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.errors import PreconditionError, Reason
from kinlink_core.wire import Refusal

from kinlink_linker.candidates import Finder
from kinlink_linker.disclose import Discloser
from kinlink_linker.exchange import exchange_decisions
from kinlink_linker.federation import REGISTRIES_MIN, Federation
from kinlink_linker.links import rule_of
from kinlink_linker.lookout import Lookout, work_of
from kinlink_linker.progress import Progress, Tally
from kinlink_linker.publish import Publisher
from kinlink_linker.run import Run
from kinlink_linker.scorer import TableScorer
from kinlink_linker.seal import Sealer
from kinlink_linker.sieve import CandidatePairs, Siever
from kinlink_linker.weigh import weigh

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.changes import Entry
    from kinlink_linker.job import Workshop
    from kinlink_linker.kept import Kept
    from kinlink_linker.links import FoundLinks
    from kinlink_linker.lookout import Seen
    from kinlink_linker.peer import RegistryPeer

# Channels are opened anew, and registries asked who they are: certificates and epochs change.
RENEW_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Done:
    """What came of a step; an unfinished one has to be taken again."""

    finished: bool
    short: bool = False  # a registry's budget of the day for disclosures was spent
    changed: int = 0
    fallen: int = 0


class Step:
    """Takes steps with the registries of one linkage, one at a time."""

    def __init__(
        self, shop: Workshop, schema: Schema, kept: Kept, peers: Mapping[str, RegistryPeer]
    ) -> None:
        """Connect.

        Raises:
            PreconditionError: TOO_FEW_REGISTRIES, or EPOCH_UNKNOWN if they went on to another one.
        """
        self._shop = shop
        self._schema = schema
        self._kept = kept
        self._opened_at = time.monotonic()
        self._federation = Federation(peers, threading.Event())
        try:
            _check_epoch(kept, shop.sync.connect(self._federation))
        except BaseException:
            self.close()
            raise
        with shop.sync.files.borrowed(kept.epoch) as file:
            file.index()
        self._talked = False

    @property
    def old(self) -> bool:
        """Whether it is time to open channels anew."""
        return time.monotonic() - self._opened_at > RENEW_SECONDS

    @property
    def missing(self) -> tuple[str, ...]:
        """Registries that are away."""
        return tuple(each.name for each in self._federation.missing)

    def cut(self) -> None:
        """End what is in flight."""
        self._federation.cut()

    def close(self) -> None:
        """Close all channels."""
        self._shop.sync.note_lost(self._federation)
        self._federation.close()

    def take(self, entries: Sequence[Entry]) -> Done:
        """Look at some changes.

        Raises:
            KinlinkError: nothing was written; the changes have to be looked at again.
        """
        kept, shop = self._kept, self._shop
        tally = Tally([each.id for each in self._schema.passes])
        run = Run(kept.linkage_id, self._schema, self._federation, Progress(), tally, kept.epoch)
        with run.progress.stage("standing"), shop.sync.files.borrowed(kept.epoch) as file:
            finder = Finder(run, file, shop.sync.limits, shop.engine.split)
            # Also of registries that are away: their tokens are here, and count.
            codes = {name: file.code(name) for name in kept.order.registries}
            lookout = Lookout(kept.board, file, finder, codes)
            seen = lookout.look(work_of(entries))
            found: list[FoundLinks] = []
            if seen.islands:
                self._exchange(run)
                found = self._found(run, _together(Siever(run).sieve(lookout.islands(seen))))
            covered = run.federation.pairs()
            if len(run.federation.present) < REGISTRIES_MIN:
                run.federation.check("standing")
            return self._write(run, found, covered, seen)

    def _exchange(self, run: Run) -> None:
        """Let registries speak of decided pairs: once a connection, then where there are any.

        Registries decide nothing that this linker did not tell them.
        """
        if not self._talked or self._shop.writer.decided():
            exchange_decisions(run)
            self._talked = True

    def _found(self, run: Run, candidates: list[CandidatePairs]) -> list[FoundLinks]:
        compared = Sealer(run).compare(candidates, self._shop.sealed_pairs_max)
        scored = weigh(run, TableScorer(), compared, self._kept.model)
        return Discloser(run).disclose(scored, rule_of(self._kept.order, run.schema))

    def _write(
        self,
        run: Run,
        found: list[FoundLinks],
        covered: list[tuple[str, str]],
        seen: Seen,
    ) -> Done:
        board = self._kept.board
        falling = [link for link in seen.fallen if board.registries(link) in covered]
        updated = self._shop.writer.update(
            run.linkage_id,
            run.epoch,
            found,
            covered=covered,
            fallen=sorted(falling),
            rule=rule_of(self._kept.order, run.schema),
        )
        board.remove(falling)
        for each in found:
            board.put(each)
        if updated.told or updated.fallen:
            Publisher(run, self._shop.store).publish(found, updated.told)
            self._shop.sync.deliver(run.federation)
        finished = not (seen.unfinished or run.federation.missing)
        short = any(
            stage == "disclose" and refusal == Refusal.OVER_QUOTA.name.lower()
            for _, stage, refusal in run.tally.refusals
        )
        return Done(finished, short, updated.changed, updated.fallen)


def _check_epoch(kept: Kept, epoch: str) -> None:
    if epoch != kept.epoch:
        raise PreconditionError(
            Reason.EPOCH_UNKNOWN, f"They link in epoch {epoch} now: start a linkage in it."
        )


def _together(parts: list[CandidatePairs]) -> list[CandidatePairs]:
    """One entry for each pass between two registries, so that its pairs are in one order."""
    groups: dict[tuple[str, str, int], list[CandidatePairs]] = {}
    for each in parts:
        islands = each.islands
        groups.setdefault((islands.left, islands.right, islands.pass_index), []).append(each)
    return [
        replace(
            group[0],
            island=np.concatenate([each.island for each in group]),
            left=np.concatenate([each.left for each in group]),
            right=np.concatenate([each.right for each in group]),
        )
        for group in groups.values()
    ]
