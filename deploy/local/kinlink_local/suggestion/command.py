"""`kinlink suggest`: options checked, offices read, a set chosen, shown and written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.encoding.schema import PASS_ENTROPY_BITS_MIN, SchemaError, load_fields
from kinlink_core.errors import KinlinkError
from kinlink_core.planning.candidates import text_of
from kinlink_core.planning.statistics_file import read_statistics

from kinlink_local.errors import BadInputError
from kinlink_local.suggestion.choice import Budget, Choice, best_under, frontier
from kinlink_local.suggestion.errors import learned_levels
from kinlink_local.suggestion.prediction import Prediction, predict
from kinlink_local.suggestion.writing import schema_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kinlink_core.encoding.schema import Schema
    from kinlink_core.planning.statistics_file import Statistics

    from kinlink_local.suggestion.prediction import Candidate

OFFICES_MIN: Final = 2
CAPS: Final = (6, 12, 24, 48)
PAIRS_A_RECORD: Final = 2.0
ROWS_A_PAIR: Final = 2  # each side seals its own


@dataclass(frozen=True)
class Order:
    """What `kinlink suggest` was asked."""

    schema: Path
    statistics: Sequence[Path]
    out: Path | None
    pairs_max: float | None
    passes_max: int
    bits_min: float
    cap_max: int
    overlap: float | None
    records_a_person: float
    same: Mapping[str, float]
    model: Path | None


@dataclass(frozen=True)
class Suggestion:
    """What was found."""

    prediction: Prediction
    budget: Budget
    frontier: tuple[Choice, ...]
    best: Choice
    text: str  # of the schema

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "records": self.prediction.records,
            "matches_expected": self.prediction.matches,
            "errors_learned_from_duplicates": self.prediction.duplicates is not None,
            "budget": asdict(self.budget),
            "completeness": self.best.completeness,
            "pairs": self.best.pairs,
            "meetings": self.best.meetings,
            "rows_to_seal": ROWS_A_PAIR * self.best.pairs,
            "passes": [
                _as_json(each, own)
                for each, own in zip(self.best.passes, self.best.own, strict=True)
            ],
            "frontier": [
                {
                    "passes": [text_of(one.parts) for one in each.passes],
                    "completeness": each.completeness,
                    "pairs": each.pairs,
                }
                for each in self.frontier
            ],
        }


def suggest(order: Order) -> Suggestion:
    """Predict, choose and write the schema, if somewhere was named.

    Raises:
        BadInputError: with every fault of the files, or with what makes the budget too small.
    """
    schema, offices = _read(order)
    caps = [cap for cap in CAPS if cap <= order.cap_max] or [order.cap_max]
    prediction = predict(
        schema,
        offices,
        caps=caps,
        overlap=order.overlap,
        records_a_person=order.records_a_person,
        levels=learned_levels(order.model, schema) if order.model else None,
        same=order.same,
    )
    pairs_max = order.pairs_max
    if pairs_max is None:
        pairs_max = PAIRS_A_RECORD * prediction.records
    budget = Budget(pairs_max, order.passes_max, order.bits_min)
    choices = frontier(prediction, budget)
    best = best_under(choices, budget)
    if best is None:
        raise BadInputError([_why_none(prediction, choices, budget)])
    text = schema_text(order.schema.read_text("utf-8-sig"), prediction.schema, best)
    if order.out is not None:
        try:
            order.out.write_text(text, "utf-8")
        except OSError as error:
            raise BadInputError(
                [f"out: {order.out} cannot be written: {error.strerror}"]
            ) from error
    return Suggestion(prediction, budget, choices, best, text)


def _read(order: Order) -> tuple[Schema, dict[str, Statistics]]:
    try:
        schema = load_fields(order.schema)
    except SchemaError as error:
        raise BadInputError([f"schema: {fault}" for fault in str(error).splitlines()]) from error
    faults = []
    if schema.sides is not None:
        faults.append("schema: has two sides; passes are proposed for registers of one kind only")
    offices: dict[str, Statistics] = {}
    if len(order.statistics) < OFFICES_MIN:
        faults.append("statistics: give the files of two offices at least")
    known = {field.name for field in schema.fields}
    faults += [
        f"same: {name} is no field of the schema; fields: {', '.join(sorted(known))}"
        for name in order.same
        if name not in known
    ]
    for path in order.statistics:
        try:
            read = read_statistics(path, schema)
        except KinlinkError as error:
            faults.append(error.public)
            continue
        if str(path) in offices:
            faults.append(f"statistics: {path} is named twice")
        offices[str(path)] = read
    if faults:
        raise BadInputError(faults)
    return schema, offices


def _why_none(prediction: Prediction, choices: Sequence[Choice], budget: Budget) -> str:
    if choices:
        least = choices[0]
        return (
            f"pairs-max: no set of passes stays below {budget.pairs_max:,.0f} candidate pairs;"
            f" the smallest has {least.pairs:,.0f}: raise it to that at least"
        )
    finest = max((each.declared_bits for each in prediction.candidates), default=0.0)
    if finest < budget.bits_min:
        return (
            f"bits-min: no candidate tells {budget.bits_min:g} bits; the finest tells"
            f" {finest:.1f}: add fields to the schema, or lower it and let the federation accept"
            f" the exposure (the schema's own rule is {PASS_ENTROPY_BITS_MIN:g})"
        )
    return "no candidate finds true pairs: are the values of --same too low?"


def _as_json(candidate: Candidate, own: float) -> dict[str, Any]:
    return {
        "parts": text_of(candidate.parts),
        "cap": candidate.cap,
        "completeness": candidate.completeness,
        "own_completeness": own,
        "strangers": candidate.strangers,
        "tokens": candidate.rows,
        "declared_bits": candidate.declared_bits,
        "measured_bits": candidate.measured_bits,
        "rows_above_half_the_cap": candidate.crowded,
        "rows_above_the_cap": 1 - candidate.within,
    }
