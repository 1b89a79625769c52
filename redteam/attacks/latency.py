"""R16: does the time of an answer tell what its content does not?

The attacker is the linker on loopback, with many repetitions in random order. It tries to tell by
response time alone

* records that were asked for before from fresh ones (a warm cache would join the passes of one);
* tokens that nobody holds from tokens too crowded to be proved (both answer zero);
* handles that nobody gave out from retired ones (both in one error).

First design: sketches made when they are first asked for. The same registry with such a shelf
stands beside it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from kinlink_core.errors import KinlinkError
from kinlink_registry import records
from kinlink_registry.shelf import Shelf

from redteam.asker import ids, meet
from redteam.attacks.chance import auc
from redteam.population import make
from redteam.registries import rows_of, twins
from redteam.results import Result, about

if TYPE_CHECKING:
    from collections.abc import Callable

    from redteam.asker import Asked, Asker
    from redteam.registries import Laboratory
    from redteam.setting import Setting

PEOPLE: Final = 900
CALLS: Final = 300  # of each kind
CALLS_QUICK: Final = 60
ROWS_A_CALL: Final = 8
TARGET: Final = 0.55
CLASSICAL_MIN: Final = 0.6
PASS: Final = "name_birth"  # noqa: S105 - a blocking pass


def run(setting: Setting) -> list[Result]:
    """AUC of each pair of kinds by response time."""
    calls = CALLS_QUICK if setting.quick else CALLS
    rows = rows_of(make(PEOPLE, 2, setting.seed, correlated=False, errors=0), 0)
    crowd = [{**rows[0], "record_id": f"crowd {number}"} for number in range(40)]
    with twins([*rows, *crowd], 2) as lab, lab.serving() as askers:
        left, right = askers.values()
        clock = _Clock(np.random.default_rng([setting.seed, 16]), calls)
        asked = meet(left, right, left.schema.pass_index(PASS)).to_left
        asked = _only(asked, np.flatnonzero(asked.counts[asked.island] == 1))
        found = {
            "warm from fresh": clock.auc(*_warm_and_fresh(left, asked)),
            "unknown from crowded": clock.auc(*_tokens(left, asked)),
            "unknown from retired": clock.auc(*_handles(lab, left, asked, rows)),
        }
        lazy = _LazyShelf(left.schema, left.node.vault.cipher, 1 << 30)
        object.__setattr__(left.node, "shelf", lazy)
        now = meet(left, right, left.schema.pass_index(PASS)).to_left
        now = _only(now, np.flatnonzero(now.counts[now.island] == 1))
        classical = clock.auc(*_warm_and_fresh(left, now, lazy.keep, lazy.forget))
    return [
        Result("R16", f"latency, {kind}", f"{about(len(rows))} people, {calls} calls each",
               setting.seed, "AUC by response time", share, TARGET, classical, CLASSICAL_MIN,
               "number", "Linker alone. First design: sketches made when first asked for.")
        for kind, share in found.items()
    ]  # fmt: skip


class _Clock:
    """Times calls of two kinds in random order."""

    def __init__(self, rng: np.random.Generator, calls: int) -> None:
        self._rng = rng
        self._calls = calls

    def auc(self, one: Callable[[int], Any], other: Callable[[int], Any]) -> float:
        """AUC of the seconds of two kinds of calls; each is given the number of the call."""
        kinds = self._rng.permutation(np.repeat([0, 1], self._calls))
        seconds: tuple[list[float], list[float]] = ([], [])
        for number, kind in enumerate(kinds.tolist()):
            call = (one, other)[kind]
            started = time.perf_counter()
            with suppress(KinlinkError):
                call(number)
            seconds[kind].append(time.perf_counter() - started)
        return auc(*seconds)


def _warm_and_fresh(
    left: Asker,
    asked: Asked,
    keep: Callable[[], None] | None = None,
    forget: Callable[[], None] | None = None,
) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """Sieve rows of the first half, which were asked for, or rows of the second, each but once."""
    half = len(asked.own) // 2
    warm = _only(asked, np.arange(ROWS_A_CALL))
    left.sieve(warm)
    if keep is not None:
        keep()

    def fresh(number: int) -> Any:
        if forget is not None:
            forget()
        start = half + number * ROWS_A_CALL % max(half - ROWS_A_CALL, 1)
        return left.sieve(_only(asked, np.arange(start, start + ROWS_A_CALL)))

    return lambda _number: left.sieve(warm), fresh


def _tokens(left: Asker, asked: Asked) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    held = left.feed().held(asked.pass_index)
    crowded = ids([max(held, key=lambda token: len(held[token]))] * ROWS_A_CALL)
    nobody = ids([os.urandom(16) for _ in range(ROWS_A_CALL)])
    index = asked.pass_index
    card = asked.card
    return lambda _: left.prove(crowded, index, card), lambda _: left.prove(nobody, index, card)


def _handles(
    lab: Laboratory, left: Asker, asked: Asked, rows: list[dict[str, str]]
) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    some = left.proven(_only(asked, np.arange(ROWS_A_CALL)))
    unknown = replace(some, own=ids([os.urandom(16) for _ in range(ROWS_A_CALL)]))
    lab.ingest(left.node.name, [{**row, "phone": "12922222222"} for row in rows])
    return lambda _: left.seal(some), lambda _: left.seal(unknown)


def _only(asked: Asked, rows: Any) -> Asked:
    """Some rows, with only their islands, so that requests are of one size."""
    named, island = np.unique(np.asarray(asked.island)[rows], return_inverse=True)
    return replace(
        asked,
        tokens=asked.tokens[named],
        counts=asked.counts[named],
        proofs=asked.proofs[named],
        own=asked.own[rows],
        theirs=asked.theirs[rows],
        island=island,
    )


class _LazyShelf(Shelf):
    """The first design: a record's encoding is made when it is first asked for, and kept."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._made: set[int] = set()
        self._warm: frozenset[int] = frozenset()

    def keep(self) -> None:
        """Call what was asked for so far warm."""
        self._warm = frozenset(self._made)

    def forget(self) -> None:
        """As if nothing but what is warm had been asked for."""
        self._made = set(self._warm)

    def fetch(self, session: Any, epoch: Any, refs: Any) -> Any:
        """Encode what was not asked for before."""
        new = [ref for ref in np.unique(refs).tolist() if ref not in self._made]
        if new:
            people = records.open_people(session, self._cipher, np.array(new, np.int32))
            by_field = {
                field.name: [values[index] for values in people.values]
                for index, field in enumerate(self._schema.fields)
            }
            epoch.encoder.encode(by_field)
            self._made.update(new)
        return super().fetch(session, epoch, refs)
