"""R11: a lying linker forges presence, size, epoch, pass or partner.

The attacker is the linker alone: it has a valid certificate, every token, handle, proof and card
that real registries gave it, and lies about who holds what. Each forged request goes to a real
registry over mutual TLS. Beside it the same request told honestly, which is what the first design
answered to anyone: if that is not answered, the attack is broken.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink_core.errors import KinlinkError
from kinlink_core.wire import Refusal

from redteam.asker import Asked, ids, meet
from redteam.population import make
from redteam.registries import laboratory
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redteam.asker import Asker, Meeting
    from redteam.setting import Setting

PEOPLE = 200
SECOND_EPOCH = "2026-12"


def run(setting: Setting) -> list[Result]:
    """Put every forged request to a real registry; the share of rows answered."""
    population = make(PEOPLE, 3, setting.seed, correlated=False, overlap=0.8, errors=0)
    answered: dict[str, list[float]] = defaultdict(list)
    with laboratory(population) as lab:
        lab.share(SECOND_EPOCH)
        with lab.serving() as askers:
            scene = _Scene(*(askers[name] for name in population.names))
            honest = _answered(scene.left, scene.met.to_left)
            for kind, forged in scene.forgeries():
                answered[kind].append(_answered(scene.left, forged))
            for kind, call in scene.disclosures():
                answered[kind].append(_share(call))
    detail = "Linker alone, real registry. Forged: " + ", ".join(sorted(answered)) + "."
    return [
        Result(
            id="R11",
            title="forged requests",
            setting=f"{PEOPLE} people, 3 real registries",
            seed=setting.seed,
            measure="rows of forged requests answered",
            value=float(np.mean([share for kind in answered.values() for share in kind])),
            target=0.0,
            classical=honest,
            classical_min=0.99,
            detail=detail,
        )
    ]


class _Scene:
    """What a linker holds of three registries, and what it makes of it."""

    def __init__(self, left: Asker, right: Asker, third: Asker) -> None:
        self.left, self.right, self.third = left, right, third
        self.pass_index = left.schema.pass_index("name_birth")
        self.met = meet(left, right, self.pass_index)

    def forgeries(self) -> Iterator[tuple[str, Asked]]:
        """Requests for the left registry's side, each a lie in one thing."""
        asked = self.met.to_left
        random = np.frombuffer(os.urandom(asked.proofs.size), np.uint8).reshape(-1, 16)
        own = self.left.prove(asked.tokens, self.pass_index, asked.card).proofs
        for_third = self.right.prove(asked.tokens, self.pass_index, self.third.card).proofs
        rolled = np.roll(asked.proofs, 1, axis=0)
        for proofs in (random, np.zeros_like(random), own, for_third, rolled):
            yield "presence", replace(asked, proofs=proofs)
        yield "presence", self._alone()
        for change in (-1, 1, 5, 2**32 - 1):
            counts = (asked.counts.astype(np.int64) + change) % 2**32
            yield "size", replace(asked, counts=counts)
        yield "partner", replace(asked, card=self.third.card)
        for card in self._cards():
            yield "partner", replace(asked, card=card)
        yield "pass", replace(asked, pass_index=self.left.schema.pass_index("given_birth"))
        yield "pass", replace(asked, own=self._of_another_pass(len(asked.own)))
        yield "handle", replace(asked, own=asked.theirs)
        yield "handle", replace(asked, own=np.roll(asked.own, 1, axis=0))
        yield "handle", replace(asked, own=random[np.zeros(len(asked.own), int)])
        yield "epoch", self._of_the_other_epoch()

    def disclosures(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """Subjects asked for without the partner's seal on the pair."""
        asked = self.met.to_left
        ours = self.left.tagged(asked).record_tag
        theirs = self.right.tagged(self.met.to_right).record_tag
        card, own, others = asked.card, asked.own, asked.theirs
        for tags in (np.zeros_like(theirs), ours, np.roll(theirs, 1, axis=0)):
            yield "disclosure", partial(self.left.disclose, card, own, others, tags)
        yield "disclosure", partial(self.left.disclose, self.third.card, own, others, theirs)

    def _alone(self) -> Asked:
        """People of the left registry alone, said to be the partner's too."""
        theirs = self.right.feed().held(self.pass_index)
        alone = [
            (token, handles[0])
            for token, handles in self.left.feed().held(self.pass_index).items()
            if token not in theirs
        ]
        tokens, own = ids([token for token, _ in alone]), ids([handle for _, handle in alone])
        proofs = self.met.to_left.proofs[np.arange(len(alone)) % len(self.met.to_left.proofs)]
        counts, island = np.ones(len(alone), np.int64), np.arange(len(alone))
        card = self.right.card
        return Asked(card, self.pass_index, tokens, counts, proofs, own, own, island, self.right)

    def _cards(self) -> Iterator[Any]:
        card = self.right.card
        card.agreement_public_key = os.urandom(32)
        yield card
        card = self.right.card
        card.registry = self.third.card.registry
        yield card
        card = self.third.card
        card.registry = self.right.card.registry
        yield card
        card = self.right.card
        card.certificate_chain = self.third.card.certificate_chain
        yield card
        yield self.left.card

    def _of_another_pass(self, count: int) -> Any:
        other = self.left.feed().held(self.left.schema.pass_index("given_birth"))
        handles = ids([handle for held in other.values() for handle in held])
        return handles[np.arange(count) % len(handles)]

    def _of_the_other_epoch(self) -> Asked:
        """This epoch's handles and the other epoch's proofs."""
        self.left.epoch = self.right.epoch = SECOND_EPOCH
        other: Meeting = meet(self.left, self.right, self.pass_index)
        self.left.epoch = self.right.epoch = type(self.left).epoch
        asked = self.met.to_left
        some = np.arange(len(asked.proofs)) % len(other.to_left.proofs)
        return replace(asked, proofs=other.to_left.proofs[some])


def _answered(asker: Asker, asked: Asked) -> float:
    """Share of rows answered by the sieve or sealed, whichever is more."""
    return max(_share(lambda: asker.sieve(asked)), _share(lambda: asker.seal(asked)))


def _share(call: Callable[[], Any]) -> float:
    try:
        refusal = call().refusal
    except KinlinkError:
        return 0.0
    return float((refusal == Refusal.ANSWERED).mean()) if len(refusal) else 0.0
