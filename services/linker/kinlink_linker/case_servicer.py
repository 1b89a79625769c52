"""Cases and their candidates between protobuf and what the linker keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kinlink.linker.v1 import linker_pb2 as pb

from kinlink_linker.case_table import CaseFilter
from kinlink_linker.domain import ID_BYTES, PairState, RuledOutBy, Verdict
from kinlink_linker.messages import link_message, stamp
from kinlink_linker.refusals import check_length, malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kinlink_linker.case_table import CasePage
    from kinlink_linker.domain import Case
    from kinlink_linker.node import ExplainedCase, ExplainedLink

_STATES: Final[dict[int, PairState]] = {
    pb.PairState.Value(f"PAIR_STATE_{each.value}"): each for each in PairState
}
_RULED_OUT_BY: Final[dict[int, RuledOutBy]] = {
    pb.RuledOutBy.Value(f"RULED_OUT_BY_{each.value}"): each for each in RuledOutBy
}


def read_states(numbers: Iterable[int]) -> tuple[PairState, ...]:
    """States of a request, sorted; `InvalidInputError` for one that is not known."""
    asked = set(numbers)
    if not asked <= _STATES.keys():
        raise malformed("states holds one that is not known.")
    return tuple(sorted(_STATES[each] for each in asked))


def read_ruled_out_by(number: int, verdict: Verdict) -> RuledOutBy | None:
    """By what a pair is rejected: other, if nothing is said; None for any other verdict."""
    if verdict is not Verdict.REJECTED:
        if number:
            raise malformed("ruled_out_by is said of a rejection only.")
        return None
    if number and number not in _RULED_OUT_BY:
        raise malformed("ruled_out_by is not one of the known ones.")
    return _RULED_OUT_BY.get(number, RuledOutBy.OTHER)


def read_filter(request: pb.ListCasesRequest) -> CaseFilter:
    """Which cases a request means."""
    check_length("touching", request.touching)
    check_length("registry", request.registry)
    return CaseFilter(request.touching, request.registry, request.include_confirmed)


def read_subject(text: str) -> bytes:
    """A subject id of a request; `InvalidInputError` if it is none."""
    try:
        subject = bytes.fromhex(text)
    except ValueError as error:
        raise malformed("subject is not hexadecimal.") from error
    if len(subject) != ID_BYTES:
        raise malformed(f"subject has not {ID_BYTES} bytes.")
    return subject


def cases_message(page: CasePage) -> pb.ListCasesResponse:
    """A page of cases."""
    return pb.ListCasesResponse(
        cases=[_case(each) for each in page.cases],
        next_page_token=page.next_token,
        total=page.total,
    )


def case_message(explained: ExplainedCase) -> pb.GetCaseResponse:
    """A case with some of its candidates."""
    page = explained.page
    return pb.GetCaseResponse(
        case=_case(page.case),
        candidates=[
            pb.Candidate(
                rank=rank,
                link=link_message(each.link),
                evidence=evidence_messages(each),
                prior_weight=each.prior_weight,
            )
            for rank, each in enumerate(explained.candidates, page.first_rank)
        ],
        next_page_token=page.next_token,
        total=page.total,
    )


def evidence_messages(explained: ExplainedLink) -> list[pb.Evidence]:
    """What each field says about a link."""
    return [
        pb.Evidence(
            field=each.field,
            level=each.level,
            weight=each.weight,
            m_probability=each.m,
            u_probability=each.u,
        )
        for each in explained.evidence
    ]


def _case(case: Case) -> pb.Case:
    return pb.Case(
        registry=case.registry,
        subject=case.subject.hex(),
        candidates=case.candidates,
        best_weight=case.best_weight,
        best_probability=case.best_probability,
        newest_at=stamp(case.newest_at),
        returned=case.returned,
        confirmed=case.confirmed,
        ruled_out=case.ruled_out,
    )
