"""What somebody with the plaintext of two records expects a sealed pair of them to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.features import sketch_tokens, tag_value

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Schema

    from redteam.places import I64

    Bools = npt.NDArray[np.bool_]


def couples(members: int) -> list[tuple[int, int]]:
    """Every two of so many members."""
    return [(i, j) for i in range(members) for j in range(i + 1, members)]


class Predictor:
    """Presence, equal tags and expected distances of pairs of records.

    `clear` adds which side lacks which field, as designs with nulls in the clear show it.
    """

    def __init__(self, schema: Schema, values: dict[str, list[str | None]], *, clear: bool) -> None:
        self._schema = schema
        self._values = values
        self._clear = clear
        self._tokens: dict[tuple[str, str], frozenset[str]] = {}
        self._angle: dict[tuple[str, str, str], float] = {}

    def features(self, record: I64) -> tuple[Bools, npt.NDArray[np.float64]]:
        """Flags (k, couples, f) and expected fractions (k, couples, sketched) of records (k, m)."""
        flags, fractions = [], []
        for i, j in couples(record.shape[1]):
            one, other = record[:, i].tolist(), record[:, j].tolist()
            flag, fraction = self._pairs(one, other)
            flags.append(flag)
            fractions.append(fraction)
        return np.stack(flags, axis=1), np.stack(fractions, axis=1)

    def _pairs(self, one: list[int], other: list[int]) -> tuple[Bools, npt.NDArray[np.float64]]:
        present, sides, tags, distance = [], [], [], []
        for field in self._schema.fields:
            column = self._values[field.name]
            couples = [(column[i], column[j]) for i, j in zip(one, other, strict=True)]
            present.append([a is not None and b is not None for a, b in couples])
            sides += [[a is None for a, _ in couples], [b is None for _, b in couples]]
            if field.has_sketch:
                distance.append([self._fraction(field.name, a, b) for a, b in couples])
            for tag in field.tags:
                shown = [
                    None not in (a, b)
                    and tag_value(field, tag, a or "") == tag_value(field, tag, b or "")
                    for a, b in couples
                ]
                tags.append(shown)
        columns = [*present, *(sides if self._clear else []), *tags]
        return np.array(columns, bool).T, np.array(distance, np.float64).T

    def _fraction(self, name: str, one: str | None, other: str | None) -> float:
        if one is None or other is None:
            return -1.0
        if one == other:
            return 0.0
        key = (name, one, other)
        if key not in self._angle:
            left, right = self._set(name, one), self._set(name, other)
            cosine = len(left & right) / np.sqrt(len(left) * len(right))
            self._angle[key] = float(np.arccos(min(cosine, 1.0)) / np.pi)
        return self._angle[key]

    def _set(self, name: str, value: str) -> frozenset[str]:
        key = (name, value)
        if key not in self._tokens:
            self._tokens[key] = frozenset(sketch_tokens(self._schema.field(name), value))
        return self._tokens[key]
