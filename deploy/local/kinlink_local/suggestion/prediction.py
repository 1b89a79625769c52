"""What each candidate pass would find, cost and expose, before any record is encoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from math import log2
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding._transforms import pass_bits
from kinlink_core.encoding.schema import LinkType
from kinlink_core.planning.candidates import LSH, candidates, parts_of
from kinlink_core.planning.statistics_file import COUNT_FLOOR

from kinlink_local.errors import BadInputError
from kinlink_local.suggestion.duplicates import DuplicateKind, learn
from kinlink_local.suggestion.errors import (
    agreement,
    assumed_levels,
    both_present,
    errors_of,
    learned_errors,
    with_same,
)
from kinlink_local.suggestion.islands import forecast, rates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    from kinlink_core.encoding.schema import Part, Schema
    from kinlink_core.planning.statistics_file import PassStatistics, Statistics

    from kinlink_local.suggestion.duplicates import Duplicates
    from kinlink_local.suggestion.errors import Errors
    from kinlink_local.suggestion.islands import Islands

# Most people stand once in an office, and few more than twice.
RECORDS_A_PERSON: Final = 2.0


@dataclass(frozen=True)
class Candidate:
    """One candidate pass under one cap."""

    parts: tuple[Part, ...]
    column: int  # into `Prediction.agrees`
    cap: int
    completeness: float  # share of true pairs
    within: float  # share of rows in islands within the cap
    crowded: float  # share of rows in islands above half the cap
    strangers: float  # pairs across offices of different people
    rows: int  # tokens that leave
    declared_bits: float  # by the schema's rule for passes
    measured_bits: float | None  # collision entropy; None where it is too high to tell
    tables: int  # LSH tables


@dataclass(frozen=True)
class Prediction:
    """All candidates, and what they share."""

    schema: Schema  # fields with measured entropies, no passes
    records: int
    matches: float  # true pairs across offices that are expected
    duplicates: Duplicates | None  # what was learned from them
    candidates: tuple[Candidate, ...]
    agrees: npt.NDArray[np.float32]  # (draws, parts combinations) 1 where all parts agree


def measured(schema: Schema, offices: Mapping[str, Statistics]) -> Schema:
    """The schema's fields with the lowest entropy that any office measured.

    Where hardly any values are equal, what that proves or what the schema declares, if it is more.
    """
    fields = []
    for field in schema.fields:
        having = [each for each in offices.values() if each.fields[field.name].present > 0]
        told = [
            bits for each in having if (bits := each.fields[field.name].entropy_bits) is not None
        ]
        proven = [log2(each.records**2 / COUNT_FLOOR) for each in having]
        bits = min(told) if told else max([*proven, field.entropy_bits]) if having else 0.0
        fields.append(replace(field, entropy_bits=bits))
    return replace(schema, fields=tuple(fields))


def predict(
    schema: Schema,
    offices: Mapping[str, Statistics],
    *,
    caps: Sequence[int],
    overlap: float | None = None,
    records_a_person: float = RECORDS_A_PERSON,
    levels: Mapping[str, Sequence[float]] | None = None,
    same: Mapping[str, float] | None = None,
) -> Prediction:
    """Predict every candidate that all offices have measured.

    Args:
        schema: with fields; its passes do not matter.
        offices: what each office told, by its name; at least two.
        caps: island caps to look at.
        overlap: share of the smaller office's records whose person is in the other too, for every
            two offices; None takes what the duplicates inside offices tell.
        records_a_person: at most so many records does a person have in one office, on average; 1
            learns nothing from duplicates.
        levels: m of fields, instead of what duplicates tell or is assumed.
        same: the probability that a field's two values are the same, likewise.

    Raises:
        BadInputError: there is no candidate that two offices share.
    """
    fields = measured(schema, offices)
    parts = [part for field in fields.fields for part in parts_of(field)]
    told = _told(fields, offices)
    if not told:
        raise BadInputError(
            [("statistics: no candidate pass was measured by two offices; do their columns agree"
             " with the schema's?")]
        )  # fmt: skip
    duplicates = None
    if schema.link_type is LinkType.MANY_TO_MANY:
        duplicates = learn(told, records_a_person=records_a_person)
    draws = agreement(_kinds(fields, offices, duplicates, levels or {}, same or {}))
    agrees = np.stack(
        [draws[:, [parts.index(part) for part in each]].all(axis=1) for each in told], axis=1
    ).astype(np.float32)
    islands = _islands(told, caps)
    share = agrees.mean(axis=0)
    across = _pairs_across(offices, lambda a, b: a * b)
    inside = sum(kind.density for kind in duplicates.kinds) * across if duplicates else 0.0
    matches = inside
    if overlap is not None:
        matches = _pairs_across(offices, lambda a, b: overlap * min(a, b))
    found = tuple(
        _candidate(
            fields,
            each,
            told[each],
            column=column,
            cap=cap,
            agree=float(share[column]),
            inside=inside,
            islands=island,
        )
        for column, (each, island) in enumerate(zip(told, islands, strict=True))
        for cap in caps
    )
    records = sum(each.records for each in offices.values())
    return Prediction(fields, records, matches, duplicates, found, agrees)


def _candidate(
    schema: Schema,
    parts: tuple[Part, ...],
    told: Sequence[PassStatistics],
    *,
    column: int,
    cap: int,
    agree: float,
    inside: float,
    islands: Islands,
) -> Candidate:
    bits = [each.entropy_bits for each in told]
    low = [each for each in bits if each is not None]
    tables = _tables(parts)
    completeness = agree * islands.within[cap]
    return Candidate(
        parts=parts,
        column=column,
        cap=cap,
        completeness=completeness,
        within=islands.within[cap],
        crowded=islands.crowded[cap],
        strangers=max(0.0, islands.pairs[cap] - inside * completeness),
        rows=sum(each.rows for each in told) * tables,
        declared_bits=pass_bits({each.name: each for each in schema.fields}, parts),
        measured_bits=min(low) if low else None,
        tables=tables if any(part.transform == LSH for part in parts) else 0,
    )


def _kinds(
    schema: Schema,
    offices: Mapping[str, Statistics],
    duplicates: Duplicates | None,
    levels: Mapping[str, Sequence[float]],
    same: Mapping[str, float],
) -> list[tuple[float, list[Errors]]]:
    """The kinds of pairs of one person: as duplicates are, or one kind by assumption."""
    records = {name: each.records for name, each in offices.items()}
    kinds = duplicates.kinds if duplicates else (DuplicateKind(1.0, {}),)
    found = []
    for kind in kinds:
        errors = []
        for field in schema.fields:
            shares = {name: each.fields[field.name].present for name, each in offices.items()}
            both = both_present(shares, records)
            parts = parts_of(field)
            told = field.name in levels or field.name in same
            if (
                not told
                and all(part in kind.agreement for part in parts if part.transform != "year_window")
                and kind.agreement
            ):
                errors.append(learned_errors(parts, kind.agreement, both))
                continue
            m: Sequence[float] = levels.get(field.name) or assumed_levels(field)
            if field.name in same:
                m = with_same(m, same[field.name])
            errors.append(errors_of(field, parts, m, both))
        found.append((kind.density, errors))
    return found


def _told(
    schema: Schema, offices: Mapping[str, Statistics]
) -> dict[tuple[Part, ...], list[PassStatistics]]:
    """Candidates that every office has told of that has their fields, and at least two have."""
    found = {}
    for parts in candidates(schema):
        able = [
            each
            for each in offices.values()
            if all(each.fields[part.field].present > 0 for part in parts)
        ]
        told = [each.of(parts) for each in able]
        usable = [each for each in told if each is not None and any(each.sizes)]
        if len(usable) == len(able) >= 2:  # noqa: PLR2004 - a pair of offices
            found[parts] = usable
    return found


def _islands(
    told: Mapping[tuple[Part, ...], Sequence[PassStatistics]], caps: Sequence[int]
) -> list[Islands]:
    flat = [each for group in told.values() for each in group]
    weights = rates(flat)
    found, start = [], 0
    for parts, group in told.items():
        mine = weights[start : start + len(group)]
        found.append(forecast([each.rows for each in group], mine, caps, _tables(parts)))
        start += len(group)
    return found


def _pairs_across(offices: Mapping[str, Statistics], pairs: Callable[[int, int], float]) -> float:
    """A count of pairs, summed over every two offices."""
    return sum(pairs(a.records, b.records) for a, b in combinations(list(offices.values()), 2))


def _tables(parts: Sequence[Part]) -> int:
    return max((int(part.args[1]) for part in parts if part.transform == LSH), default=1)
