"""The linker's view of a population, by Kinlink's real code, in this process.

`build` runs encoder, tokens, islands, sieve, seal, scoring and disclosure for all registries at
once and returns what a linker that remembers everything holds. `secrets` and `population` are what
it does not hold: attacks use them to score their guesses, or where an attacker has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.encoding.schema import load_schema, packaged_schema

from redteam.disclosed import Disclosed, disclose
from redteam.encoded import Rows, Secrets, encode
from redteam.meetings import (
    Islands,
    Pairs,
    Sieved,
    find_islands,
    first_meetings,
    lying_islands,
    near,
    pairs_of,
    seal,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.keys import Evaluator
    from kinlink_core.encoding.schema import Schema

    from redteam.population import Population


@dataclass(frozen=True)
class View:
    """What the linker holds, and (population, secrets) what it does not."""

    schema: Schema
    population: Population
    rows: Rows
    islands: Islands
    sieved: Sieved
    pairs: Pairs
    repeated: Sieved  # near pairs of records that were sealed in an earlier pass
    disclosed: Disclosed | None
    secrets: Secrets


@dataclass(frozen=True)
class TokenView:
    """The token rows alone."""

    schema: Schema
    population: Population
    rows: Rows
    secrets: Secrets


def shipped_schema() -> Schema:
    """The schema that ships with Kinlink, caps and sieves as they are."""
    return load_schema(packaged_schema("person"))


def build(
    population: Population,
    *,
    schema: Schema | None = None,
    lying: bool = False,
    all_sealed: bool = False,
    every_pass: bool = False,
    disclosing: bool = True,
    trained: bool = True,
) -> View:
    """What a linker holds after one linkage of all registries.

    Args:
        population: whom the registries know.
        schema: the shipped one by default.
        lying: islands above their cap too, where two registries alone are within it.
        all_sealed: every pair of an island is sealed, not only those that pass the sieve.
        every_pass: two records are sealed in every pass in which they meet, as a linker gets it
            that links anew for each pass.
        disclosing: score the pairs and have those above the floor disclosed.
        trained: train the model by EM for that, as the linker does; takes about 15 s.
    """
    schema = schema or shipped_schema()
    encoded = encode(schema, population.names, population.registry, population.values)
    if lying:
        islands = lying_islands(encoded.rows)
    else:
        islands = find_islands(schema, encoded.rows, len(population.names))
    sieved = pairs_of(schema, encoded, islands)
    chosen = sieved if all_sealed else sieved.only(near(schema, sieved))
    first, sampled = first_meetings(encoded, chosen)
    first |= every_pass
    pairs = seal(schema, encoded, population.values, chosen.only(first))
    repeated = chosen.only(~first)
    found = None
    if disclosing:
        found = disclose(
            schema, encoded, population, pairs, sampled=sampled[first], trained=trained
        )
    return View(
        schema,
        population,
        encoded.rows,
        islands,
        sieved,
        pairs,
        repeated,
        found,
        encoded.secrets,
    )


def build_tokens(
    population: Population,
    *,
    schema: Schema | None = None,
    passes: Sequence[str] | None = None,
    valued: bool = False,
    evaluator: Evaluator | None = None,
) -> TokenView:
    """The token rows alone, of all passes or some: what a large attack on tokens needs."""
    schema = schema or shipped_schema()
    encoded = encode(
        schema,
        population.names,
        population.registry,
        population.values,
        passes=passes,
        sketches=False,
        valued=valued,
        evaluator=evaluator,
    )
    return TokenView(schema, population, encoded.rows, encoded.secrets)
