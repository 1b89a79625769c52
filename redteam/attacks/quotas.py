"""X12: the partner quota as an oracle: which handles of another pass are of records sealed before?

The attacker is a lying linker. A registry seals at most a share of its *records* towards a partner.
The linker fills the quota with records of its choice through one pass, then asks for every handle
of another pass. Where a handle is answered because its record is booked already and refused because
it is not, the quota joins passes: with several partners, each a bit a handle, down to the record.

Measured as an AUC of the answers against the truth. First design: records are booked, handles are
not. The gauge of quotas tells the same, were it exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from kinlink_core.errors import KinlinkError
from kinlink_core.wire import Refusal
from kinlink_registry.node import measure

from redteam.asker import meet
from redteam.attacks.chance import auc
from redteam.population import make
from redteam.registries import rows_of, twins
from redteam.results import Result, about

if TYPE_CHECKING:
    from redteam.asker import Asked, Asker
    from redteam.setting import Setting

PEOPLE: Final = 600
SHARE: Final = 0.25
TOML: Final = f"[policy]\npartner_share_max = {SHARE}\n"
TARGET: Final = 0.55
FIRST_PASS, SECOND_PASS = "name_birth", "given_birth"
GAUGE: Final = "kinlink_registry_quota_used_ratio"


def run(setting: Setting) -> list[Result]:
    """Fill the quota in one pass, ask in another; watch the gauge."""
    population = make(PEOPLE, 2, setting.seed, correlated=False, errors=0)
    rows = rows_of(population, 0)
    with twins(rows, 2, toml=TOML) as lab, lab.serving() as askers:
        left, right = askers.values()
        one, other = (
            meet(left, right, left.schema.pass_index(name)).to_left
            for name in (FIRST_PASS, SECOND_PASS)
        )
        steps = _gauge_steps(left, one)
        booked = {_record(left, handle) for handle in _answered(left, one)}
        answered = {handle.tobytes() for handle in _answered(left, other)}
        truth = [_record(left, handle) in booked for handle in other.own]
        told = [handle.tobytes() in answered for handle in other.own]
    place = f"{about(len(rows))} people, 2 real registries, quota {SHARE:.0%}"
    detail = "Lying linker. First design: booked by record."
    return [
        Result("X12", "partner quota as an oracle", place, setting.seed,
               "AUC of answered against the same record", _auc(told, truth), TARGET,
               _auc(truth, truth), 0.9, "number", detail),
        Result("X12", "partner quota as an oracle", place, setting.seed,
               "records whose booking moved the gauge", steps, 0.25, 1.0, 0.9,
               detail="Whoever reads the registry's metrics too. First design: the exact share."),
    ]  # fmt: skip


def _auc(told: list[bool], truth: list[bool]) -> float:
    sides = ([float(t) for t, same in zip(told, truth, strict=True) if same is kind]
             for kind in (True, False))  # fmt: skip
    return auc(*sides)


def _gauge_steps(left: Asker, asked: Asked) -> float:
    """Share of records, sealed one by one, after which the gauge shows another value."""
    registry, partner = left.node.instruments.registry.registry, asked.card.registry
    seen, moved = 0.0, 0
    limit = int(len(asked.own) * SHARE / 3)
    for row in range(limit):
        _answered(left, asked.only([row]))
        measure(left.node)
        labels = {"partner": partner, "quota": "sealed"}
        shown = registry.get_sample_value(GAUGE, labels) or 0.0
        moved += int(shown != seen)
        seen = shown
    return moved / limit


def _answered(left: Asker, asked: Asked) -> Any:
    """Own handles of the rows that were sealed."""
    try:
        return asked.own[left.seal(asked).refusal == Refusal.ANSWERED]
    except KinlinkError:
        return np.empty((0, 16), np.uint8)


def _record(left: Asker, handle: Any) -> int:
    """Whose handle it is: the truth, from the vault."""
    with left.node.vault.reading() as session:
        found: int = session.value(
            "SELECT ref FROM handle WHERE handle = ?::UUID", [handle.tobytes().hex()]
        )
    return found
