"""Carry what registries ask and tell each other about decided pairs, before anything is sealed.

Every two registries talk in turns: one asks, the other answers and asks in its turn, until neither
has anything left to say or nothing moves any more. The linker reads none of it. Two registries of
which one refuses the other's card (it was revoked there) are kept apart in this linkage: their
links stand as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from kinlink_linker.federation import Ask
from kinlink_linker.peer import DecisionsSaid, DecisionsTold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinlink_core.runtime.cards import Card

    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.run import Run

# Each turn settles up to 256 pairs, so this is more than any two registries decide.
TURNS_MAX = 10_000

_log = structlog.get_logger(__name__)


def exchange_decisions(run: Run) -> None:
    """Let every two registries bring each other up to date about their decided pairs."""
    talks = [_Talk(*pair) for pair in run.federation.pairs()]
    for _ in range(TURNS_MAX):
        if not talks:
            return
        talks = list(_turn(run, talks))


@dataclass
class _Talk:
    """Two registries; `speaker` is told `pending` and speaks next."""

    speaker: str
    listener: str
    pending: DecisionsTold = field(default_factory=DecisionsTold)
    turns: int = 0
    unanswered: dict[str, int] = field(default_factory=dict)


def _turn(run: Run, talks: Iterable[_Talk]) -> Iterable[_Talk]:
    asks = [
        Ask(
            talk.speaker,
            talk,
            partial(_say, run.epoch, run.federation.descriptions[talk.listener].card, talk.pending),
        )
        for talk in talks
    ]
    for talk, said in run.federation.ask(asks):
        if said.refused:
            _log.warning("pair_kept_apart", by=talk.speaker, partner=talk.listener)
            run.federation.keep_apart(talk.speaker, talk.listener)
        elif _moves(talk, said):
            yield talk


def _moves(talk: _Talk, said: DecisionsSaid) -> bool:
    """Hand on what was said; whether the other one has to hear it."""
    before = talk.unanswered.get(talk.speaker)
    stuck = before is not None and said.unanswered >= before
    talk.unanswered[talk.speaker] = said.unanswered
    question = b"" if stuck else said.question
    talk.pending = DecisionsTold(question, said.answer)
    talk.speaker, talk.listener = talk.listener, talk.speaker
    talk.turns += 1
    # Who has heard nothing yet has to be asked whether it has questions.
    return bool(question or said.answer) or talk.turns == 1


def _say(epoch: str, partner: Card, told: DecisionsTold, peer: RegistryPeer) -> DecisionsSaid:
    return peer.exchange_decisions(epoch, partner, told)
