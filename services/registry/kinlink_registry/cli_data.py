"""Commands on the records: ingest, consent, status, links, backup, restore, audit."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kinlink_core.errors import InvalidInputError, PreconditionError, Reason
from kinlink_core.runtime.commands import audit_group, check_log

from kinlink_registry.domain import VERDICTS, IngestRequest
from kinlink_registry.door import named_ids, office
from kinlink_registry.revocations import Revocations
from kinlink_registry.textfile import ENCODING_DEFAULT, ID_COLUMN_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Container

    from kinlink_registry.domain import LocalLink
    from kinlink_registry.home import Home

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT = click.Path(dir_okay=False, path_type=Path)
_ATTACH = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<target>.+)", re.DOTALL)


@click.command()
@click.argument("source", type=OUT, required=False)
@click.option("--query", default="", help="SQL for DuckDB instead of a file.")
@click.option("--attach", "attached", multiple=True, help="NAME=DATABASE that the query may read.")
@click.option("--id-column", default=ID_COLUMN_DEFAULT, show_default=True)
@click.option("--encoding", default=ENCODING_DEFAULT, show_default=True, help="Of a CSV file.")
@click.option("--delete", is_flag=True, help="The source names ids to delete.")
@click.option("--dry-run", is_flag=True, help="Say what would happen and change nothing.")
@click.option("--report", type=OUT, help="Where to write down rejected rows.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_obj
def ingest(  # noqa: PLR0917 - click passes options by name
    home: Home,
    source: Path | None,
    query: str,
    attached: tuple[str, ...],
    id_column: str,
    encoding: str,
    delete: bool,  # noqa: FBT001 - click passes flags so
    dry_run: bool,  # noqa: FBT001
    report: Path | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Take in the records of a CSV or Parquet file, or of a query.

    Rows with an id that is known update that record. Good rows are kept whatever the others are;
    the report names each rejected row, its field and the reason, and no value.
    """
    from kinlink_registry import show

    if (source is None) == (not query):
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, "Name a file, or give --query: one of them."
        )
    request = IngestRequest(
        path=str(source.absolute()) if source else "",
        query="".join(map(_attach, attached)) + query,
        id_column=id_column,
        dry_run=dry_run,
        delete=delete,
        report_path=str(report.absolute()) if report else "",
        encoding=encoding,
    )
    with office(home) as door:
        done = show.followed(door.ingest(request), quiet=as_json)
        state = door.status()
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        show.ingested(done, dry_run=dry_run)
    show.unencoded(state)
    if done.rejected and done.rejected == done.rows_total:
        raise PreconditionError(Reason.FILE_UNREADABLE, "No row was good enough to take.")


@click.command()
@click.argument("change", type=click.Choice(["withdraw", "grant"]))
@click.argument("local_ids", nargs=-1)
@click.option("--file", "listed", type=FILE, help="Text file with one id a line.")
@click.pass_obj
def consent(home: Home, change: str, local_ids: tuple[str, ...], listed: Path | None) -> None:
    """Withdraw people from linkage by their local ids, or grant it again."""
    ids = named_ids(local_ids, listed)
    with office(home) as door:
        done = door.set_consent(ids, withdrawn=change == "withdraw")
    click.echo(f"Changed {done.changed}; {done.unknown} of the ids have no record here.")


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def status(home: Home, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Show records, epochs, feed, quotas, links and certificate."""
    from kinlink_registry import show

    with office(home) as door:
        state = door.status()
    if as_json:
        click.echo(json.dumps(state, indent=1, ensure_ascii=False))
    else:
        show.state(state)


@click.command()
@click.option("--id", "local_id", default="", help="Only links of the person with this local id.")
@click.option("--json", "as_json", is_flag=True)
@click.pass_obj
def links(home: Home, local_id: str, as_json: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Show which links touch our people, best first."""
    from kinlink_registry import show

    with office(home) as door:
        revoked = {each.registry for each in Revocations(home.revoked).all() if not each.serials}
        found = [_link(link, revoked) for link in door.local_links(local_id)]
    if as_json:
        # A link a line: where it is to indent, Python does without its encoder in C.
        encode = json.JSONEncoder(ensure_ascii=False).encode
        click.echo("[" + ",\n".join(map(encode, found)) + "]")
    else:
        show.links(found, local_id)


@click.command()
@click.argument("path", type=OUT)
@click.pass_obj
def backup(home: Home, path: Path) -> None:
    """Copy the vault, also while it serves.

    The copy is sealed; keep the vault key apart from it.
    """
    with office(home) as door:
        records = door.backup(path.absolute())
    click.echo(f"Wrote {records} records to {path}.")


@click.command()
@click.argument("path", type=FILE)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(home: Home, path: Path, yes: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Put a backup in the vault's place, also while it serves.

    The linker then reads the feed anew.
    """
    if not yes:
        click.confirm("Replace everything that is in the vault now?", abort=True)
    with office(home) as door:
        records = door.restore(path.absolute())
    click.echo(f"Restored {records} records.")


audit = audit_group(lambda home, anchor: check_log(home.audit, anchor))


def _attach(text: str) -> str:
    found = _ATTACH.fullmatch(text)
    if found is None:
        raise InvalidInputError(Reason.FILE_UNREADABLE, "--attach has the form NAME=DATABASE.")
    target = found["target"]
    if Path(target).exists():
        target = str(Path(target).absolute())
    return f"ATTACH '{target.replace(chr(39), chr(39) * 2)}' AS {found['name']} (READ_ONLY); "


def _link(local: LocalLink, revoked: Container[str]) -> dict[str, Any]:
    link = local.link
    return {
        "id": local.local_id,
        "link_id": link.link_id,
        "partner": link.partner,
        "partner_revoked": link.partner in revoked,
        "partner_subject": link.partner_subject.hex(),
        "person_id": link.person_id,
        "match_weight": link.match_weight,
        "match_probability": link.match_probability,
        "verdict": VERDICTS[link.verdict],
        "linkage_id": local.linkage_id,
        "missing_registries": list(local.missing_registries),
        "published_at": local.published_at,
    }
