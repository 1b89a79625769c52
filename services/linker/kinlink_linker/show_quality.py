"""What `kinlink-linker quality` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape
from rich.table import Table

from kinlink_linker.show import console

if TYPE_CHECKING:
    from rich.console import Console

Document = dict[str, Any]

BAR_CHARS: Final = 40
AIMS: Final = {"f1": "highest F1"}


def quality(found: Document) -> None:
    """Print the estimates of a linkage."""
    out = console()
    out.print("Expected under the model; counts are rounded to tens.")
    out.print(_thresholds(found))
    _blocking(out, found["blocking"])
    out.print(_registries("Registries", found["registries"]))
    out.print(_registries("Registries with each partner", found["registry_pairs"]))
    out.print(_weights(found["weights"]))
    if found["calibration"]:
        out.print(_calibration(found["calibration"]))


def _thresholds(found: Document) -> Table:
    table = Table(
        "threshold for",
        "weight",
        "probability",
        "links",
        "precision",
        "recall of compared",
        "recall",
        "F1 at most",
    )
    rows = [("(this linkage)", found["linked"])]
    rows += [(_aim(each["aim"]), each["expected"]) for each in found["advice"]]
    for name, each in rows:
        table.add_row(
            name,
            f"{each['weight']:+.1f}",
            f"{each['probability']:.4f}",
            each["links"],
            _share(each, "precision"),
            _share(each, "recall_compared"),
            _span(each, "recall_low", "recall_high"),
            _share(each, "f1"),
        )
    return table


def _blocking(out: Console, found: Document) -> None:
    if "loss_low" not in found:
        out.print("Too few matches were compared to say what the passes missed.")
        return
    out.print(
        f"{found['compared_matches']} matches compared; missed by all passes: "
        f"{_span(found, 'loss_low', 'loss_high')} of all matches. "
        f"Captured by 1, 2, ... passes: {', '.join(found['by_passes'])}."
    )


def _registries(title: str, rows: list[Document]) -> Table:
    with_partner = any(each["partner"] for each in rows)
    columns = ["registry", *(["partner"] if with_partner else []), "records", "linked records"]
    columns += ["share", "pairs", "matches", "links", "precision", "recall of compared", "missed"]
    table = Table(*columns, *([] if with_partner else ["worse than others"]), title=title)
    for each in rows:
        cells = [escape(each["registry"])]
        cells += [escape(each["partner"])] if with_partner else []
        cells += [each["records"], each["linked_records"], _share(each, "linked_share")]
        cells += [each["compared_pairs"], each["matches"], each["links"]]
        cells += [_share(each, "precision"), _share(each, "recall_compared")]
        cells += [_span(each, "loss_low", "loss_high")]
        table.add_row(*cells, *([] if with_partner else [", ".join(each["worse"])]))
    return table


def _weights(rows: list[Document]) -> Table:
    most = max((int(each["pairs"]) for each in rows), default=1) or 1
    table = Table("bits", "pairs", "matches", "", title="Compared pairs by weight")
    for each in rows:
        bar = "█" * round(BAR_CHARS * int(each["pairs"]) / most)
        table.add_row(f"{each['low']:+.0f}", each["pairs"], each["matches"], bar)
    return table


def _calibration(rows: list[Document]) -> Table:
    table = Table("probability", "decided", "confirmed", "expected", "found", title="By verdicts")
    for each in rows:
        table.add_row(
            f"{each['low']} to {each['high']}",
            each["decided"],
            each["confirmed"],
            f"{each['expected']:.2f}",
            f"{each['found_low']:.2f} to {each['found_high']:.2f}",
        )
    return table


def _aim(aim: str) -> str:
    return AIMS.get(aim, aim.replace("_", " "))


def _share(each: Document, name: str) -> str:
    return f"{each[name]:.3f}" if name in each else "-"


def _span(each: Document, low: str, high: str) -> str:
    """An interval of two figures, of which one may be unknown."""
    if low in each and high in each:
        return f"{each[low]:.3f} to {each[high]:.3f}"
    if high in each:
        return f"at most {each[high]:.3f}"
    return f"at least {each[low]:.3f}" if low in each else "-"
