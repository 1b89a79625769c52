"""`kinlink-linker model`: look at what was learned, keep it, use it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kinlink_core.errors import InvalidInputError, Reason

from kinlink_linker import show
from kinlink_linker.model import MODEL_BYTES_MAX
from kinlink_linker.reach import client_options

if TYPE_CHECKING:
    from kinlink_linker.reach import Reach


@click.group()
def model() -> None:
    """Look at, save and load trained models (m, u and λ)."""


@model.command(name="show")
@click.option("--name", default="", help="A model or linkage.  [default: the newest]")
@click.option("--json", "as_json", is_flag=True, help="Print the model file itself.")
@client_options
def show_model(reach: Reach, name: str, *, as_json: bool) -> None:
    """Show the weights of a model, pass by pass."""
    with reach.client() as client:
        found = client.model(name)
    if as_json:
        click.echo(found["model_json"])
    else:
        show.model(found["name"], json.loads(found["model_json"]))


@model.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--name", default="", help="A model or linkage.  [default: the newest]")
@client_options
def save(reach: Reach, path: Path, name: str) -> None:
    """Save a model into FILE."""
    with reach.client() as client:
        found = client.model(name)
    try:
        path.write_text(found["model_json"] + "\n", "utf-8")
    except OSError as error:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, f"{path} cannot be written: {error.strerror}."
        ) from error
    click.echo(f"Model {found['name']} saved in {path}.")


@model.command()
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--name", default="", help="Keep it under this name.  [default: the file's]")
@client_options
def load(reach: Reach, path: Path, name: str) -> None:
    """Load FILE into the linker, to score with: `link --model NAME`."""
    try:
        # One byte more than allowed is enough to see that there are too many.
        with path.open("rb") as file:
            body = file.read(MODEL_BYTES_MAX + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, f"{path} cannot be read as UTF-8 text."
        ) from error
    with reach.client() as client:
        loaded = client.set_model(name or path.stem, body)
    click.echo(
        f"Model {loaded['name']} loaded; use it with: kinlink-linker link --model {loaded['name']}"
    )
