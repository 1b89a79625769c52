"""What the demo found, as each party may see it, and whether it holds what it promises.

The linker shows counts and evidence; each registry's officer shows which of the office's own
records a link touches. Comparing with the truth and reading the linker's disk are for the maker of
synthetic data alone, and are labelled so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
from kinlink_core.encoding.schema import load_schema

from kinlink_local import display
from kinlink_local.blocking import pair_completeness
from kinlink_local.case1988 import FAMILY_NOTICE, FOUND_PERSON
from kinlink_local.pairs import load_pairs
from kinlink_local.quality import Quality, measure
from kinlink_local.search import Seeker, searchable
from kinlink_local.truth import load_truth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from kinlink_local.counts import Counts
    from kinlink_local.federation import Federation
    from kinlink_local.linker_client import EvidenceView, LinkageView, LinkerClient, LinkView
    from kinlink_local.population import Population
    from kinlink_local.running import Started
    from kinlink_local.stopwatch import Stopwatch

SEEKING: Final = "shaanxi"
FOUND: Final = "sichuan"
PRECISION_MIN: Final = 0.9
RECALL_MIN: Final = 0.8


@dataclass(frozen=True)
class Explained:
    """A link with its evidence."""

    link: LinkView
    prior: float
    evidence: tuple[EvidenceView, ...]


@dataclass(frozen=True)
class Case:
    """The 1988 case, as the two officers see it."""

    lost_id: str
    found_id: str  # the other office's own record of the same link, or nothing
    same_link: bool  # asked for their own record, both officers see this link
    rank: int
    pairs: int
    for_this_child: int
    explained: Explained


@dataclass(frozen=True)
class Findings:
    """All that is shown."""

    view: LinkageView
    quality: Quality
    completeness: float
    top: Explained | None
    case: Case | None
    checks: dict[str, bool]

    @property
    def all_hold(self) -> bool:
        """Whether the demo shows what it promises."""
        return all(self.checks.values())


def find(
    client: LinkerClient,
    federation: Federation,
    population: Population,
    files: Mapping[str, Path],
    view: LinkageView,
) -> Findings:
    """Ask the linker and the officers, and compare with the truth."""
    seen = federation.everywhere(federation.links_of, sorted(files))
    schema = load_schema(federation.schema)
    with duckdb.connect() as connection:
        load_pairs(connection, seen, view.id)
        load_truth(connection, files, files[SEEKING].with_name("truth.csv"))
        quality = measure(connection, schema.threshold_probability)
        candidates = pair_completeness(connection, schema, files)
    ranked = sorted(client.links(view.id), key=lambda each: -each.weight)
    case = _case(client, federation, population.case[SEEKING], ranked, seen[FOUND])
    return Findings(
        view=view,
        quality=quality,
        completeness=candidates / quality.true_pairs if quality.true_pairs else 1.0,
        top=_explain(client, ranked[0]) if ranked else None,
        case=case,
        checks={
            "every registry took part": view.state == "SUCCEEDED",
            "the child of 1988 is linked to the right record (by the synthetic truth)": (
                case is not None
                and case.explained.link.linked
                and case.found_id == population.case[FOUND]
            ),
            "both officers, asked for their own record, see the same link": (
                case is not None and case.same_link
            ),
            f"precision is at least {PRECISION_MIN} (by the synthetic truth)": (
                quality.at_threshold.precision >= PRECISION_MIN
            ),
            f"recall is at least {RECALL_MIN} (by the synthetic truth)": (
                quality.at_threshold.recall >= RECALL_MIN
            ),
            "no value of any record lies on the linker's disk": not _leaked(federation, population),
        },
    )


def _explain(client: LinkerClient, link: LinkView) -> Explained:
    return Explained(link, *client.evidence(link.id))


def _case(
    client: LinkerClient,
    federation: Federation,
    lost_id: str,
    ranked: Sequence[LinkView],
    other_office: Sequence[dict[str, Any]],
) -> Case | None:
    """Follow the child's record from one officer to the other; None if it has no link."""
    asked = federation.links_of(SEEKING, lost_id)
    if not asked:
        return None
    link_id = asked[0]["link_id"]
    places = {each.id: place for place, each in enumerate(ranked, start=1)}
    found_id = next((each["id"] for each in other_office if each["link_id"] == link_id), "")
    answered = federation.links_of(FOUND, found_id) if found_id else []
    return Case(
        lost_id=lost_id,
        found_id=found_id,
        same_link=any(each["link_id"] == link_id for each in answered),
        rank=places[link_id],
        pairs=len(ranked),
        for_this_child=len(asked),
        explained=_explain(client, ranked[places[link_id] - 1]),
    )


def _leaked(federation: Federation, population: Population) -> bool:
    """Whether a file of the linker holds a value, or a record id, of anyone in the population."""
    everything = (
        value
        for records in population.records.values()
        for record in records
        for value in (record.record_id, *record.values.as_row())
    )
    return bool(Seeker(searchable(everything)).files_that_hold(federation.home("linker")))


def show(
    console: Console,
    findings: Findings,
    started: Started,
    stopwatch: Stopwatch,
    counts: Mapping[str, Counts],
) -> None:
    """Print the findings."""
    display.run(console, findings.view, started.ingested, counts, stopwatch)
    console.print(display.quality(findings.quality, findings.completeness))
    if findings.top is not None:
        console.print(_waterfall("The surest link", findings.top))
    if findings.case is not None:
        _show_case(console, findings.case)
    console.print(display.checks(findings.checks))


def _show_case(console: Console, case: Case) -> None:
    link = case.explained.link
    standing = "linked" if link.linked else "only disclosed"
    console.print("[bold]The child lost in Xi'an on 17 October 1988[/] [dim](invented people)[/]")
    console.print(
        f"{standing} at probability {link.probability:.6f}; first of {case.for_this_child} for "
        f"this child, place {case.rank} among all {case.pairs} pairs"
    )
    console.print(display.officer(SEEKING, case.lost_id, FAMILY_NOTICE))
    console.print(display.officer(FOUND, case.found_id or "(no such link)", FOUND_PERSON))
    console.print(_waterfall("Why: the linker's evidence, without a value", case.explained))


def _waterfall(heading: str, explained: Explained) -> Table:
    found = f"{heading} (pass {explained.link.pass_id})"
    return display.waterfall(found, explained.prior, explained.evidence)
