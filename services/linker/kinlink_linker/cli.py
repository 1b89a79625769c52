"""The `kinlink-linker` command: `serve` runs the linker, everything else asks the one that runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click
from kinlink_core.runtime.commands import EXIT_FAILURE, audit_group, check_log, service_group
from kinlink_core.runtime.purpose import PURPOSE_DEFAULT

from kinlink_linker import cli_links, cli_model, show, show_quality
from kinlink_linker.reach import Reach, client_options
from kinlink_linker.settings import AUDIT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINKAGES_SHOWN: Final = 20


@service_group("linker", home="linker.toml, the certificate and the stores")
def main(home: Path) -> Path:
    """The centre of a federation: finds links between registries, and keeps them."""
    return home


@main.command()
@click.pass_obj
def serve(home: Path) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    from kinlink_linker import app

    app.serve(home)


@main.command()
@click.option(
    "--threshold",
    "probability",
    type=click.FloatRange(0, 1, min_open=True),
    default=None,
    help="Link pairs at or above this match probability.  [default: the schema's]",
)
@click.option(
    "--weight", type=float, default=None, help="Link pairs at or above this match weight, in bits."
)
@click.option(
    "--registry",
    "registries",
    multiple=True,
    help="Link only these registries; may be repeated.  [default: all that are configured]",
)
@click.option("--model", default="", help="Score with this saved model and train nothing.")
@click.option(
    "--purpose",
    default=PURPOSE_DEFAULT,
    show_default=True,
    help="Why, as a code word that registries audit and may refuse, such as family-search.",
)
@click.option("--no-wait", is_flag=True, help="Start the linkage and return at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the linkage as JSON.")
@client_options
def link(reach: Reach, *, no_wait: bool, as_json: bool, **order: Any) -> None:
    """Start a linkage and follow it to its end.

    Exits 1 if it fails or is cancelled; a linkage that had to do without a registry exits 0 and
    names it. Ctrl-C stops following, not the linkage.
    """
    if order["probability"] is not None and order["weight"] is not None:
        raise click.UsageError("Give --threshold or --weight, not both.")
    with reach.client() as client:
        linkage = client.create(**order)
        if not no_wait:
            linkage = _followed(client.watch(linkage["id"]), linkage, quiet=as_json)
    if as_json:
        click.echo(json.dumps(linkage, ensure_ascii=False))
    else:
        show.linkage(linkage)
    if show.failed(linkage):
        raise click.exceptions.Exit(EXIT_FAILURE)


def _followed(
    steps: Iterator[dict[str, Any]], linkage: dict[str, Any], *, quiet: bool
) -> dict[str, Any]:
    try:
        return show.followed(steps, linkage, quiet=quiet)
    except KeyboardInterrupt:
        click.echo(
            f"Linkage {linkage['id']} goes on; stop it with: kinlink-linker cancel {linkage['id']}",
            err=True,
        )
        raise


@main.command()
@click.option("--limit", type=click.IntRange(1, 1_000), default=LINKAGES_SHOWN, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@client_options
def linkages(reach: Reach, limit: int, *, as_json: bool) -> None:
    """List linkages, newest first."""
    with reach.client() as client:
        found = client.linkages(limit)
    if as_json:
        show.json_lines(found)
    else:
        show.linkages(found)


@main.command()
@click.argument("linkage_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the estimates as JSON.")
@client_options
def quality(reach: Reach, linkage_id: str, *, as_json: bool) -> None:
    """Show what a linkage is expected to be worth, estimated without truth."""
    with reach.client() as client:
        found = client.quality(linkage_id)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    elif found is None:
        click.echo(f"Linkage {linkage_id} has no estimates: it did not come so far.")
    else:
        show_quality.quality(found)


@main.command()
@click.argument("linkage_id", metavar="ID")
@client_options
def cancel(reach: Reach, linkage_id: str) -> None:
    """Stop a linkage."""
    with reach.client() as client:
        client.cancel(linkage_id)
    click.echo(f"Linkage {linkage_id} is being stopped.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@client_options
def registries(reach: Reach, *, as_json: bool) -> None:
    """Show the registries as they were last seen."""
    with reach.client() as client:
        found = client.registries()
    if as_json:
        show.json_lines(found)
    else:
        show.registries(found)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@client_options
def standing(reach: Reach, *, as_json: bool) -> None:
    """Show how far standing search is: what it follows, and what waits."""
    with reach.client() as client:
        found = client.standing()
    if as_json:
        show.json_lines([found])
    else:
        show.standing(found)


@main.command()
@click.argument("person_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
@client_options
def person(reach: Reach, person_id: str, *, as_json: bool) -> None:
    """Show how a person merged and split, oldest first."""
    with reach.client() as client:
        found = client.person_history(person_id)
    if as_json:
        show.json_lines(found)
    else:
        show.person_history(found)


main.add_command(cli_links.links)
main.add_command(cli_model.model)
main.add_command(audit_group(lambda home, anchor: check_log(home / AUDIT_FILE, anchor)))
