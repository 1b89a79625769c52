"""R12: a registry knows eleven members of a foreign island; what does it learn of the twelfth?

The attacker is the linker with one registry. The island belongs to two *other* registries, so their
pair key is unknown; known are the epoch secret, hence every sketch, and the plaintext of eleven
members, six of which stand with the partner. The twelfth is one of 50 people of whom a public list
says that they share the blocking value.

* Under one key an island, as sieve words were once made, eleven known words give the positions and
  the mask away, and the twelfth word is read. Classical.
* Under a key a pair nothing is read; what is left are distances to six known people, held against
  what each candidate's would be: of the sieve, and of sealed pairs if the linker skips its sieve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding import keys
from kinlink_core.encoding.seal import seal_pairs
from kinlink_core.encoding.sieve import SIEVE_BITS, short_sketches, sieve_words
from scipy.stats import binom

from redteam.keyed import Known
from redteam.population import FIELDS
from redteam.results import Result
from redteam.view import shipped_schema

if TYPE_CHECKING:
    import numpy.typing as npt

    from redteam.encoded import Bytes
    from redteam.population import Population
    from redteam.setting import Setting

CANDIDATES: Final = 50
KNOWN: Final = 11
PARTNERS: Final = 6
ISLANDS: Final = 200
ISLANDS_QUICK: Final = 30
TARGET: Final = 1 / CANDIDATES + 0.01
BLOCK: Final = ("dob", "place", "sex")
TWELFTH: Final = 0
SKETCH_BITS: Final = 2048


def run(setting: Setting) -> list[Result]:
    """Pick the twelfth member out of the candidates, three ways."""
    rng = np.random.default_rng([setting.seed, 12])
    known = Known.of(shipped_schema(), rng.bytes(keys.SECRET_BYTES))
    population = setting.population()
    count = ISLANDS_QUICK if setting.quick else ISLANDS
    found = np.zeros(3)
    for _ in range(count):
        island = _Island.draw(rng, known, population)
        ways = (island.read_words(), island.by_sieve(), island.by_sealed(known))
        found += [way.argmax() == TWELFTH for way in ways]
    classical, sieve, sealed = (found / count).tolist()
    place = f"{count} islands of 12, {CANDIDATES} candidates"
    detail = "Linker and one registry, which is not of the two; prior 2 %."
    return [
        Result("R12", "eleven known members", place, setting.seed, measure, value, TARGET,
               classical, 0.9, detail=detail)
        for measure, value in (
            ("twelfth picked by sieve distances", sieve),
            ("twelfth picked by sealed distances, sieve skipped", sealed),
        )
    ]  # fmt: skip


@dataclass(frozen=True)
class _Island:
    """Candidates first (the twelfth at 0), then the eleven known members."""

    rng: np.random.Generator
    values: dict[str, list[str | None]]
    sketches: Bytes  # (people, sketched fields, 256)
    records: Bytes  # (people, 256)

    @staticmethod
    def draw(rng: np.random.Generator, known: Known, population: Population) -> _Island:
        people = rng.choice(population.persons, CANDIDATES + KNOWN, replace=False).tolist()
        values = {name: [population.people[name][i] for i in people] for name in FIELDS}
        for name in BLOCK:
            values[name] = [values[name][TWELFTH]] * len(people)
        parts = known.parts(values)
        return _Island(rng, values, parts.sketches, parts.record_sketch)

    @property
    def members(self) -> list[int]:
        return [TWELFTH, *range(CANDIDATES, CANDIDATES + KNOWN)]

    def read_words(self) -> npt.NDArray[np.float64]:
        """Candidates by how well they fit the twelfth word, all words under one key."""
        key, pair = self.rng.bytes(32), self.rng.bytes(32)
        size = len(self.members)
        short = short_sketches(key, self.records[self.members])
        words = sieve_words([key] * size, [pair] * size, short)
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

    def by_sieve(self) -> npt.NDArray[np.float64]:
        """Candidates by the sieve distances of the twelfth to its known partners."""
        likely = np.zeros(CANDIDATES)
        couple = self.rng.bytes(32)
        for partner in range(CANDIDATES, CANDIDATES + PARTNERS):
            key, pair = self.rng.bytes(32), self.rng.bytes(32)
            short = short_sketches(couple, self.records[[TWELFTH, partner]])
            one, other = sieve_words([key] * 2, [pair] * 2, short)
            expected = _fraction(self.records[:CANDIDATES], self.records[partner])
            likely += binom.logpmf(np.bitwise_count(one ^ other), SIEVE_BITS, expected)
        return likely

    def by_sealed(self, known: Known) -> npt.NDArray[np.float64]:
        """Candidates by the sealed distances of the twelfth to its known partners."""
        fields = [field.name for field in known.schema.fields if field.has_sketch]
        partners = range(CANDIDATES, CANDIDATES + PARTNERS)
        pair_keys = [self.rng.bytes(32) for _ in partners]
        sides = [
            self._sealed(known, pair_keys, rows) for rows in ([TWELFTH] * PARTNERS, [*partners])
        ]
        likely = np.zeros(CANDIDATES)
        for number, name in enumerate(fields):
            index = [field.name for field in known.schema.fields].index(name)
            one, other = (side[index] for side in sides)
            seen = np.bitwise_count(one ^ other).sum(axis=1, dtype=np.int64)
            for row, partner in enumerate(partners):
                expected = _fraction(
                    self.sketches[:CANDIDATES, number], self.sketches[partner, number]
                )
                likely += binom.logpmf(seen[row], one.shape[1] * 8, expected)
        return likely

    def _sealed(self, known: Known, pair_keys: list[bytes], rows: list[int]) -> list[Bytes]:
        values = {name: [column[i] for i in rows] for name, column in self.values.items()}
        columns = [values[field.name] for field in known.schema.fields]
        batch = seal_pairs(known.schema, pair_keys, known.fixed(values), columns, bytes(32))
        nothing = np.empty((len(rows), 0), np.uint8)
        return [nothing if each.sketch is None else each.sketch for each in batch.fields]


def _fraction(sketches: Bytes, other: Bytes) -> npt.NDArray[np.float64]:
    """Share of bits in which sketches differ from another one."""
    differing = np.bitwise_count(sketches ^ other).sum(axis=1, dtype=np.int64)
    fraction: npt.NDArray[np.float64] = np.clip(differing / SKETCH_BITS, 1e-3, 1 - 1e-3)
    return fraction
