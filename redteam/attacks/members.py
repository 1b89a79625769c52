"""R12: a registry knows eleven members of a foreign island; what does it learn of the twelfth?

The attacker is the linker with one registry. The island belongs to two *other* registries, so their
pair key is unknown; known are the epoch secret, hence every sketch, and the plaintext of eleven
members, six of which stand with the partner. The twelfth is one of 50 people of whom a public list
says that they share the blocking value.

* Under one key an island, as sieve words were once made, eleven known words give the positions and
  the mask away, and the twelfth word is read. Classical.
* Under a key a pair nothing is read; what is left are distances to six known people, held against
  what each candidate's would be: of the sieve, and of sealed pairs. A linker that skips its sieve
  asks for all six; a registry seals those whose sieve distance is within the pass's limit. What it
  refuses is told by the sieve alone. First design: the registry seals what it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding import keys
from kinlink_core.encoding.schema import SKETCH_BITS
from kinlink_core.encoding.seal import digest_columns, seal_pairs
from kinlink_core.encoding.sieve import (
    SIEVE_BITS,
    distance_max,
    open_bits,
    places,
    short_sketches,
    sieve_words,
)
from scipy.stats import binom

from redteam.keyed import Known, some_seeds
from redteam.population import FIELDS
from redteam.results import Result
from redteam.view import shipped_schema

if TYPE_CHECKING:
    import numpy.typing as npt
    from kinlink_core.encoding.prf import Seeds

    from redteam.encoded import Bytes
    from redteam.population import Population
    from redteam.setting import Setting

CANDIDATES: Final = 50
KNOWN: Final = 11
PARTNERS: Final = 6
ISLANDS: Final = 200
ISLANDS_QUICK: Final = 30
TARGET: Final = 1 / CANDIDATES + 0.01
PASS: Final = "birth_place"  # noqa: S105 - a blocking pass
BLOCK: Final = ("dob", "place", "sex")
TWELFTH: Final = 0


def run(setting: Setting) -> list[Result]:
    """Pick the twelfth member out of the candidates, four ways."""
    rng = np.random.default_rng([setting.seed, 12])
    known = Known.of(shipped_schema(), rng.bytes(keys.SECRET_BYTES))
    population = setting.population()
    count = ISLANDS_QUICK if setting.quick else ISLANDS
    limit = distance_max(known.schema.passes[known.schema.pass_index(PASS)].sieve_max)
    found = np.zeros(4)
    for _ in range(count):
        island = _Island.draw(rng, known, population)
        by_sieve, distance = island.by_sieve()
        by_sealed = island.by_sealed(known)
        allowed = np.where(distance[:, None] <= limit, by_sealed, by_sieve)
        evidence = (by_sieve, by_sealed, allowed)
        ways = (island.read_words(), *(each.sum(axis=0) for each in evidence))
        found += [way.argmax() == TWELFTH for way in ways]
    words, sieve, every, near = (found / count).tolist()
    place = f"{count} islands of 12, {CANDIDATES} candidates"
    detail = "Linker and one registry, which is not of the two; prior 2 %."
    first = "First design: the registry seals what it is asked for."
    return [
        Result("R12", "eleven known members", place, setting.seed, measure, value, TARGET,
               classical, 0.9, detail=told)
        for measure, value, classical, told in (
            ("twelfth picked by sieve distances", sieve, words, detail),
            ("twelfth picked by sealed distances, sieve skipped", near, every, f"{detail} {first}"),
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class _Island:
    """Candidates first (the twelfth at 0), then the eleven known members."""

    rng: np.random.Generator
    values: dict[str, list[str | None]]
    sketches: Bytes  # (people, sketched fields, 256)
    records: Bytes  # (people, 256)
    positions: npt.NDArray[np.int64]  # bits of a record sketch that the pass sieves by

    @staticmethod
    def draw(rng: np.random.Generator, known: Known, population: Population) -> _Island:
        people = rng.choice(population.persons, CANDIDATES + KNOWN, replace=False).tolist()
        values = {name: [population.people[name][i] for i in people] for name in FIELDS}
        for name in BLOCK:
            values[name] = [values[name][TWELFTH]] * len(people)
        parts = known.parts(values)
        blocking_pass = known.schema.passes[known.schema.pass_index(PASS)]
        positions = open_bits(known.schema, blocking_pass)
        return _Island(rng, values, parts.sketches, parts.record_sketch, positions)

    @property
    def members(self) -> list[int]:
        return [TWELFTH, *range(CANDIDATES, CANDIDATES + KNOWN)]

    def read_words(self) -> npt.NDArray[np.float64]:
        """Candidates by how well they fit the twelfth word, all words under one key."""
        size = len(self.members)
        one_key = some_seeds(self.rng, 1).take(np.zeros(size, np.int64))
        short = short_sketches(self.records[self.members], places(one_key, self.positions))
        words = sieve_words(one_key, short)
        bits = np.unpackbits(words.view(np.uint8).reshape(size, -1), axis=1)
        every = np.unpackbits(self.records, axis=1)
        teachers, taught = every[CANDIDATES:], bits[1:]
        likely = np.zeros(CANDIDATES)
        for place in range(SIEVE_BITS):
            differing = teachers ^ taught[:, place : place + 1]
            fitting = np.flatnonzero((differing == differing[0]).all(axis=0))
            guessed = every[:CANDIDATES, fitting] ^ differing[0, fitting]
            share = (guessed == bits[TWELFTH, place]).mean(axis=1) if len(fitting) else 0.5
            likely += np.log(np.clip(share, 0.02, 0.98))
        return likely

    def by_sieve(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Candidates by the sieve distance of the twelfth to each known partner, and that."""
        likely = np.zeros((PARTNERS, CANDIDATES))
        distance = np.zeros(PARTNERS, np.int64)
        looked_at = places(some_seeds(self.rng, 1), self.positions)[[0, 0]]
        shown = np.unpackbits(self.records, axis=1, bitorder="little")[:, self.positions]
        for row, partner in enumerate(range(CANDIDATES, CANDIDATES + PARTNERS)):
            short = short_sketches(self.records[[TWELFTH, partner]], looked_at)
            one, other = sieve_words(some_seeds(self.rng, 1).take(np.zeros(2, np.int64)), short)
            expected = np.clip((shown[:CANDIDATES] ^ shown[partner]).mean(axis=1), 1e-3, 1 - 1e-3)
            distance[row] = np.bitwise_count(one ^ other)
            likely[row] = binom.logpmf(distance[row], SIEVE_BITS, expected)
        return likely, distance

    def by_sealed(self, known: Known) -> npt.NDArray[np.float64]:
        """Candidates by the sealed distances of the twelfth to each known partner."""
        fields = [field.name for field in known.schema.fields if field.has_sketch]
        partners = range(CANDIDATES, CANDIDATES + PARTNERS)
        seeds = some_seeds(self.rng, len(partners))
        sides = [self._sealed(known, seeds, rows) for rows in ([TWELFTH] * PARTNERS, [*partners])]
        likely = np.zeros((PARTNERS, CANDIDATES))
        for number, name in enumerate(fields):
            index = [field.name for field in known.schema.fields].index(name)
            one, other = (side[index] for side in sides)
            seen = np.bitwise_count(one ^ other).sum(axis=1, dtype=np.int64)
            for row, partner in enumerate(partners):
                expected = _fraction(
                    self.sketches[:CANDIDATES, number], self.sketches[partner, number]
                )
                likely[row] += binom.logpmf(seen[row], one.shape[1] * 8, expected)
        return likely

    def _sealed(self, known: Known, seeds: Seeds, rows: list[int]) -> list[Bytes]:
        values = {name: [column[i] for i in rows] for name, column in self.values.items()}
        columns = [values[field.name] for field in known.schema.fields]
        digests = digest_columns(known.schema, columns)
        batch = seal_pairs(known.schema, seeds, known.fixed(values), digests, bytes(32))
        nothing = np.empty((len(rows), 0), np.uint8)
        return [nothing if each.sketch is None else each.sketch for each in batch.fields]


def _fraction(sketches: Bytes, other: Bytes) -> npt.NDArray[np.float64]:
    """Share of bits in which sketches differ from another one."""
    differing = np.bitwise_count(sketches ^ other).sum(axis=1, dtype=np.int64)
    fraction: npt.NDArray[np.float64] = np.clip(differing / SKETCH_BITS, 1e-3, 1 - 1e-3)
    return fraction
