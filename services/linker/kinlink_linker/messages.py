"""What the linker shows, as protobuf: registries, linkages and links."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from kinlink.linker.v1 import linker_pb2 as pb
from kinlink.registry.v1 import registry_pb2

from kinlink_linker.domain import Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from kinlink_linker.domain import Link, Linkage, RegistryStatus

VERDICTS: Final = {
    registry_pb2.VERDICT_CONFIRMED: Verdict.CONFIRMED,
    registry_pb2.VERDICT_REJECTED: Verdict.REJECTED,
    registry_pb2.VERDICT_UNSURE: Verdict.UNSURE,
}
_VERDICT_NUMBERS: Final = {verdict: number for number, verdict in VERDICTS.items()}


def registry_message(status: RegistryStatus) -> pb.Registry:
    """A registry as it was last seen."""
    return pb.Registry(
        name=status.name,
        state=_number(pb.RegistryState, "REGISTRY_STATE", status.state),
        reason=status.reason,
        epoch=status.epoch,
        records=status.records,
        tokens=status.tokens,
        lag=status.lag,
        synced_at=stamp(status.synced_at),
        detail=status.detail,
    )


def linkage_message(linkage: Linkage) -> pb.Linkage:
    """A linkage as it stands."""
    return pb.Linkage(
        id=linkage.id,
        state=_number(pb.LinkageState, "LINKAGE_STATE", linkage.state),
        epoch=linkage.epoch,
        threshold_probability=linkage.threshold_probability,
        stages=[
            pb.Stage(name=each.name, seconds=each.seconds, done=each.done, total=each.total)
            for each in linkage.stages
        ],
        passes=[
            pb.PassCounts(
                **{"pass": each.pass_id},
                tokens=each.tokens,
                islands=each.islands,
                refined=each.refined,
                dropped_over_cap=each.dropped_over_cap,
                dropped_proof=each.dropped_proof,
                pairs=each.pairs,
                sieved_out=each.sieved_out,
                repeated=each.repeated,
                sealed=each.sealed,
                refused=each.refused,
            )
            for each in linkage.passes
        ],
        missing_registries=[
            pb.MissingRegistry(name=each.name, reason=each.reason, detail=each.detail)
            for each in linkage.missing
        ],
        candidate_pairs=linkage.candidate_pairs,
        disclosed_pairs=linkage.disclosed_pairs,
        links=linkage.links,
        persons=linkage.persons,
        error_reason=linkage.error_reason,
        error_detail=linkage.error_detail,
        created_at=stamp(linkage.created_at),
        ended_at=stamp(linkage.ended_at),
        created_by=linkage.order.created_by,
        em_iterations=linkage.em_iterations,
        bytes_received=linkage.bytes_received,
        purpose=linkage.order.purpose,
        requested_by=linkage.order.requested_by,
    )


def link_message(link: Link) -> pb.Link:
    """A link as it is shown."""
    return pb.Link(
        id=link.id,
        linkage_id=link.linkage_id,
        registry_l=link.registry_l,
        subject_l=link.subject_l.hex(),
        registry_r=link.registry_r,
        subject_r=link.subject_r.hex(),
        match_weight=link.weight,
        match_probability=link.probability,
        linked=link.linked,
        person_id=link.person_id,
        **{"pass": link.pass_id},
        verdict=_VERDICT_NUMBERS[link.verdict]
        if link.verdict
        else registry_pb2.VERDICT_UNSPECIFIED,
        verdict_reason=link.verdict_reason,
        verdict_by=link.verdict_by,
        created_at=stamp(link.created_at),
        missing_registries=link.missing,
        revoked_registries=link.revoked,
        seeker=_number(pb.Seeker, "SEEKER", link.seeker.name),
        state=_number(pb.PairState, "PAIR_STATE", link.state),
        ruled_out_by=_number(pb.RuledOutBy, "RULED_OUT_BY", link.ruled_out_by or ""),
        verdict_at=stamp(link.verdict_at),
        changed_fields=link.changed_fields,
    )


def _number(enum: Any, prefix: str, state: str) -> Any:
    """The number of a state's name; a state the protocol does not know is unspecified."""
    names = dict(enum.items())
    return names.get(f"{prefix}_{state}", 0)


def stamp(moment: datetime | None) -> Timestamp | None:
    """A moment, or nothing."""
    if moment is None:
        return None
    found = Timestamp()
    found.FromDatetime(moment.astimezone(UTC))
    return found
