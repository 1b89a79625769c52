"""The `kinlink` command: a whole federation on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from kinlink_core.errors import KinlinkError

from kinlink_local.errors import EXIT_FAILED, BadInputError, LocalError
from kinlink_local.notice_commands import faces, notices

if TYPE_CHECKING:
    from types import FrameType

STORIES: Final = ("child", "registers")
RECORDS_DEFAULT: Final = {"child": 500, "registers": 2_000}
SEED_DEFAULT: Final = 1988
NOTICES_DEFAULT: Final = 5_000
THRESHOLD_DEFAULT: Final = 0.5
EXIT_INTERRUPTED: Final = 130
SIGNAL_STATUS: Final = 128

FOLDER = click.Path(file_okay=False, path_type=Path)


class _Group(click.Group):
    """Prints what went wrong, and exits 2 for bad input, 1 for failure, 130 for Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        _end_on_signals()
        try:
            return super().invoke(ctx)
        except LocalError as error:
            click.echo(f"kinlink: {error}", err=True)
            ctx.exit(error.exit_code)
        except KinlinkError as error:
            click.echo(f"kinlink: {error.public}", err=True)
            ctx.exit(EXIT_FAILED)
        except KeyboardInterrupt:
            click.echo("kinlink: ended by Ctrl-C; all processes are stopped.", err=True)
            ctx.exit(EXIT_INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kinlink")
def main() -> None:
    """A whole federation on this machine: real processes, real certificates, real keys."""


@main.command()
@click.option("--exit", "leave", is_flag=True, help="Stop when all is shown, with a status.")
@click.option("--dir", "folder", type=FOLDER, help="Keep everything here instead of nowhere.")
@click.option(
    "--story",
    type=click.Choice(STORIES),
    default=STORIES[0],
    show_default=True,
    help="Notices of missing children, or registers of three provinces.",
)
@click.option(
    "--records",
    type=int,
    help="Of each side, or of each province.  [default: 500; 2000 for registers]",
)
@click.option("--seed", default=SEED_DEFAULT, show_default=True, help="Of the population.")
@click.option("--plain", is_flag=True, help="Do without the key server.")
@click.option(
    "--browser/--no-browser",
    default=None,
    help="Open the gateway's page.  [default: if there is a desktop]",
)
def demo(  # noqa: PLR0917 - click passes options by name
    leave: bool,  # noqa: FBT001 - click passes flags so
    folder: Path | None,
    story: str,
    records: int | None,
    seed: int,
    plain: bool,  # noqa: FBT001
    browser: bool | None,  # noqa: FBT001
) -> None:
    """Search for a boy lost in 1988 among invented people, and show how he is found.

    Starts a key server, registries, a linker and a gateway as processes of their own, with freshly
    made certificates and keys. `child` links notices of missing children and of found people; then
    a tip arrives, then a photograph, and standing search says what each does to the family's list.
    `registers` links three provinces' registers of persons. The gateway's page stays open until
    Ctrl-C. With --exit the status is 0 only if he was found and every check holds.
    """
    if story == STORIES[0]:
        from kinlink_local.reunion.story import run_story as run
    else:
        from kinlink_local.demo import run_demo as run

    opens = _has_desktop() if browser is None else browser
    holds = run(
        records=RECORDS_DEFAULT[story] if records is None else records,
        seed=seed,
        folder=folder,
        stay=not leave,
        browser=opens and not leave,
        key_server=not plain,
    )
    sys.exit(0 if holds else EXIT_FAILED)


@main.command()
@click.option("--schema", type=click.Path(path_type=Path), required=True, help="Schema file.")
@click.option(
    "--registry",
    "registries",
    multiple=True,
    required=True,
    metavar="NAME=FILE",
    help="A registry's CSV or Parquet file with a column record_id; at least two.",
)
@click.option(
    "--truth", type=click.Path(path_type=Path), help="File of record_id,person_id to judge by."
)
@click.option(
    "--threshold",
    type=float,
    default=THRESHOLD_DEFAULT,
    show_default=True,
    help="Link at or above this probability.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the results."
)
@click.option("--key-server", is_flag=True, help="Start a key server; plain mode otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def rehearse(  # noqa: PLR0917 - click passes options by name
    schema: Path,
    registries: tuple[str, ...],
    truth: Path | None,
    threshold: float,
    out: Path,
    key_server: bool,  # noqa: FBT001 - click passes flags so
    as_json: bool,  # noqa: FBT001
) -> None:
    """Link your own files as a federation of separate offices would.

    Writes links.parquet (pairs at or above the threshold), pairs.parquet (all pairs above the
    disclosure floor) and report.json into the folder.
    """
    from kinlink_local.inputs import plan_rehearsal
    from kinlink_local.rehearsal import rehearse as run_rehearsal
    from kinlink_local.report_display import show_report
    from kinlink_local.stopwatch import Stopwatch

    plan = plan_rehearsal(
        schema=schema,
        registries=registries,
        truth=truth,
        threshold=threshold,
        out=out,
        key_server=key_server,
    )
    report = run_rehearsal(plan, Stopwatch())
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        show_report(report, out)


@main.command()
@click.argument("out", type=FOLDER)
@click.option("--seed", default=SEED_DEFAULT, show_default=True, help="Of all chance.")
@click.option("--notices", default=NOTICES_DEFAULT, show_default=True, help="Of each side.")
@click.option(
    "--regime",
    type=click.Choice(["informative", "hard"]),
    default="informative",
    show_default=True,
    help="How well dates and memories were kept.",
)
@click.option("--photos", type=float, help="Share of family notices with a photograph.")
@click.option("--replay", is_flag=True, help="Add the notices of the 1988 case.")
@click.option("--jsonl", is_flag=True, help="Write JSON lines instead of CSV.")
@click.option(
    "--registries",
    type=click.IntRange(1, 31),
    help="Also write so many registries of each side, for a rehearsal.",
)
def population(  # noqa: PLR0917 - click passes options by name
    out: Path,
    seed: int,
    notices: int,
    regime: str,
    photos: float | None,
    replay: bool,  # noqa: FBT001 - click passes flags so
    jsonl: bool,  # noqa: FBT001
    registries: int | None,
) -> None:
    """Write synthetic notices of missing children and found people into OUT.

    A file for each province and side, truth.csv with the pairs, people.csv with families, and
    generator.json, which says what they were drawn from. Nobody in them exists.
    """
    from kinlink_local.reunion.assumptions import PHOTO_SHARE
    from kinlink_local.reunion.population import Config, make_population, write_population

    share = PHOTO_SHARE if photos is None else photos
    try:
        drawn = make_population(Config(seed, notices, regime, share, replay))
        written = write_population(drawn, out, jsonl=jsonl, registries=registries or 0)
    except (ValueError, FileExistsError) as error:
        raise BadInputError([str(error)]) from error
    click.echo(f"{sum(written.values())} synthetic notices in {len(written)} files: {out}")


@main.command()
@click.argument(
    "notices", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="CSV file to write.",
)
@click.option(
    "--age-progression",
    metavar="NAME",
    help="A plug-in that ages faces: an installed one, or module:function.  [default: none]",
)
def columns(notices: tuple[Path, ...], out: Path, age_progression: str | None) -> None:
    """Make the columns that the schema `reunion` compares from NOTICES.

    NOTICES are CSV, or JSON lines where a name ends in .jsonl. Dates become possible days, names
    become sounds, photographs are told by how old they are. An office ingests what is written; it
    is no less personal than the notices.
    """
    from kinlink_local.reunion.columns import schema_columns, write_columns
    from kinlink_local.reunion.face_columns import ProgressionError, load_progression
    from kinlink_local.reunion.notices import join, read_table, size

    try:
        progress = load_progression(age_progression) if age_progression else None
        read = join([read_table(path) for path in notices])
        write_columns(out, schema_columns(read, progress))
    except (ValueError, OSError, ProgressionError) as error:
        raise BadInputError([str(error)]) from error
    click.echo(f"{size(read)} notices: {out}")


@main.command()
@click.argument("schema", type=click.Path(path_type=Path))
@click.argument("statistics", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a schema here.")
@click.option(
    "--pairs-max",
    type=click.FloatRange(0, min_open=True),
    help="Candidate pairs at most.  [default: two for each record]",
)
@click.option("--passes-max", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option(
    "--bits-min",
    type=click.FloatRange(0, 64),
    default=16.0,
    show_default=True,
    help="What a pass tells about a person at least; below 16 the exposure is declared.",
)
@click.option(
    "--cap-max",
    type=click.IntRange(2, 1000),
    default=12,
    show_default=True,
    help="Records an island may hold; above 12 the exposure is declared.",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1),
    help="Share of an office's people that another one knows too."
    "  [default: from duplicates inside the offices]",
)
@click.option(
    "--records-a-person",
    type=click.FloatRange(1, 1000),
    default=2.0,
    show_default=True,
    help="Records of a person in one office, at most; 1 learns nothing from duplicates.",
)
@click.option(
    "--same",
    "same",
    multiple=True,
    metavar="FIELD=SHARE",
    help="How often two records of a person have the same value; may be repeated.",
)
@click.option(
    "--model", type=click.Path(path_type=Path), help="Take error rates from a trained model."
)
@click.option("--json", "as_json", is_flag=True, help="Print the suggestion as JSON.")
def suggest(*, same: tuple[str, ...], as_json: bool, **order: Any) -> None:
    """Propose passes and caps from what offices have measured.

    SCHEMA has the fields, and its passes do not matter. STATISTICS are the files that
    `kinlink-registry statistics` wrote in two or more offices under this schema.
    """
    from kinlink_local.suggestion.command import Order
    from kinlink_local.suggestion.command import suggest as run_suggest
    from kinlink_local.suggestion.display import show_suggestion

    found = run_suggest(Order(same=_shares(same), **order))
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        show_suggestion(found)


main.add_command(notices)
main.add_command(faces)


def _shares(texts: tuple[str, ...]) -> dict[str, float]:
    """`FIELD=SHARE` options by field."""
    from kinlink_local.errors import BadInputError

    found: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            found[name] = float(share)
        except ValueError:
            found[name] = -1.0
        if not 0 < found[name] < 1:
            raise BadInputError([f"same: {text!r} is not FIELD=SHARE with a share from 0 to 1"])
    return found


def _has_desktop() -> bool:
    shown = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return shown and sys.stdout.isatty()


def _end_on_signals() -> None:
    """Let SIGTERM and a closed terminal end us as Ctrl-C does: with every process we started."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(SIGNAL_STATUS + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    # A shell starts what runs in the background with SIGINT ignored; it must end us all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    main()
