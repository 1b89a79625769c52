"""How two records of one person differ: per field the levels of its comparison, as m probabilities.

The model is Fellegi and Sunter's: fields differ independently of each other, a field's two values
are at one of its comparison levels with probability m, and a value is missing by chance. A
blocking transform agrees at a level with the share that `_states` gives: assumptions, written down
in docs/how-to/let-the-data-propose-passes.md, not measurements. m itself is assumed too
(`assumed_levels`), unless an operator says how often values are the same, or a linkage has learned
it. Where duplicates inside offices tell how often parts agree (`duplicates`), that is taken.

Joint agreement is integrated over the states of all fields at once on one Sobol sequence: no pass
is taken to be independent of another.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from kinlink_core.encoding.schema import FieldKind, Part
from kinlink_core.planning.candidates import LSH

from kinlink_local.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from kinlink_core.encoding.schema import Field, Level, Schema

    Bools = npt.NDArray[np.bool_]

POINTS_LOG2: Final = 13
SAME: Final[dict[FieldKind, float]] = {
    FieldKind.NAME: 0.85,
    FieldKind.NAME_ZH: 0.85,
    FieldKind.TEXT: 0.60,
    FieldKind.DATE: 0.90,
    FieldKind.CODE: 0.95,
    FieldKind.PHONE: 0.70,
}
# Of the values that are not the same: how many are within the distances of the default levels.
_NEAR: Final = ((0.20, 0.30), (0.30, 0.20), (0.40, 0.10))
# And of the dates that are not the same day, by tag; a level by distance is one digit off.
_DATES: Final = {"swapped": 0.10, "year_month": 0.10, "month_day": 0.10, "year": 0.15}
_ONE_DIGIT: Final = 0.30

# By the largest distance of a level: the typical one, the share of leading characters that are
# hit, and how often the sound stays.
_SKETCHED: Final = ((0.20, 0.12, 0.05, 0.50), (0.30, 0.24, 0.10, 0.30), (0.49, 0.33, 0.15, 0.10))
_PART_OF_NAME_SAME: Final = 0.40  # family or given name of a name that is near
_WORDS_MOVED: Final = 0.10  # the same words in another order

_NEAR_YEAR: Final = 0.25  # years that differ, but by a few
_YEARS: Final = frozenset({"year", "year_window"})


@dataclass(frozen=True)
class Errors:
    """The states of one field's two values: what each weighs, and which parts agree in it."""

    weights: npt.NDArray[np.float64]  # (states,), sums to 1
    agrees: Bools  # (states, parts)


def assumed_levels(field: Field) -> tuple[float, ...]:
    """M of each level of a field, and of "none of these" at the end, where nobody knows better."""
    rest = 1 - SAME[field.kind]
    found = [SAME[field.kind]]
    below = field.levels[0].max_distance or 0.0
    for level in field.levels[1:]:
        if level.tag is not None:
            found.append(rest * _DATES.get(level.tag, 0.0))
        elif field.comparison == "date":
            found.append(rest * _ONE_DIGIT)
        else:
            top = level.max_distance or 0.0
            found.append(rest * (_near(top) - _near(below)))
            below = top
    return (*found, 1 - sum(found))


def with_same(levels: Sequence[float], same: float) -> tuple[float, ...]:
    """M with another probability of the first level; the others keep their proportions."""
    rest = 1 - levels[0]
    if rest <= 0:
        return (same, *[0.0] * (len(levels) - 2), 1 - same)
    return (same, *(each * (1 - same) / rest for each in levels[1:]))


def learned_levels(path: Path, schema: Schema) -> dict[str, tuple[float, ...]]:
    """M of each field as a linkage has learned it, averaged over the passes that leave it open.

    Args:
        path: a file of `kinlink-linker model save`.
        schema: its fields and levels must be those the model was trained for.

    Raises:
        BadInputError: the file is no model, or of other levels.
    """
    try:
        passes: dict[str, Any] = json.loads(path.read_text("utf-8"))["passes"]
        found: dict[str, list[list[float]]] = {}
        for body in passes.values():
            for name, levels in body["fields"].items():
                found.setdefault(name, []).append([float(level["m"]) for level in levels])
    except OSError as error:
        raise BadInputError([f"model: {path} cannot be read: {error.strerror}"]) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInputError(
            [f"model: {path} is no model; write it by kinlink-linker model save"]
        ) from error
    learned = {}
    for field in schema.fields:
        rows = found.get(field.name)
        if rows is None:
            continue
        if any(len(row) != len(field.levels) + 1 or not sum(row) > 0 for row in rows):
            raise BadInputError(
                [f"model: {path} has other levels of {field.name}; use the schema it was made with"]
            )
        mean = np.mean([np.array(row) / sum(row) for row in rows], axis=0)
        learned[field.name] = tuple(float(each) for each in mean)
    return learned


def errors_of(
    field: Field, parts: Sequence[Part], levels: Sequence[float], both_present: float
) -> Errors:
    """The states of a field.

    Args:
        field: the field.
        parts: parts of this field.
        levels: m of each level and of "none of these".
        both_present: the chance that neither record lacks the value.
    """
    weights = [1 - both_present]
    agrees = [[False] * len(parts)]
    for level, m in zip((*field.levels, None), levels, strict=True):
        first = level is field.levels[0]
        for share, row in _states(field, parts, level, first=first):
            weights.append(both_present * m * share)
            agrees.append(row)
    found = np.array(weights)
    return Errors(found / found.sum(), np.array(agrees, bool).reshape(len(weights), len(parts)))


def learned_errors(
    parts: Sequence[Part], agreement: Mapping[Part, float], both_present: float
) -> Errors:
    """The states of a field whose parts were seen to agree so often among duplicates.

    What agrees less often is taken to agree only where everything does that agrees more often; for
    month and day beside the year that is pessimistic.

    Args:
        parts: parts of this field, all but windows in `agreement`.
        agreement: by part; of LSH parts for one table.
        both_present: the chance that neither record lacks the value.
    """
    exact = max((agreement[part] for part in parts if part.transform == "exact"), default=0.0)
    chances = [_learned(part, agreement, exact) for part in parts]
    edges = sorted({0.0, 1.0, *chances})
    weights = [1 - both_present]
    agrees = [[False] * len(parts)]
    for low, high in pairwise(edges):
        weights.append(both_present * (high - low))
        agrees.append([chance >= high for chance in chances])
    return Errors(np.array(weights), np.array(agrees, bool).reshape(len(weights), len(parts)))


def agreement(kinds: Sequence[tuple[float, Sequence[Errors]]]) -> Bools:
    """Which parts agree for each of 2^POINTS_LOG2 drawn pairs of one person.

    The draws are the points of a Sobol sequence with a dimension a field and one for the kind of
    pair, so they weigh alike and two runs give the same.

    Args:
        kinds: the weight of each kind of pair, and how each field differs in it.

    Returns:
        (draws, parts of all fields in their order).
    """
    from scipy.stats import qmc

    fields = len(kinds[0][1])
    points = qmc.Sobol(fields + 1, scramble=False).random_base2(POINTS_LOG2)
    # The middle of its cell, and not the corner.
    points = (points + 0.5 / len(points)) % 1.0
    kind = _chosen([weight for weight, _ in kinds], points[:, 0])
    columns = []
    for number in range(fields):
        drawn = np.zeros((len(points), kinds[0][1][number].agrees.shape[1]), bool)
        for index, (_, errors) in enumerate(kinds):
            mine = kind == index
            state = _chosen(errors[number].weights, points[mine, number + 1])
            drawn[mine] = errors[number].agrees[state]
        columns.append(drawn)
    return np.concatenate(columns, axis=1)


def _chosen(weights: Sequence[float] | npt.NDArray[np.float64], points: Any) -> Any:
    """The cell of each point of [0, 1) where cells have these widths."""
    edges = np.cumsum(weights)
    found = np.searchsorted(edges, points * edges[-1], side="right")
    return np.minimum(found, len(edges) - 1)


def _learned(part: Part, agreement: Mapping[Part, float], exact: float) -> float:
    if part.transform == "year_window":
        year = agreement[Part(part.field, "year")]
        return year + _NEAR_YEAR * (1 - year)
    if part.transform != LSH or exact >= 1:
        return agreement[part]
    # Equal values agree in every table, others in each for itself.
    altered = max(0.0, (agreement[part] - exact) / (1 - exact))
    return float(exact + (1 - exact) * (1 - (1 - altered) ** int(part.args[1])))


def _states(
    field: Field, parts: Sequence[Part], level: Level | None, *, first: bool
) -> list[tuple[float, list[bool]]]:
    """A level's states, as shares of it, and which parts agree in each."""
    if first:
        return [(1.0, [True] * len(parts))]
    if level is None:
        return [(1.0, [False] * len(parts))]
    if field.comparison == "date":
        return [
            (share, [part.transform in kept for part in parts])
            for share, kept in _date_states(level)
        ]
    chances = [_survives(part, level.max_distance or 0.0) for part in parts]
    # The parts that survive more survive wherever those do that survive less.
    edges = sorted({0.0, 1.0, *chances})
    return [(high - low, [chance >= high for chance in chances]) for low, high in pairwise(edges)]


def _date_states(level: Level) -> list[tuple[float, frozenset[str]]]:
    """How the parts of a date survive; `day_window` and `month_window` are not among candidates."""
    if level.tag == "year_month":
        return [(1.0, _YEARS | {"year_month"})]
    if level.tag == "month_day":
        return [(0.5, frozenset({"month_day", "year_window"})), (0.5, frozenset({"month_day"}))]
    if level.tag in {"year", "swapped"}:
        return [(1.0, _YEARS)]
    # One digit: of the day, of the month, or of the year (half of them by a year or two).
    return [
        (0.35, _YEARS | {"year_month"}),
        (0.25, _YEARS),
        (0.20, frozenset({"month_day", "year_window"})),
        (0.20, frozenset({"month_day"})),
    ]


def _survives(part: Part, max_distance: float) -> float:  # noqa: PLR0911 - a table
    """The chance that a part agrees where values are near but not the same."""
    _, distance, hit, sound = next(row for row in _SKETCHED if max_distance <= row[0])
    match part.transform:
        case "prefix" | "suffix":
            return max(0.0, 1 - hit * int(part.args[0]))
        case "initial":
            return 1 - hit
        case "phonetic":
            return sound
        case "sorted_words":
            return _WORDS_MOVED
        case "given" | "family":
            return _PART_OF_NAME_SAME
        case transform if transform == LSH:
            bits, tables = int(part.args[0]), int(part.args[1])
            return float(1 - (1 - (1 - distance) ** bits) ** tables)
        case _:
            return 0.0


def _near(distance: float) -> float:
    """The share of altered values that are within a distance of the original."""
    return sum(share for top, share in _NEAR if top <= distance + 0.045)


def both_present(shares: Mapping[str, float], records: Mapping[str, int]) -> float:
    """The chance that two records of two different offices both have a value."""
    offices = list(records)
    pairs = [
        (records[a] * records[b], shares[a] * shares[b])
        for at, a in enumerate(offices)
        for b in offices[at + 1 :]
    ]
    return sum(weight * share for weight, share in pairs) / sum(weight for weight, _ in pairs)
