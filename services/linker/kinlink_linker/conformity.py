"""Do registries of one epoch encode alike, and if not, who differs and in which part?

Whoever shares the epoch secret and the encoding with most others stands; the minority is refused,
and without a majority everyone is. The parts of the encoding tell a wrong secret from a drifted
table, and name the table.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from kinlink_core.encoding.conformance import KEY_SERVER, SECRET, differing, told
from kinlink_core.errors import Reason

from kinlink_linker.domain import MissingRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_linker.peer import PeerProfile

_SAME_SECRET = "Give all of them the same secret (kinlink-registry keys)."  # noqa: S105 - advice
_SAME_KEY_SERVER = "All must use the same key server (key_server in registry.toml)."
_SAME_RELEASE = "Run the same release on both; kinlink-registry doctor names what moved there."


def encoding_faults(profiles: Mapping[str, PeerProfile], epoch: str) -> dict[str, MissingRegistry]:
    """The registries to refuse, each with reason and sentence; empty where all encode alike."""
    camps = _camps(profiles)
    if len(camps) <= 1:
        return {}
    tied = len(camps[0]) == len(camps[1])
    faults = {}
    for number, camp in enumerate(camps):
        if number == 0 and not tied:
            continue
        other = camps[1] if number == 0 else camps[0]
        reason, sentence = _difference(profiles[camp[0]], profiles[other[0]], epoch, camp, other)
        if tied:
            sentence += " Neither side has a majority."
        faults.update({name: MissingRegistry(name, reason, sentence) for name in camp})
    return faults


def _camps(profiles: Mapping[str, PeerProfile]) -> list[list[str]]:
    """Registries that encode alike together, the largest camp first.

    One that names no parts (an older release) is told by its canary alone.
    """
    camps: dict[tuple[bytes, tuple[tuple[str, bytes], ...]], list[str]] = defaultdict(list)
    for name, profile in sorted(profiles.items()):
        camps[profile.canary, profile.parts].append(name)
    for canary, parts in [key for key in camps if not key[1]]:
        alike = [key for key in camps if key[0] == canary and key[1]]
        if alike:
            largest = max(alike, key=lambda key: len(camps[key]))
            camps[largest] += camps.pop((canary, parts))
    return sorted(map(sorted, camps.values()), key=lambda names: (-len(names), names))


def _difference(
    own: PeerProfile, other: PeerProfile, epoch: str, names: Sequence[str], others: Sequence[str]
) -> tuple[Reason, str]:
    sides = f"{', '.join(sorted(names))} and {', '.join(others)}"
    parts = differing(dict(other.parts), dict(own.parts)) if own.parts and other.parts else []
    if not parts:
        return (
            Reason.SECRET_DIFFERS,
            f"The epoch secret or encoding of {epoch} differs between {sides}. {_SAME_SECRET}",
        )
    if SECRET in parts:
        return (
            Reason.SECRET_DIFFERS,
            f"The epoch secret of {epoch} differs between {sides}. {_SAME_SECRET}",
        )
    advice = _SAME_KEY_SERVER if parts[0].startswith(KEY_SERVER) else _SAME_RELEASE
    return (
        Reason.ENCODING_DIFFERS,
        f"The encoding of {epoch} differs between {sides} in: {told(parts)}. {advice}",
    )
