"""`kinlink-linker links`: list links, and show why one is a link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from kinlink_linker import show
from kinlink_linker.linker_client import state_number, verdict_number
from kinlink_linker.reach import client_options

if TYPE_CHECKING:
    from kinlink_linker.reach import Reach

ORDERS: Final = ("weight_desc", "weight_asc", "created_desc")
VERDICTS: Final = ("confirmed", "rejected", "unsure")
STATES: Final = ("open", "unsure", "confirmed", "ruled_out", "returned")
LINKS_SHOWN: Final = 50


@click.group()
def links() -> None:
    """Look at links and their evidence."""


@links.command(name="list")
@click.option("--linkage", "linkage_id", default="", help="Of this linkage.  [default: standing]")
@click.option("--registry", default="", help="With this registry on either side.")
@click.option("--person", "person_id", default="", help="Of this person.")
@click.option("--min-probability", type=click.FloatRange(0, 1), default=0.0)
@click.option("--max-probability", type=click.FloatRange(0, 1), default=0.0, help="0: no bound.")
@click.option("--verdict", "verdicts", type=click.Choice(VERDICTS), multiple=True)
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES),
    multiple=True,
    help="Pairs in this state.  [default: all but ruled_out]",
)
@click.option("--undecided", is_flag=True, help="Only links that wait for a verdict.")
@click.option("--include-disclosed", is_flag=True, help="Also pairs below the link threshold.")
@click.option("--order", type=click.Choice(ORDERS), default=ORDERS[0], show_default=True)
@click.option("--limit", type=click.IntRange(1), default=LINKS_SHOWN, show_default=True)
@click.option("--all", "everything", is_flag=True, help="Print every one, best first, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@client_options
def list_links(
    reach: Reach, *, order: str, limit: int, everything: bool, as_json: bool, **asked: Any
) -> None:
    """List links, best first."""
    filters = _filters(asked)
    with reach.client() as client:
        if everything:
            show.json_lines(client.all_links(filters))
            return
        found, total = client.links(filters, order, limit)
    if as_json:
        show.json_lines(found)
    else:
        show.links(found, total)


@links.command(name="show")
@click.argument("link_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the link as JSON.")
@client_options
def show_link(reach: Reach, link_id: str, *, as_json: bool) -> None:
    """Show one link with what each field says about it."""
    with reach.client() as client:
        found = client.link(link_id)
    if as_json:
        show.json_lines([found])
    else:
        show.link(found)


def _filters(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "linkage_id": asked["linkage_id"],
        "registry": asked["registry"],
        "person_id": asked["person_id"],
        "probability_min": asked["min_probability"],
        "probability_max": asked["max_probability"],
        "verdicts": [verdict_number(name) for name in asked["verdicts"]],
        "states": [state_number(name) for name in asked["states"]],
        "undecided_only": asked["undecided"],
        "include_disclosed": asked["include_disclosed"],
    }
