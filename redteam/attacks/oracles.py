"""X16: refusal codes and refinements as oracles; X17: what a restored backup gives away.

X16. The attacker is a lying linker. It reads what the codes say that no answer does:

* WITHHELD at the highest weight: the person needs an approval, that is, is protected;
* DECIDED in a new epoch: this pair, in each of its passes, is among those that were decided;
* RefineTokens of islands that are within their cap: finer equalities that no linkage needs.

X17. The registry restores a backup. What was spent, pinned or withdrawn since must not come back:
the linker asks again for chance pairs, withdrawn people, quotas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from kinlink_core.errors import KinlinkError
from kinlink_core.wire import Refusal

from redteam.asker import meet
from redteam.population import make
from redteam.registries import rows_of, twins
from redteam.results import Result, about

if TYPE_CHECKING:
    from redteam.asker import Asker
    from redteam.registries import Laboratory
    from redteam.setting import Setting

PEOPLE: Final = 120
GUARDED: Final = 10
SHARE: Final = 0.5
TOML: Final = f"[policy]\npartner_share_max = {SHARE}\n"
WEIGHT_MAX: Final = 1e6


def run(setting: Setting) -> list[Result]:
    """Read the codes; restore a backup and ask again."""
    rows = rows_of(make(PEOPLE, 2, setting.seed, correlated=False, errors=0), 0)
    with twins(rows, 2) as lab, lab.serving() as askers:
        left, right = askers.values()
        protected = _protected(lab, left, right, rows)
        refined = _refined(left)
    with twins(rows, 2, toml=TOML) as lab, lab.serving() as askers:
        left, right = askers.values()
        back = _restored(lab, left, right, rows)
    place = f"{about(len(rows))} people, 2 real registries"
    detail = "Lying linker. "
    return [
        Result("X16", "WITHHELD at the highest weight", place, setting.seed,
               "people under approval who are recognised", protected,
               detail=detail + "Who must not be suspected is hidden instead: never in the feed."),
        Result("X16", "refinement without need", place, setting.seed,
               "tokens within their cap that are refined on request", refined,
               detail=detail + "What finer tokens tell is measured by T3 and R4."),
        *(
            Result("X17", f"after a restore: {kind}", place, setting.seed, measure, share, 0.0,
                   detail=detail + "The backup was made before.")
            for (kind, measure), share in back.items()
        ),
    ]  # fmt: skip


def _protected(lab: Laboratory, left: Asker, right: Asker, rows: list[dict[str, str]]) -> float:
    """Share of the guarded people whose rows alone are withheld, whatever the weight."""
    names = [row["record_id"] for row in rows[:GUARDED]]
    lab.command(left.node.name, "protect", "--approval", *names)
    met = meet(left, right, left.schema.pass_index("name_birth"))
    tags = right.tagged(met.to_right).record_tag
    asked = met.to_left
    answer = left.disclose(asked.card, asked.own, asked.theirs, tags, WEIGHT_MAX)
    withheld = int((answer.refusal == Refusal.WITHHELD).sum())
    return min(withheld / GUARDED, 1.0)


def _refined(left: Asker) -> float:
    """Share of uncrowded tokens of passes with a refinement that are refined."""
    found = []
    for index, blocking_pass in enumerate(left.schema.passes):
        if not blocking_pass.refine:
            continue
        held = left.feed().held(index)
        within = [token for token, handles in held.items() if 2 * len(handles) <= blocking_pass.cap]
        tokens = np.frombuffer(b"".join(within), np.uint8).reshape(-1, 16)
        refined = {int(i) for part in left.refine(tokens, index) for i in part.parent_index}
        found.append(len(refined) / max(len(within), 1))
    return float(np.mean(found)) if found else 0.0


def _restored(
    lab: Laboratory, left: Asker, right: Asker, rows: list[dict[str, str]]
) -> dict[tuple[str, str], float]:
    """What the linker gets of a registry that was put back to an older state."""
    name = left.node.name
    copy = lab.homes[name] / "old.duckdb"
    lab.command(name, "backup", copy)
    first = meet(left, right, left.schema.pass_index("name_birth")).to_left
    sealed = _answered(left, first)
    lab.ingest(name, [{**row, "phone": "12933333333"} for row in rows[:GUARDED]])
    left.chance(right.card, right.profile().records)
    drawn = _drawn(left)
    gone = [row["record_id"] for row in rows[-GUARDED:]]
    lab.command(name, "consent", "withdraw", *gone)
    lab.command(name, "restore", copy, "--yes")
    again = meet(left, right, left.schema.pass_index("given_birth")).to_left
    left.chance(right.card, right.profile().records)
    now = _drawn(left)
    moved = sum(now.get(place) != record for place, record in drawn.items())
    with left.node.vault.reading() as session:
        records = session.rows("SELECT count(*) FROM sketch")[0][0]
        booked = session.rows("SELECT count(DISTINCT ref) FROM sealed_toward")[0][0]
        live = left.profile().records
    _answered(left, again)
    with left.node.vault.reading() as session:
        after = session.rows("SELECT count(DISTINCT ref) FROM sealed_toward")[0][0]
    limit = int(np.ceil(SHARE * records))
    return {
        ("chance pairs", "rows of another record under the same key"): moved / len(drawn),
        ("withdrawn people", "who take part again"): max(live - (len(rows) - GUARDED), 0) / GUARDED,
        ("quota", "records sealed beyond it"): max(after - max(limit, booked), 0) / max(sealed, 1),
    }


def _drawn(left: Asker) -> dict[Any, Any]:
    """Which version of which record stands where in the draws: the truth, from the vault."""
    with left.node.vault.reading() as session:
        rows = session.rows("SELECT round_rows, position, ref, version FROM chance")
    return {(size, position): (ref, version) for size, position, ref, version in rows}


def _answered(left: Asker, asked: Any) -> int:
    try:
        return int((left.seal(asked).refusal == Refusal.ANSWERED).sum())
    except KinlinkError:
        return 0
