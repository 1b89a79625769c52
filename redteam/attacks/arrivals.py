"""R8: the handles of a record that arrives later, joined across passes by when and how they come.

The attacker is the linker, which reads the feed as often as it likes. Measured on a real registry
that holds people already and then takes in new ones:

* at once: one record a load leaves in one transaction, and whatever comes together is of one
  record (the first design);
* in rounds, as the registry is set by default: `ARRIVALS` records of one load; the real releases,
  its clock turned forward. A handle's counterpart in another pass is then any that came that day.

When they come says little then; how they look says more. So, in the view of all registries, as many
records of one registry are taken to have arrived in one day and the pairs they are linked by are
matched across passes as R5 does. The measure is the share of (arrival, two passes) joined rightly,
of all arrivals with handles in both, where those without a link are joined by chance.

Withdrawn consent never waits, so the tombstones of one person come together: reported beside it.
"""

from __future__ import annotations

import time
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from kinlink_core.encoding.schema import packaged_schema
from kinlink_core.wire import FeedEvent
from kinlink_registry import rounds

from redteam.attacks.repeats import found, sightings
from redteam.population import make
from redteam.registries import Laboratory, rows_of
from redteam.results import Result

if TYPE_CHECKING:
    from redteam.asker import Asker
    from redteam.places import I64
    from redteam.setting import Setting
    from redteam.view import View

JOINED_MAX: Final = 0.05
ARRIVALS: Final = 256
CROWD: Final = 4_096
ALONE: Final = 5  # records that arrive one by one, and are withdrawn one by one
PEOPLE: Final = 1_200
HELD: Final = 400
FORWARD_SECONDS: Final = 900
DAY_SECONDS: Final = 36 * 3_600
REGISTRY: Final = 0
IN_ROUNDS: Final = "[rounds]\nspread_hours = 24.0\n"


def run(setting: Setting) -> list[Result]:
    """By content in the view; by time on a real registry."""
    view = setting.view()
    by_content, linked = content(view, ARRIVALS)
    crowd, _ = content(view, CROWD)
    together, withdrawn = _at_once(setting.seed)
    by_time, rounds_seen = _in_rounds(setting.seed)

    def result(measure: str, value: float, **more: object) -> Result:
        title = "arrivals joined across passes"
        return Result("R8", title, setting.label, setting.seed, measure, value, **more)  # type: ignore[arg-type]

    return [
        result(
            f"{ARRIVALS} arrivals of a day, by time and content",
            max(by_content, by_time),
            target=JOINED_MAX,
            classical=together,
            classical_min=0.90,
            detail=(
                f"of those that are linked {linked:.1%}; by time alone {by_time:.2%} in"
                f" {rounds_seen} real rounds; first design: a record's passes leave together"
            ),
        ),
        result(
            f"{CROWD} arrivals of a day, or all of a registry, by content",
            crowd,
            detail="what a larger crowd would do",
        ),
        result(
            "handles of a person who withdraws, joined by their tombstones",
            withdrawn,
            detail="a withdrawal takes effect at once; on a real registry, one person at a time",
        ),
    ]


def content(view: View, count: int) -> tuple[float, float]:
    """Joined by distances alone: share of all arrivals, and of those linked in one of two passes.

    Over every two passes: an arrival that is linked in the first is looked for in the second.
    """
    record, rows = view.secrets.record, view.rows
    own = np.flatnonzero(view.population.registry == REGISTRY)
    arrivals = np.random.default_rng(0).permutation(own)[:count]
    arrived = np.zeros(view.population.records, bool)
    arrived[arrivals] = True
    right_guesses, linked, present = 0.0, 0, 0
    for seen in sightings(view, of=arrived):
        one, other = (
            np.intersect1d(record[(rows.pass_index == each) & (rows.level == 0)], arrivals)
            for each in (seen.one_pass, seen.other_pass)
        )
        right, shared = found(view, seen)
        right_guesses += float(right.sum())
        linked += shared
        present += len(np.intersect1d(one, other))
    by_chance = max(present - linked, 0) / max(len(arrivals), 1)
    return (right_guesses + by_chance) / max(present, 1), right_guesses / max(linked, 1)


def _at_once(seed: int) -> tuple[float, float]:
    """Shares of the handles of single arrivals, and of single withdrawals, that come alone."""
    population = make(PEOPLE, 2, seed, correlated=False)
    people = rows_of(population, REGISTRY)
    with TemporaryDirectory(prefix="kinlink-redteam-") as folder:
        lab = Laboratory(Path(folder), packaged_schema("person"))
        lab.found("anhui")
        lab.share()
        lab.ingest("anhui", people[:HELD])
        came, went = [], []
        for person in people[HELD : HELD + ALONE]:
            before = _feed(lab)
            lab.ingest("anhui", [person])
            came.append(_together(lab, before, FeedEvent.TOKEN_ADDED))
            before = _feed(lab)
            lab.command("anhui", "consent", "withdraw", person["record_id"])
            went.append(_together(lab, before, FeedEvent.HANDLE_RETIRED))
    return float(np.mean(came)), float(np.mean(went))


def _feed(lab: Laboratory) -> Any:
    with lab.serving("anhui") as askers:
        return askers["anhui"].feed().header


def _together(lab: Laboratory, before: Any, event: FeedEvent) -> float:
    """1 if what came since is one record's handles and nothing else, in at least two passes."""
    with lab.serving("anhui") as askers:
        feed = askers["anhui"].feed(before.feed_id, before.last_sequence)
    events = feed.column("event")
    return float(len(events) > 1 and (events == event).all())


def _in_rounds(seed: int) -> tuple[float, int]:
    """Chance of a right guess by time alone, over real rounds; how many rounds there were."""
    population = make(PEOPLE, 2, seed, correlated=False)
    people = rows_of(population, REGISTRY)
    with TemporaryDirectory(prefix="kinlink-redteam-") as folder:
        lab = Laboratory(Path(folder), packaged_schema("person"))
        lab.found("anhui", toml=IN_ROUNDS)
        lab.share()
        lab.ingest("anhui", people[:HELD])
        lab.ingest("anhui", people[HELD : HELD + ARRIVALS])
        with lab.serving("anhui") as askers:
            return _guessed(askers["anhui"])


def _guessed(asker: Asker) -> tuple[float, int]:
    header = asker.feed().header
    after, number = header.last_sequence, 0
    seen: list[tuple[int, int, bytes]] = []
    now = int(time.time())
    for later in range(0, DAY_SECONDS, FORWARD_SECONDS):
        with asker.node.vault.writing() as session:
            rounds.release(session, asker.node.rounds, now + later)
        feed = asker.feed(header.feed_id, after)
        if feed.header.last_sequence == after:
            continue
        after = feed.header.last_sequence
        seen += [
            (number, pass_index, handle.tobytes())
            for pass_index, handle in zip(
                feed.column("pass_index").tolist(), feed.column("handle"), strict=True
            )
        ]
        number += 1
    with asker.node.vault.reading() as session:
        truth = dict(session.rows("SELECT handle::VARCHAR, ref FROM handle WHERE level = 0"))
    plain = {handle.replace("-", ""): ref for handle, ref in truth.items()}
    left_in = np.array([row[0] for row in seen])
    passes = np.array([row[1] for row in seen])
    refs = np.array([plain[row[2].hex()] for row in seen])
    return _by_time(left_in, passes, refs), number


def _by_time(left_in: I64, passes: I64, refs: I64) -> float:
    """Mean chance to hit a record's handle of another pass, by the better of two guesses.

    The attacker guesses among the handles of the same round, or among all that came, whichever
    is right more often.
    """
    same, whole, couples = 0.0, 0.0, 0
    for one, other in combinations(np.unique(passes).tolist(), 2):
        a, b = np.flatnonzero(passes == one), np.flatnonzero(passes == other)
        first = dict(zip(refs[b].tolist(), left_in[b].tolist(), strict=True))
        counts = np.bincount(left_in[b], minlength=int(left_in.max()) + 1)
        for ref, at in zip(refs[a].tolist(), left_in[a].tolist(), strict=True):
            if ref not in first:
                continue
            couples += 1
            whole += 1 / len(b)
            same += 1 / counts[at] if first[ref] == at else 0.0
    return max(same, whole) / max(couples, 1)
