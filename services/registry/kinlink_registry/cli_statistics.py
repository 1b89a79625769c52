"""`statistics`: rounded counts of an office's records, to choose passes by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from kinlink_core.errors import InvalidInputError, Reason
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kinlink_registry.textfile import ENCODING_DEFAULT, ID_COLUMN_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.statistics import Step

PATH = click.Path(dir_okay=False, path_type=Path)
MEMORY_LIMIT: Final = "1GB"


@click.command()
@click.argument("schema", type=PATH)
@click.argument("source", type=PATH)
@click.option("--out", type=PATH, required=True, help="Where to write the statistics.")
@click.option("--id-column", default=ID_COLUMN_DEFAULT, show_default=True)
@click.option("--encoding", default=ENCODING_DEFAULT, show_default=True, help="Of a CSV file.")
def statistics(schema: Path, source: Path, *, out: Path, id_column: str, encoding: str) -> None:
    """Count how the records of a file would fall into islands, to choose passes by.

    SCHEMA needs fields and no passes. The file that is written holds rounded counts and no value;
    read it, then hand it to whoever runs `kinlink suggest`. Needs no home, no vault and no keys.
    """
    from kinlink_registry.source import SourceSpec
    from kinlink_registry.statistics import measure

    fields = _fields(schema)
    steps = measure(
        fields,
        SourceSpec(path=str(source.absolute()), encoding=encoding),
        id_column=id_column,
        memory_limit=MEMORY_LIMIT,
    )
    last = _followed(steps)
    assert last is not None  # noqa: S101 - the last step of every measurement
    assert last.statistics is not None  # noqa: S101
    try:
        out.write_text(last.statistics.to_json(), "utf-8")
    except OSError as error:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, f"{out} cannot be written: {error.strerror}."
        ) from error
    found = last.statistics
    click.echo(
        f"About {found.records} records, {last.rejected} rows rejected;"
        f" {len(found.passes)} candidate passes measured."
    )
    for name, each in found.fields.items():
        bits = (
            "too few equal values to say"
            if each.entropy_bits is None
            else (f"{each.entropy_bits:.1f} bits")
        )
        click.echo(f"  {name}: present in {each.present:.1%}, {bits}")
    click.echo(f"Written to {out}. Read it before you hand it over: it holds counts, no values.")


def _fields(path: Path) -> Schema:
    from kinlink_core.encoding.schema import SchemaError, load_fields

    try:
        return load_fields(path)
    except SchemaError as error:
        raise InvalidInputError(Reason.SCHEMA_INVALID, str(error)) from error


def _followed(steps: Iterator[Step]) -> Step | None:
    errors = Console(stderr=True)
    last = None
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
        transient=True,
    ) as bar:
        task = bar.add_task("reading", total=None)
        for last in steps:
            bar.update(task, description=last.doing, total=last.total, completed=last.done)
    return last
