"""`kinlink demo`: the search for the boy lost in 1988, told over.

A federation of registries of one side each is founded and linked once, with what both notices say.
From then on standing search follows the registries' feeds: a tip arrives, then a photograph, each
ingested at an office by its own command. After each step both offices are asked for their own
record, and what they see together says how high the man stands on the family's list.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kinlink_core.encoding.schema import packaged_schema
from rich.console import Console

from kinlink_local import display, visit
from kinlink_local.counts import read_counts
from kinlink_local.errors import BadInputError
from kinlink_local.federation import Federation
from kinlink_local.inputs import RECORD_ID
from kinlink_local.linker_client import LINKER, LinkerClient
from kinlink_local.processes import Supervisor
from kinlink_local.reunion.columns import schema_columns, write_columns
from kinlink_local.reunion.notices import COLUMNS, join
from kinlink_local.reunion.population import NOTICES_MIN, Config, make_population, truth_pairs
from kinlink_local.reunion.registries import write_registries
from kinlink_local.reunion.replay import (
    FOUND_ID,
    SEEKING_ID,
    TIP_ID,
    replay_notices,
    replay_photographs,
)
from kinlink_local.reunion.story_display import show
from kinlink_local.reunion.tips import attach
from kinlink_local.running import link, start
from kinlink_local.search import Seeker, searchable
from kinlink_local.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kinlink_local.linker_client import EvidenceView, LinkageView

FEDERATION: Final = "demo"
REGIME: Final = "informative"
PURPOSE: Final = "family-search"
SIDES: Final = {"seeking": "SEEKING", "found": "FOUND"}
REGISTRIES_A_SIDE: Final = 2
# A list that a case worker reads to its end.
LIST_LENGTH: Final = 10
STEP_SECONDS_MAX: Final = 60.0
POLL_SECONDS: Final = 0.2
SETTLED_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Step:
    """What stood on the family's list after something arrived."""

    telling: str
    seconds: float  # from the office's ingest to both offices' lists; 0 for the first
    rank: int | None  # of the found man; None if not on the list
    leads: int
    probability: float | None
    evidence: tuple[EvidenceView, ...] = ()
    prior: float = 0.0


@dataclass(frozen=True)
class Story:
    """All that is shown."""

    view: LinkageView
    steps: tuple[Step, ...]
    checks: dict[str, bool]

    @property
    def all_hold(self) -> bool:
        """Whether it came to what it promises."""
        return all(self.checks.values())


@dataclass(frozen=True)
class Case:
    """The registries' files, where the two notices lie, and what arrives later."""

    folder: Path
    files: dict[str, Path]  # by registry
    family_office: str
    found_office: str
    man: dict[str, str]
    tip: dict[str, str]
    photograph: dict[str, str]  # what it adds to his notice


@dataclass(frozen=True)
class Offices:
    """The two that hold the case, and how they are asked."""

    federation: Federation
    client: LinkerClient
    case: Case

    def look(self, telling: str, seconds: float = 0.0) -> Step:
        """Where the man stands on the family's list."""
        leads = self.federation.links_of(self.case.family_office, SEEKING_ID)
        leads.sort(key=lambda each: -float(each["match_weight"]))
        his = self._of_the_man()
        for rank, lead in enumerate(leads, start=1):
            if lead["link_id"] in his:
                prior, evidence = self.client.evidence(lead["link_id"])
                probability = lead["match_probability"]
                return Step(telling, seconds, rank, len(leads), probability, evidence, prior)
        return Step(telling, seconds, None, len(leads), None)

    def arrive(self, telling: str, notice: Mapping[str, str]) -> Step:
        """Ingest the man's notice anew and wait until the search has looked at it."""
        before = self._of_the_man()
        path = self.case.folder / "arrived.csv"
        write_columns(path, schema_columns({name: [notice[name]] for name in COLUMNS}))
        began = settled = time.monotonic()
        self.federation.ingest(self.case.found_office, path, RECORD_ID)
        last = before
        while time.monotonic() - began < STEP_SECONDS_MAX:
            time.sleep(POLL_SECONDS)
            now = self._of_the_man()
            if now != last or self.client.standing_waits():
                last, settled = now, time.monotonic()
            # His old pairs fall before the new ones stand.
            elif now != before and time.monotonic() - settled > SETTLED_SECONDS:
                break
        return self.look(telling, settled - began)

    def _of_the_man(self) -> dict[str, float]:
        links = self.federation.links_of(self.case.found_office, FOUND_ID)
        return {each["link_id"]: each["match_weight"] for each in links}


def run_story(
    *, records: int, seed: int, folder: Path | None, stay: bool, browser: bool, key_server: bool
) -> bool:
    """Run the search and show it; True if every check holds.

    Args:
        records: notices of each side, besides the case's own.
        seed: of the population.
        folder: where to keep everything, or None for a temporary folder that is removed.
        stay: leave the gateway open until Ctrl-C.
        browser: open its page.
        key_server: start one; else the federation is in plain mode.

    Raises:
        BadInputError: Too few notices, or a folder that is not empty.
        LocalError: A process or the linkage failed.
    """
    faults = visit.folder_faults(folder)
    if records < NOTICES_MIN:
        faults.append(f"--records: {records} are too few; give at least {NOTICES_MIN}")
    if faults:
        raise BadInputError(faults)
    console, stopwatch = Console(), Stopwatch()
    console.print(
        display.title(
            [
                "[bold]Kinlink demo[/]: a boy lost in 1988, searched for across provinces.",
                f"{records:,} invented notices of either side, seed {seed}: nobody in them exists.",
            ]
        )
    )
    with visit.open_folder(folder) as root, Supervisor({}) as supervisor:
        with stopwatch.stage("population", "Notices of all provinces"):
            case = _write(root / "data", Config(seed, records, REGIME))
        federation = Federation(
            root,
            FEDERATION,
            packaged_schema("reunion"),
            supervisor,
            {name: SIDES[name.partition("-")[0]] for name in case.files},
            standing=True,
        )
        started = start(
            federation,
            supervisor,
            case.files,
            stopwatch,
            with_gateway=True,
            with_key_server=key_server,
        )
        with LinkerClient(started.linker.api, started.operator) as client:
            view = link(client, stopwatch, threshold=None, purpose=PURPOSE)
            steps = _search(Offices(federation, client, case), stopwatch)
        counts = {name: read_counts(supervisor.services[name]) for name in case.files}
        story = Story(view, steps, _checks(view, steps, federation, case))
        show(console, story, started, stopwatch, counts)
        if stay:
            visit.show_door(console, started)
            visit.stay(console, supervisor, started, browser=browser)
    return story.all_hold


def _checks(
    view: LinkageView, steps: tuple[Step, ...], federation: Federation, case: Case
) -> dict[str, bool]:
    last = steps[-1].rank
    seeker = Seeker(searchable(_values(case.files)))
    return {
        "every registry took part": view.state == "SUCCEEDED",
        f"in the end he is among the family's first {LIST_LENGTH} leads": (
            last is not None and last <= LIST_LENGTH
        ),
        "no value of any notice lies on the linker's disk": not seeker.files_that_hold(
            federation.home(LINKER)
        ),
    }


def _search(offices: Offices, stopwatch: Stopwatch) -> tuple[Step, ...]:
    case = offices.case
    told = attach(case.man, case.tip)
    steps = [offices.look("what both notices say")]
    for telling, notice in (
        ("a tip, attached to his notice", told),
        ("a photograph of him", told | case.photograph),
    ):
        with stopwatch.stage("search", f"Standing search: {telling}"):
            steps.append(offices.arrive(telling, notice))
    return tuple(steps)


def _write(folder: Path, config: Config) -> Case:
    folder.mkdir(parents=True)
    population = make_population(config)
    family, man, tip = replay_notices()
    child, grown = replay_photographs(config.seed)
    family.update({name: [cell] for name, cell in child.items()})
    sides = {
        "seeking": join([population.family, family]),
        "found": join([population.found, man]),
    }
    held = folder / "registries"
    pairs = [*truth_pairs(population), (SEEKING_ID, FOUND_ID)]
    names = write_registries(held, sides, pairs, REGISTRIES_A_SIDE)
    files = {name.removesuffix(".csv"): held / name for name in names}
    return Case(
        folder,
        files,
        _holder(files, SEEKING_ID),
        _holder(files, FOUND_ID),
        {name: cells[0] for name, cells in man.items()},
        {name: cells[0] for name, cells in tip.items()},
        grown,
    )


def _holder(files: Mapping[str, Path], record_id: str) -> str:
    return next(
        name for name, path in files.items() if f"\n{record_id}," in path.read_text("utf-8")
    )


def _values(files: Mapping[str, Path]) -> Iterator[str]:
    for path in files.values():
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                yield from (cell for cell in line.values() if cell)
    yield TIP_ID
