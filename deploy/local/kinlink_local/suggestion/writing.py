"""The schema that a choice of passes becomes: the fields as they were, measured, and `passes:`."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, Final

import yaml
from kinlink_core.encoding.schema import CAP_DEFAULT, PASS_ENTROPY_BITS_MIN, Schema, parse_schema

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Part

    from kinlink_local.suggestion.choice import Choice
    from kinlink_local.suggestion.prediction import Candidate

ID_CHARACTERS_MAX: Final = 36
HEADER: Final = """\
# Passes by `kinlink suggest`: {passes} passes, predicted pair completeness {completeness:.3f}, at
# most {pairs:,.0f} candidate pairs. Predicted from counts, not measured on pairs: rehearse it.
# entropy_bits are the lowest collision entropies that an office measured.
"""


def schema_text(source: str, fields: Schema, choice: Choice) -> str:
    """The text of a schema with the chosen passes; a node takes it as it is.

    Args:
        source: the text of the schema that was measured with; its comments are not kept.
        fields: that schema, with measured entropies.
        choice: the passes.
    """
    # Everything stays the text it was: `no` and `1` are values here, not booleans and numbers.
    content: dict[str, Any] = yaml.load(source, Loader=yaml.BaseLoader)  # noqa: S506 - text only
    measured = {each.name: each.entropy_bits for each in fields.fields}
    for entry in content["fields"]:
        entry["entropy_bits"] = floor(measured[entry["name"]] * 10) / 10
    content["passes"] = _passes(choice)
    body = yaml.dump(content, sort_keys=False, allow_unicode=True, width=100)
    text = HEADER.format(
        passes=len(choice.passes), completeness=choice.completeness, pairs=choice.pairs
    )
    text += body
    parse_schema(text, source="the suggested schema")  # a fault here would be ours
    return text


def _passes(choice: Choice) -> list[dict[str, Any]]:
    taken: set[str] = set()
    return [_pass(each, taken) for each in choice.passes]


def _pass(candidate: Candidate, taken: set[str]) -> dict[str, Any]:
    written: dict[str, Any] = {
        "id": _name(candidate.parts, taken),
        "parts": {part.field: str(part).partition(": ")[2] for part in candidate.parts},
    }
    if candidate.cap != CAP_DEFAULT:
        written["cap"] = candidate.cap
    reasons = []
    if candidate.declared_bits < PASS_ENTROPY_BITS_MIN:
        reasons.append(f"tells about {candidate.declared_bits:.1f} bits of a person")
    if candidate.cap > CAP_DEFAULT:
        reasons.append(f"islands hold up to {candidate.cap} records")
    if reasons:
        written["exposure"] = (
            f"{' and '.join(reasons)}; accepted by the options that kinlink suggest was given"
        )
    return written


def _name(parts: tuple[Part, ...], taken: set[str]) -> str:
    whole = "_".join(
        part.field if part.transform == "exact" else f"{part.field}_{part.transform}"
        for part in parts
    )
    short = "_".join(part.field for part in parts)
    base = (whole if len(whole) <= ID_CHARACTERS_MAX else short)[:ID_CHARACTERS_MAX]
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name
