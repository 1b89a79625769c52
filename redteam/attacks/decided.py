"""R15: pairs that were decided in one epoch, asked for again in the next.

The attacker is a lying linker. It knows which subjects were decided and holds every handle of both
epochs; in the new epoch it asks for all pairs of all passes and plays with what the registries tell
each other about their decided pairs: withholds it, invents it, repeats that of the old epoch,
relays it late, after a record has changed.

First design: verdicts hung on the handles of their epoch, so that in the next every decided pair
was sealed like any other.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink_core.errors import KinlinkError
from kinlink_core.wire import Refusal
from kinlink_registry.records import record_place

from redteam.asker import meet
from redteam.population import make
from redteam.registries import rows_of, twins
from redteam.results import Result, about

if TYPE_CHECKING:
    from collections.abc import Callable

    from redteam.asker import Asked, Asker
    from redteam.registries import Laboratory
    from redteam.setting import Setting

PEOPLE: Final = 120
DECIDED: Final = 12
NEXT_EPOCH: Final = "2026-12"
PASSES: Final = ("name_birth", "given_birth", "birth_place")
TURNS: Final = 4


def run(setting: Setting) -> list[Result]:
    """Share of decided pairs that get sealed in the next epoch, whatever the linker does."""
    rows = rows_of(make(PEOPLE, 2, setting.seed, correlated=False, errors=0), 0)
    with twins(rows, 2) as lab, lab.serving() as askers:
        scene = _Scene(lab, *askers.values())
        sealed = {name: scene.sealed(trick) for name, trick in scene.tricks().items()}
        others = scene.others
        lab.ingest(scene.left.node.name, [{**row, "phone": "12911111111"} for row in rows])
        sealed["a late answer"] = scene.sealed(scene.late)
    told = ", ".join(f"{name} {share:.0%}" for name, share in sealed.items())
    return [
        Result(
            id="R15",
            title="decided pairs in a new epoch",
            setting=f"{about(len(rows))} people, {DECIDED} decided pairs, {len(PASSES)} passes",
            seed=setting.seed,
            measure="decided pairs sealed again",
            value=max(sealed.values()),
            target=0.0,
            classical=others,
            classical_min=0.99,
            detail=f"Lying linker, real registries. {told}. Beside it pairs that were not decided.",
        )
    ]


class _Scene:
    """Two registries in their second epoch, pairs of the first decided."""

    def __init__(self, lab: Laboratory, left: Asker, right: Asker) -> None:
        self.left, self.right = left, right
        self.others = 0.0
        met = meet(left, right, left.schema.pass_index(PASSES[0]))
        chosen = slice(0, DECIDED)
        self.decided = {self._whose(left, handle) for handle in met.to_left.own[chosen]}
        self._decide(met.to_left, met.to_right, chosen)
        self.old = self.fresh = self._talk()
        lab.share(NEXT_EPOCH)
        for asker in (left, right):
            asker.node.epochs.sync()
            asker.epoch = NEXT_EPOCH

    def tricks(self) -> dict[str, Callable[[], None]]:
        """What a linker may do with the messages, the honest way last."""
        return {
            "withheld": lambda: None,
            "invented": lambda: self._tell(os.urandom(64), os.urandom(5_000)),
            "of the old epoch": lambda: self._repeat(self.old),
            "a question alone": self._ask_alone,
            "relayed": self._relay,
        }

    def late(self) -> None:
        """Relay an answer that was made before the asker's record changed."""
        self._repeat(self.fresh)

    def sealed(self, trick: Callable[[], None]) -> float:
        """Ask for every pair of every pass after a trick; share of decided pairs answered."""
        trick()
        answered, others = [], []
        for name in PASSES:
            asked = meet(self.left, self.right, self.left.schema.pass_index(name)).to_left
            ours = [self._whose(self.left, handle) for handle in asked.own]
            theirs = [self._whose(self.right, handle) for handle in asked.theirs]
            got = _answered(self.left, asked)
            pairs = list(zip(ours, theirs, got.tolist(), strict=True))
            answered += [row for one, other, row in pairs if one == other and one in self.decided]
            others += [row for one, other, row in pairs if one == other and one not in self.decided]
        self.others = float(np.mean(others))
        return float(np.mean(answered))

    def _decide(self, to_left: Asked, to_right: Asked, chosen: slice) -> None:
        tags = self.left.tagged(to_left).record_tag, self.right.tagged(to_right).record_tag
        sides = (self.left, to_left, tags[1]), (self.right, to_right, tags[0])
        subjects = [
            asker.disclose(asked.card, asked.own, asked.theirs, tag).subjects
            for asker, asked, tag in sides
        ]
        for number, (asker, asked, _) in enumerate(sides):
            asker.publish(
                *(
                    pb.PublishedLink(
                        link_id=f"link-{row}",
                        subject=subjects[number][row].tobytes(),
                        partner=asked.card.registry,
                        partner_subject=subjects[1 - number][row].tobytes(),
                        match_weight=12.5,
                        match_probability=0.99,
                        person_id=f"person-{row}",
                        verdict=pb.VERDICT_CONFIRMED,
                        own_handle=asked.own[row].tobytes(),
                        partner_handle=asked.theirs[row].tobytes(),
                    )
                    for row in range(*chosen.indices(len(asked.own)))
                )
            )

    def _talk(self) -> list[tuple[bytes, bytes]]:
        """Relay honestly until nobody has anything to say; what was relayed to the left."""
        heard, told = [], (b"", b"")
        for _ in range(TURNS):
            said = self.left.exchange(self.right.card, *told)
            said = self.right.exchange(self.left.card, said.question, said.answer)
            told = (said.question, said.answer)
            heard.append(told)
        return heard

    def _relay(self) -> None:
        self.fresh = self._talk()

    def _repeat(self, heard: list[tuple[bytes, bytes]]) -> None:
        for pair in heard:
            self._tell(*pair)

    def _tell(self, question: bytes, answer: bytes) -> None:
        for pair in ((question, b""), (b"", answer)):
            with suppress(KinlinkError):
                self.left.exchange(self.right.card, *pair)

    def _ask_alone(self) -> None:
        self.right.exchange(self.left.card, self.left.exchange(self.right.card).question)

    @staticmethod
    def _whose(asker: Asker, handle: np.ndarray) -> str:
        """Which person a handle is of, by the file's id: the truth, from the vault."""
        with asker.node.vault.reading() as session:
            (row,) = session.rows(
                "SELECT ref, version, sealed FROM record SEMI JOIN"
                " (SELECT ref FROM handle WHERE handle = ?::UUID) USING (ref)",
                [handle.tobytes().hex()],
            )
        content = asker.node.vault.cipher.open(record_place(row[0], row[1]), row[2])
        return str(json.loads(content)[0])


def _answered(asker: Asker, asked: Asked) -> np.ndarray:
    """Which rows are sealed, or would be if their distance were proven: the sieve answers them."""
    answered = np.zeros(len(asked.own), bool)
    for call in (asker.seal, asker.sieve):
        with suppress(KinlinkError):
            answered |= call(asked).refusal == Refusal.ANSWERED
    return answered
