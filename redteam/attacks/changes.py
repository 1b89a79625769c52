"""X13: what updates, deletions and late proofs tell.

The attacker is the linker with a memory. It knows from the feed which handles and tokens come and
go, and asks whether those of one record can be joined over its passes:

* a record that changed, with changes at once and in rounds: its new handles by their arrival;
* a record that was deleted: its retired handles by their tombstones, which must not wait;
* a proof of membership that a partner gave before its only record was deleted, shown again.

Joined means: of the handles that leave in one sync, the pairs of one record are those of one group.
The share is precision: of all pairs of handles (of different passes) that moved together, how many
are of one record. One record in a sync is the worst case; 1 means that every pair is right.
"""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import numpy as np
from kinlink_core.errors import KinlinkError
from kinlink_core.wire import Refusal
from kinlink_registry import islands, rounds

from redteam.asker import ids, meet
from redteam.population import make
from redteam.registries import rows_of, twins
from redteam.results import Result, about

if TYPE_CHECKING:
    from redteam.asker import Asked, Asker, Feed
    from redteam.registries import Laboratory
    from redteam.setting import Setting

PEOPLE: Final = 400
CHANGED: Final = 24
CHANGED_IN_ROUNDS: Final = 100
HOURS: Final = 24
WAITING: Final = f"[rounds]\nspread_hours = {HOURS}\n[policy]\n"
ADDED, RETIRED = 1, 2
DAYS_LATER: Final = 3
Group = list[tuple[int, int]]  # (record, pass) of each handle


def run(setting: Setting) -> list[Result]:
    """Join what moves together; show an old proof."""
    rows = rows_of(make(PEOPLE, 2, setting.seed, correlated=False, errors=0), 0)
    with twins(rows, 2) as lab, lab.serving() as askers:
        left, right = askers.values()
        at_once = _joined_changes(lab, left, rows)
        deleted = _joined_deletions(lab, left, rows)
        today, later = _stale_proofs(lab, left, right, rows)
    with twins(rows, 2, toml=WAITING) as lab, lab.serving() as askers:
        left = next(iter(askers.values()))
        polled = _joined_polling(lab, left, right.card, rows)
        spread = _joined_rounds(lab, left, rows)
    seed, detail = setting.seed, "Linker alone."
    together = "pairs of handles that {} together and are of one record"
    people = f"{about(len(rows))} people"
    some = f"{people}, {CHANGED} of them"
    return [
        Result("X13", "changed records joined over passes",
               f"{people}, {CHANGED_IN_ROUNDS} of them", seed, together.format("arrive"),
               spread, 0.05, at_once, 0.9,
               detail=f"{detail} Rounds over {HOURS} h; beside it all at once."),
        Result("X13", "changed records joined by polling", some, seed,
               "pairs of tokens whose counts fall together and are of one record", polled,
               detail=f"{detail} It asks for proofs of all tokens all the time; in rounds."),
        Result("X13", "deleted records joined over passes", some, seed,
               together.format("are retired"), deleted,
               detail=f"{detail} Deletions and withdrawn consent never wait."),
        Result("X13", "proof of a member who is gone", some, seed,
               f"rows answered by a proof {DAYS_LATER} days old", later, 0.0, today, 0.99,
               detail=f"{detail} The partner's record is deleted; beside it the same day."),
    ]  # fmt: skip


def _changed(row: dict[str, str]) -> dict[str, str]:
    """Another day of birth, so that most passes get new tokens."""
    day = 1 + int(row["dob"][6:]) % 28
    return {**row, "dob": f"{row['dob'][:6]}{day:02d}", "phone": f"129{row['record_id'][1:]:0>8}"}


def _joined_changes(lab: Laboratory, left: Asker, rows: list[dict[str, str]]) -> float:
    """Change records one by one, syncing after each."""
    groups = []
    for row in rows[:CHANGED]:
        position = _end(left.feed())
        lab.ingest(left.node.name, [_changed(row)])
        groups.append(_arrivals(left, position))
    return _precision(groups)


def _joined_rounds(lab: Laboratory, left: Asker, rows: list[dict[str, str]]) -> float:
    """Change records and let the rounds of a day leave, syncing after each."""
    groups, position = [], _end(left.feed())
    lab.ingest(left.node.name, [_changed(row) for row in rows[CHANGED:][:CHANGED_IN_ROUNDS]])
    start = int(time.time())
    for hour in range(HOURS + 8):
        with left.node.vault.writing() as session:
            rounds.release(session, left.node.rounds, start + hour * 3600)
        groups.append(_arrivals(left, position))
        position = _end(left.feed())
    return _precision(groups)


def _joined_polling(lab: Laboratory, left: Asker, card: Any, rows: list[dict[str, str]]) -> float:
    """Change records one by one, asking for proofs of every token after each."""
    held = {index: sorted(left.feed().held(index)) for index in range(len(left.schema.passes))}
    tokens = {index: ids(each) for index, each in held.items()}
    owners = _token_owners(left)
    groups: list[Group] = []
    before = {index: left.prove(each, index, card).counts for index, each in tokens.items()}
    for row in rows[:CHANGED]:
        lab.ingest(left.node.name, [_changed(row)])
        after = {index: left.prove(each, index, card).counts for index, each in tokens.items()}
        fallen = [
            (held[index][place], index)
            for index in held
            for place in np.flatnonzero(after[index] < before[index]).tolist()
        ]
        groups.append([(owners[token], index) for token, index in fallen if token in owners])
        before = after
    return _precision(groups)


def _token_owners(left: Asker) -> dict[bytes, int]:
    """Whose a token is, where it is one record's alone."""
    with left.node.vault.reading() as session:
        rows: list[Any] = session.rows(
            "SELECT token, any_value(ref) FROM handle WHERE level = 0"
            " GROUP BY token HAVING count(DISTINCT ref) = 1"
        )
    return {token.bytes: ref for token, ref in rows}


def _joined_deletions(lab: Laboratory, left: Asker, rows: list[dict[str, str]]) -> float:
    """Delete records one by one, syncing after each; the linker remembers what handles were."""
    known = _handles(left)
    groups, position = [], _end(left.feed())
    for row in rows[CHANGED : 2 * CHANGED]:
        lab.ingest(left.node.name, [row], "--delete", file="gone.csv")
        news = left.feed(*position)
        gone = news.column("handle")[news.column("event") == RETIRED]
        groups.append([known[handle.tobytes()] for handle in gone if handle.tobytes() in known])
        position = _end(left.feed())
    return _precision(groups)


def _stale_proofs(
    lab: Laboratory, left: Asker, right: Asker, rows: list[dict[str, str]]
) -> tuple[float, float]:
    """The partner deletes people; its proofs of before are shown, the same day and days later."""
    # What is proven of distances is got before, too.
    asked = left.near(meet(left, right, left.schema.pass_index("name_birth")).to_left)
    gone = rows[2 * CHANGED : 3 * CHANGED]
    lab.ingest(right.node.name, gone, "--delete", file="gone.csv")
    held = right.feed().held(asked.pass_index)
    lost = np.array([asked.tokens[island].tobytes() not in held for island in asked.island])
    today = _answered(left, asked, lost)
    with patch.object(islands, "today", return_value=islands.today() + DAYS_LATER):
        return today, _answered(left, asked, lost)


def _answered(left: Asker, asked: Asked, chosen: np.ndarray) -> float:
    try:
        return float((left.seal(asked).refusal[chosen] == Refusal.ANSWERED).mean())
    except KinlinkError:
        return 0.0


def _end(feed: Feed) -> tuple[str, int]:
    return feed.header.feed_id, feed.header.last_sequence


def _arrivals(left: Asker, position: tuple[str, int]) -> Group:
    """What arrived after a position, by whom it is of: the truth, from the vault."""
    news = left.feed(*position)
    fresh = news.column("handle")[news.column("event") == ADDED]
    known = _handles(left)
    return [known[handle.tobytes()] for handle in fresh]


def _handles(left: Asker) -> dict[bytes, tuple[int, int]]:
    with left.node.vault.reading() as session:
        rows: list[Any] = session.rows("SELECT handle, ref, pass_index FROM handle WHERE level = 0")
    return {handle.bytes: (ref, index) for handle, ref, index in rows}


def _precision(groups: list[Group]) -> float:
    """Of pairs of handles of different passes in one group, the share that is of one record."""
    counts: defaultdict[bool, int] = defaultdict(int)
    for group in groups:
        for (one, first), (other, second) in combinations(group, 2):
            if first != second:
                counts[one == other] += 1
    total = counts[True] + counts[False]
    return counts[True] / total if total else 0.0
