"""Registries of a rehearsal: offices of one side each, which hold the notices of some provinces."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from kinlink_local.inputs import RECORD_ID, TRUTH_COLUMNS
from kinlink_local.reunion.columns import schema_columns, write_columns
from kinlink_local.reunion.notices import size, take

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from kinlink_local.reunion.notices import Notices

    Ints = NDArray[np.int64]


def write_registries(
    folder: Path,
    sides: Mapping[str, Notices],
    pairs: Iterable[tuple[str, str]],
    number: int,
) -> dict[str, int]:
    """Write `SIDE-1.csv` and on for each side, in the columns of `reunion.yaml`, and `truth.csv`.

    Args:
        folder: made here.
        sides: notices by the name of their side, sorted by nothing in particular.
        pairs: record ids of the two notices of one child.
        number: registries of each side; each gets neighbouring provinces (by code) with about as
            many notices as the others.

    Returns:
        Notices by file name.
    """
    folder.mkdir()
    written = {}
    for side, notices in sides.items():
        group = groups([record_id[1:3] for record_id in notices[RECORD_ID]], number)
        for each in range(number):
            part = take(notices, np.flatnonzero(group == each).tolist())
            name = f"{side}-{each + 1}.csv"
            write_columns(folder / name, schema_columns(part))
            written[name] = size(part)
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        for person, pair in enumerate(pairs):
            writer.writerows((record_id, f"P{person:06d}") for record_id in pair)
    return written


def groups(provinces: list[str], number: int) -> Ints:
    """The group of each notice, from 0: whole provinces, cut where a group has its share (n,)."""
    codes, province, count = np.unique(provinces, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    of_province = (middle * number / len(provinces)).astype(np.int64)
    found: Ints = of_province[province.reshape(len(provinces))] if len(codes) else of_province
    return found
