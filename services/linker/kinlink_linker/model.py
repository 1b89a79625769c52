"""The trained model: m, u and λ of each blocking pass, as plain numbers in a JSON file.

A model holds no SQL and no dialect, so any engine can score with it. It names the levels it was
trained for; loading it under a schema with other fields or levels is refused.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kinlink_core.errors import InvalidInputError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.schema import Schema

MODEL_FORMAT = "kinlink-model/1"
MODEL_BYTES_MAX = 1 << 20
ELSE_LABEL = "none of these"


@dataclass(frozen=True)
class LevelParameters:
    """One comparison level: how often it holds among matches (m) and among others (u)."""

    label: str
    m: float
    u: float

    @property
    def weight(self) -> float:
        """log2(m / u), in bits."""
        return math.log2(self.m / self.u)


@dataclass(frozen=True)
class GivenU:
    """U of a field's levels by the level of another field, a row each; its last is for neither."""

    field: str
    u: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class PassModel:
    """Parameters of one blocking pass; fields that it fixes exactly are absent.

    `given` has the fields whose u depends on another field; where that one is missing, their own u
    holds.
    """

    pass_id: str
    probability: float
    fields: dict[str, tuple[LevelParameters, ...]]
    given: dict[str, GivenU] = field(default_factory=dict)

    @property
    def prior_weight(self) -> float:
        """log2 odds that a candidate pair of this pass matches, before its fields are seen."""
        return math.log2(self.probability / (1 - self.probability))


@dataclass(frozen=True)
class Model:
    """All passes of one schema."""

    schema_name: str
    passes: dict[str, PassModel]
    em_iterations: int
    trained_pairs: int

    def to_json(self) -> str:
        """Write the model; numbers round-trip exactly."""
        return json.dumps({"format": MODEL_FORMAT, **asdict(self)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, schema: Schema) -> Model:
        """Read a model for a schema; `InvalidInputError` (MODEL_INVALID) says what does not fit."""
        if len(text) > MODEL_BYTES_MAX:
            raise _invalid(f"it is longer than {MODEL_BYTES_MAX} bytes")
        try:
            raw = json.loads(text)
            model = cls._read(raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _invalid("it is no Kinlink model, or is damaged") from error
        for fault in _faults(model, schema):
            raise _invalid(fault)
        return model

    @classmethod
    def _read(cls, raw: dict[str, Any]) -> Model:
        if raw["format"] != MODEL_FORMAT:
            raise ValueError("format")
        passes = {
            name: PassModel(
                pass_id=body["pass_id"],
                probability=float(body["probability"]),
                fields={
                    name: tuple(
                        LevelParameters(str(level["label"]), float(level["m"]), float(level["u"]))
                        for level in levels
                    )
                    for name, levels in body["fields"].items()
                },
                given={
                    name: GivenU(
                        str(each["field"]), tuple(tuple(map(float, row)) for row in each["u"])
                    )
                    for name, each in body.get("given", {}).items()
                },
            )
            for name, body in raw["passes"].items()
        }
        return cls(
            str(raw["schema_name"]), passes, int(raw["em_iterations"]), int(raw["trained_pairs"])
        )


def level_labels(schema: Schema, field: str) -> tuple[str, ...]:
    """Labels of a field's levels, the implied last one included."""
    return (*(level.label for level in schema.field(field).levels), ELSE_LABEL)


def _faults(model: Model, schema: Schema) -> Iterator[str]:
    known = {each.name for each in schema.fields}
    for blocking_pass in schema.passes:
        if blocking_pass.id not in model.passes:
            yield f"it has no pass {blocking_pass.id}"
            continue
        trained = model.passes[blocking_pass.id]
        if not 0 < trained.probability < 1:
            yield f"the probability of pass {blocking_pass.id} is not between 0 and 1"
        for name in sorted(trained.fields):
            if name not in known:
                yield f"the schema has no field {name}"
            elif tuple(x.label for x in trained.fields[name]) != level_labels(schema, name):
                yield f"the levels of field {name} differ from the schema's"
            elif any(not (0 < x.m <= 1 and 0 < x.u <= 1) for x in trained.fields[name]):
                yield f"field {name} has an m or u that is not a probability above 0"
        yield from _faults_of_given(trained, schema)


def _faults_of_given(trained: PassModel, schema: Schema) -> Iterator[str]:
    known = {each.name for each in schema.fields}
    for name, given in sorted(trained.given.items()):
        if name not in trained.fields or given.field not in known:
            yield f"it has u of {name} by {given.field}, which are not compared"
        elif (len(given.u), *{len(row) for row in given.u}) != (
            len(level_labels(schema, given.field)),
            len(trained.fields[name]),
        ):
            yield f"u of {name} by {given.field} have other levels than the schema's"
        elif any(not 0 < u <= 1 for row in given.u for u in row):
            yield f"u of {name} by {given.field} are not all probabilities above 0"


def _invalid(reason: str) -> InvalidInputError:
    return InvalidInputError(
        Reason.MODEL_INVALID, f"The model cannot be used: {reason}. Train one with a linkage."
    )
