"""`kinlink notices` and `kinlink faces`: notices in and out, and photographs to face vectors."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from kinlink_local.errors import EXIT_FAILED, BadInputError

FAULTS_SHOWN: Final = 20
FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def notices() -> None:
    """Read notices as offices and families write them, and write them for others."""


@notices.command("import")
@click.argument("source", metavar="FILE", type=EXISTING)
@click.option(
    "--from",
    "form",
    type=click.Choice(["template", "pfif", "csv", "json"]),
    required=True,
    help="The eight-part notice as text, PFIF 1.4, CSV, or JSON lines.",
)
@click.option("--out", type=FILE, required=True, help="CSV file of notices to write.")
@click.option("--faults", type=FILE, help="CSV file for what was not read.  [default: beside OUT]")
@click.option("--encoding", default="utf-8", show_default=True, help="Of text, CSV and JSON.")
@click.option("--domain", default="", help="Of this office: left off PFIF ids that begin with it.")
def import_notices(  # noqa: PLR0917 - click passes options by name
    source: Path, form: str, out: Path, faults: Path | None, encoding: str, domain: str
) -> None:
    """Make a table of notices from FILE.

    What can be read is kept. What cannot is left empty and written to a file of faults, with its
    line, its id, its field and what to do, and without its value.
    """
    from kinlink_local.reunion.intake.files import read_notices
    from kinlink_local.reunion.notices import write_csv

    path = faults or out.with_name(f"{out.stem}-faults.csv")
    try:
        outcome = read_notices(source, form, encoding=encoding, domain=domain, progress=_progress)
        if not outcome.read and not outcome.lost:
            raise BadInputError([f"{source} has no notice in it; is --from {form} what it is?"])
        write_csv(out, outcome.notices)
        if outcome.faults:
            outcome.write_faults(path)
    except (OSError, LookupError) as error:
        raise BadInputError([str(error)]) from error
    for fault in outcome.faults[:FAULTS_SHOWN]:
        click.echo(f"kinlink: {fault}", err=True)
    if outcome.faults:
        click.echo(f"kinlink: {len(outcome.faults)} faults in all: {path}", err=True)
    _show_dropped(outcome.dropped, "have no column and were left out")
    click.echo(f"{outcome.read} notices: {out}; {outcome.lost} could not be read at all")
    if not outcome.read:
        sys.exit(EXIT_FAILED)


@notices.command("export")
@click.argument("source", metavar="NOTICES", type=EXISTING)
@click.option(
    "--to",
    "form",
    type=click.Choice(["pfif", "csv", "json"]),
    required=True,
    help="PFIF 1.4, CSV, or JSON lines.",
)
@click.option("--out", type=FILE, required=True, help="File to write.")
@click.option("--domain", default="", help="Of this office: PFIF ids begin with it.")
def export_notices(source: Path, form: str, out: Path, domain: str) -> None:
    """Write a table of notices for others.

    NOTICES are CSV, or JSON lines where the name ends in .jsonl. What PFIF cannot carry is counted.
    """
    from kinlink_local.reunion.intake.pfif_write import export_pfif
    from kinlink_local.reunion.notices import read_table, size, write_csv, write_jsonl

    if form == "pfif" and not domain:
        raise BadInputError(["PFIF ids begin with the office's domain: give --domain"])
    try:
        table = read_table(source)
        if form == "pfif":
            left = export_pfif(table, out, domain, datetime.now(UTC))
            _show_dropped(left, "cannot be carried by PFIF")
        else:
            (write_jsonl if form == "json" else write_csv)(out, table)
    except (ValueError, OSError) as error:
        raise BadInputError([str(error)]) from error
    click.echo(f"{size(table)} notices: {out}")


@notices.command("attach")
@click.argument("source", metavar="NOTICES", type=EXISTING)
@click.argument("tips", metavar="TIPS", type=EXISTING)
@click.option("--tip", required=True, metavar="ID", help="Record id of the tip.")
@click.option("--to", "record_id", required=True, metavar="ID", help="Notice of somebody found.")
@click.option("--out", type=FILE, required=True, help="CSV file for the one notice.")
def attach_tip(source: Path, tips: Path, tip: str, record_id: str, out: Path) -> None:
    """Fill what a notice does not say from a tip about the same person.

    NOTICES and TIPS are CSV, or JSON lines where the name ends in .jsonl. Nothing that the notice
    says is replaced. Make the columns of OUT and ingest them: the notice is searched for anew.
    """
    from kinlink_local.reunion.notices import COLUMNS, FOUND, TIP, read_table, write_csv
    from kinlink_local.reunion.tips import attach

    def one(path: Path, wanted: str, kind: str) -> dict[str, str]:
        table = read_table(path)
        rows = [row for row, each in enumerate(table["record_id"]) if each == wanted]
        if len(rows) != 1 or table["kind"][rows[0]] != kind:
            raise BadInputError([f"{path} has {len(rows)} records {wanted}; it needs one `{kind}`"])
        return {name: table[name][rows[0]] for name in COLUMNS}

    try:
        told = attach(one(source, record_id, FOUND), one(tips, tip, TIP))
        write_csv(out, {name: [cell] for name, cell in told.items()})
    except (ValueError, OSError) as error:
        raise BadInputError([str(error)]) from error
    click.echo(f"1 notice: {out}")


@click.command()
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--notices", "source", type=EXISTING, required=True, help="Table of notices.")
@click.option("--out", type=FILE, required=True, help="CSV file of notices to write.")
def faces(folder: Path, source: Path, out: Path) -> None:
    """Fill face vectors into notices from the photographs in DIR.

    A photograph's file is named after the record id. It is read once and kept nowhere. Needs the
    extra `face`. A photograph with no face, several, or one too small or unclear is reported.
    """
    from kinlink_local.reunion.face_vectors import fill_faces
    from kinlink_local.reunion.notices import read_table, size, write_csv

    try:
        table = read_table(source)
        faults = fill_faces(table, folder, _progress)
        write_csv(out, table)
    except (ValueError, OSError) as error:
        raise BadInputError([str(error)]) from error
    for name, text in faults:
        click.echo(f"kinlink: {name}: {text}", err=True)
    filled = sum(map(bool, table["face_embedding"]))
    click.echo(f"{size(table)} notices, {filled} with a face: {out}")


def _progress(read: int) -> None:
    click.echo(f"kinlink: {read} read", err=True)


def _show_dropped(dropped: dict[str, int], what: str) -> None:
    if dropped:
        listed = ", ".join(f"{name} {count}" for name, count in sorted(dropped.items()))
        click.echo(f"kinlink: these {what}: {listed}", err=True)
