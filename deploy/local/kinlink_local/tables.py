"""The tables in `data/` that the synthetic population is drawn from."""

from __future__ import annotations

import csv
import tomllib
from functools import cache
from importlib.resources import files


def _text(name: str) -> str:
    return files(__package__).joinpath(f"data/{name}").read_text(encoding="utf-8")


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a CSV table by column."""
    return list(csv.DictReader(_text(name).splitlines()))


@cache
def words(name: str) -> tuple[str, ...]:
    """One of the word lists of `words.toml`."""
    return tuple(tomllib.loads(_text("words.toml"))[name].split())
