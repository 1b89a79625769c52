"""Which registries may link with each other: the profiles compared before a record flows.

Federation, schema, encoding version and mode are compared with the linker's own. The linker has no
epoch secret, so canaries and the parts of the encoding are compared among the registries
(`encoding_faults`). A registry that differs is refused by name and reason, the others still link.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding import conformance
from kinlink_core.encoding.conformance import told
from kinlink_core.errors import Reason

from kinlink_linker.conformity import encoding_faults
from kinlink_linker.domain import MissingRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_linker.peer import Description, PeerProfile


PROFILE_REASONS: Final = frozenset(
    {
        Reason.FEDERATION_DIFFERS,
        Reason.ENCODING_VERSION_DIFFERS,
        Reason.SCHEMA_DIFFERS,
        Reason.MODE_DIFFERS,
        Reason.ENCODING_DIFFERS,
        Reason.SECRET_DIFFERS,
        Reason.EPOCH_UNKNOWN,
    }
)


@dataclass(frozen=True)
class OwnProfile:
    """What the linker itself is set up for."""

    federation: str
    schema_fingerprint: str
    encoding_version: str
    mode: str

    def difference(self, other: PeerProfile) -> tuple[Reason, str] | None:
        """The first thing in which a registry's profile differs, with a sentence."""
        if other.federation != self.federation:
            return Reason.FEDERATION_DIFFERS, f"It belongs to federation {other.federation!r}."
        if other.encoding_version != self.encoding_version:
            return (
                Reason.ENCODING_VERSION_DIFFERS,
                f"It encodes as {other.encoding_version!r}, not as {self.encoding_version!r}.",
            )
        if other.schema_fingerprint != self.schema_fingerprint:
            return (
                Reason.SCHEMA_DIFFERS,
                f"Its schema is {other.schema_fingerprint[:8]}, not {self.schema_fingerprint[:8]}.",
            )
        if other.mode != self.mode:
            return Reason.MODE_DIFFERS, f"Its mode is {other.mode!r}, not {self.mode!r}."
        return None


@dataclass(frozen=True)
class Agreement:
    """The epoch a linkage uses, who takes part, and who does not and why.

    `readable` are registries and epochs whose feed may be read, also outside of linkages.
    """

    epoch: str
    agreed: tuple[str, ...]
    refused: tuple[MissingRegistry, ...]
    readable: tuple[tuple[str, str], ...]


def agree(own: OwnProfile, described: Mapping[str, Description]) -> Agreement:
    """Choose the epoch that most registries serve (the newest of several) and compare profiles."""
    refused: dict[str, MissingRegistry] = {}
    fitting: dict[str, dict[str, PeerProfile]] = {}
    for name, description in sorted(described.items()):
        faults = [own.difference(profile) for profile in description.profiles]
        served = {
            profile.epoch: profile
            for profile, fault in zip(description.profiles, faults, strict=True)
            if fault is None
        }
        if served:
            fitting[name] = served
        elif faults and faults[0] is not None:
            refused[name] = MissingRegistry(name, faults[0][0], faults[0][1])
        else:
            refused[name] = MissingRegistry(
                name, Reason.EPOCH_UNKNOWN, "It serves no epoch: it holds no epoch secret."
            )
    epoch = _epoch(fitting)
    for name, served in fitting.items():
        if epoch not in served:
            refused[name] = MissingRegistry(
                name, Reason.EPOCH_UNKNOWN, f"It does not serve epoch {epoch}."
            )
    profiles = {name: served[epoch] for name, served in fitting.items() if epoch in served}
    differing = encoding_faults(profiles, epoch)
    refused.update(differing)
    agreed = tuple(name for name in sorted(profiles) if name not in refused)
    for name, missing in refused.items():
        if missing.reason == Reason.SCHEMA_DIFFERS:
            refused[name] = _with_parts(missing, described, agreed or tuple(profiles))
    readable = tuple(
        (name, each)
        for name, served in fitting.items()
        for each in served
        if not (each == epoch and name in differing)
    )
    return Agreement(epoch, agreed, tuple(refused[name] for name in sorted(refused)), readable)


def _epoch(fitting: Mapping[str, Mapping[str, PeerProfile]]) -> str:
    """The epoch most registries serve; of equals the one they list first, which is the newest."""
    serving = Counter(epoch for served in fitting.values() for epoch in served)
    ages: dict[str, int] = defaultdict(int)
    for served in fitting.values():
        for age, epoch in enumerate(served):
            ages[epoch] += age
    if not serving:
        return ""
    return min(sorted(serving, reverse=True), key=lambda epoch: (-serving[epoch], ages[epoch]))


def _with_parts(
    missing: MissingRegistry, described: Mapping[str, Description], others: Sequence[str]
) -> MissingRegistry:
    """Say in which parts a registry of another schema differs from one that fits."""
    for name in others:
        theirs = {each.epoch: each for each in described[name].profiles}
        for profile in described[missing.name].profiles:
            other = theirs.get(profile.epoch)
            if other and profile.parts and other.parts:
                named = conformance.differing(dict(other.parts), dict(profile.parts))
                sentence = f"{missing.detail} It differs from {name} in: {told(named)}."
                return replace(missing, detail=sentence) if named else missing
    return missing
