"""The part of the linker's client that speaks of cases: messages to plain values and back."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from kinlink.linker.v1 import linker_pb2

from kinlink_gateway.cases import Candidate, CandidatePage, Case, CasePage
from kinlink_gateway.linker import PairState, RuledOutBy, Seeker

if TYPE_CHECKING:
    from collections.abc import Callable

    from kinlink_gateway.cases import CaseKey
    from kinlink_gateway.linker import ExplainedLink

STATES: Final = {
    PairState.OPEN: linker_pb2.PAIR_STATE_OPEN,
    PairState.UNSURE: linker_pb2.PAIR_STATE_UNSURE,
    PairState.CONFIRMED: linker_pb2.PAIR_STATE_CONFIRMED,
    PairState.RULED_OUT: linker_pb2.PAIR_STATE_RULED_OUT,
    PairState.RETURNED: linker_pb2.PAIR_STATE_RETURNED,
}
STATES_BACK: Final = {number: state for state, number in STATES.items()}
RULED_OUT_BY: Final = {
    RuledOutBy.DNA: linker_pb2.RULED_OUT_BY_DNA,
    RuledOutBy.BIRTH: linker_pb2.RULED_OUT_BY_BIRTH,
    RuledOutBy.PLACE: linker_pb2.RULED_OUT_BY_PLACE,
    RuledOutBy.MARKS: linker_pb2.RULED_OUT_BY_MARKS,
    RuledOutBy.RESOLVED: linker_pb2.RULED_OUT_BY_RESOLVED,
    RuledOutBy.DUPLICATE: linker_pb2.RULED_OUT_BY_DUPLICATE,
    RuledOutBy.OTHER: linker_pb2.RULED_OUT_BY_OTHER,
}
RULED_OUT_BY_BACK: Final = {number: each for each, number in RULED_OUT_BY.items()}
SEEKERS_BACK: Final = {linker_pb2.SEEKER_LEFT: Seeker.L, linker_pb2.SEEKER_RIGHT: Seeker.R}


def case_request(key: CaseKey, *, page_size: int, page_token: str) -> linker_pb2.GetCaseRequest:
    """What asks for a case."""
    return linker_pb2.GetCaseRequest(
        registry=key.registry,
        subject=key.subject,
        touching=key.touching,
        states=[STATES[state] for state in key.states],
        page_size=page_size,
        page_token=page_token,
    )


def case_page_of(answer: linker_pb2.ListCasesResponse) -> CasePage:
    """A page of cases."""
    return CasePage(
        tuple(_case(item) for item in answer.cases), answer.next_page_token, answer.total
    )


def candidate_page_of(
    answer: linker_pb2.GetCaseResponse,
    explained: Callable[[linker_pb2.Candidate], ExplainedLink],
) -> CandidatePage:
    """A case with some of its pairs; `explained` reads link, evidence and prior of one."""
    return CandidatePage(
        _case(answer.case),
        tuple(Candidate(item.rank, explained(item)) for item in answer.candidates),
        answer.next_page_token,
        answer.total,
    )


def _case(message: linker_pb2.Case) -> Case:
    newest = message.newest_at.ToDatetime(tzinfo=UTC) if message.HasField("newest_at") else None
    return Case(
        registry=message.registry,
        subject=message.subject,
        candidates=message.candidates,
        best_weight=message.best_weight,
        best_probability=message.best_probability,
        newest_at=newest,
        returned=message.returned,
        confirmed=message.confirmed,
        ruled_out=message.ruled_out,
    )
