"""What a colluding registry reads out of sieve words: part of R9.

What a registry sieves towards the colluder is under keys that the colluder has, and no quota counts
it: nearly everyone is sieved in an honest linkage. The colluder undoes mask and order of a word and
holds the bits against those of every value of a public list, field by field. It may ask for any
number of invented handles; the bits are the same 64 of an island each time. It is told which of the
islands it can open are of one record, more than it knows.

First design: each pair showed other bits, so sixty invented handles gave the whole record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.membership import island_blocks, island_seeds
from kinlink_core.encoding.prf import Prf
from kinlink_core.encoding.sieve import (
    SIEVE_BITS,
    open_bits,
    places,
    short_sketches,
    sieve_words,
)
from kinlink_core.encoding.sketch import SKETCH_BYTES

from redteam.keyed import Known, some_seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import Column

    from redteam.encoded import Bytes
    from redteam.places import I64
    from redteam.view import View

VICTIMS: Final = 100
INVENTED_HANDLES: Final = 60
READ_FIELDS: Final = ("place", "dob", "name")

Bools = npt.NDArray[np.bool_]


def read(
    view: View, opened: Bools, colluder: int, whom: Bools, *, drawn_anew: bool = False
) -> float:
    """Share of some victims of whom a value is read that their blocking values do not tell.

    Args:
        view: of the linker.
        opened: (tokens,) whose blocking values the colluder knows.
        colluder: code of its registry.
        whom: (records,) victims are `VICTIMS` of these that have a handle under such a token.
        drawn_anew: as in the first design, each invented handle shows other bits.
    """
    population, secrets = view.population, view.secrets
    known = Known.of(view.schema, secrets.schedule.secret.secret)
    guesses = {name: sorted({v for v in population.values[name] if v}) for name in READ_FIELDS}
    sketches = {name: _record_bits(known, view, name, guesses[name]) for name in READ_FIELDS}
    rng = np.random.default_rng(0)
    theirs = opened[view.rows.token] & (view.rows.level == 0) & whom[secrets.record]
    rows = np.flatnonzero(theirs)
    chosen = rng.permutation(np.unique(secrets.record[rows]))[:VICTIMS]
    read_out = 0
    for record in chosen.tolist():
        own = rows[secrets.record[rows] == record]
        bits, seen = _harvest(view, own, colluder, rng, drawn_anew=drawn_anew)
        passes = [view.schema.passes[index] for index in view.rows.pass_index[own].tolist()]
        told = {part.field for each in passes for part in each.parts}
        read_out += any(
            guesses[name][_nearest(bits, seen, *sketches[name])] == population.values[name][record]
            for name in READ_FIELDS
            if name not in told
        )
    return read_out / max(len(chosen), 1)


def _harvest(
    view: View, rows: I64, colluder: int, rng: np.random.Generator, *, drawn_anew: bool
) -> tuple[Bytes, Bools]:
    """Bits of one record's sketch that the words of its handles give, and which bits they are.

    The colluder has the keys. The word of nothing is the mask; the words of single bits show which
    bit went where.
    """
    secrets = view.secrets
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    sketch = split_fixed(view.schema, secrets.fixed[secrets.record[rows[:1]]]).record_sketch
    units = np.eye(SIEVE_BITS + 1, SIEVE_BITS, -1, dtype=np.uint8)
    bits = np.zeros(SKETCH_BYTES * 8, np.uint8)
    seen = np.zeros(SKETCH_BYTES * 8, bool)
    for row in np.repeat(rows, INVENTED_HANDLES).tolist():
        registry = int(view.rows.registry[row])
        pair = (min(colluder, registry), max(colluder, registry))
        blocking_key = secrets.blocking_key[[view.rows.token[row]]]
        members = Prf(keys.membership_key(secrets.pair_keys[pair]))
        prf = Prf(keys.draw_key(secrets.pair_keys[pair]))
        block = island_blocks(island_seeds(members, blocking_key))
        own = secrets.handle[[row]]
        invented = rng.integers(0, 256, own.shape, np.uint8)
        handles = (invented, own) if colluder < registry else (own, invented)
        seeds = prf.pairs(block, *handles)
        blocking_pass = view.schema.passes[view.rows.pass_index[row]]
        positions = open_bits(view.schema, blocking_pass)
        looked_at = places(some_seeds(rng, 1) if drawn_anew else prf.islands(block), positions)
        answered = _bits(sieve_words(seeds, short_sketches(sketch, looked_at)))[0]
        shown = _bits(sieve_words(seeds.take(np.zeros(len(units), np.int64)), units))
        place = (shown[1:] ^ shown[0]).argmax(axis=1)
        source = looked_at[0] // 8 * 8 + 7 - looked_at[0] % 8
        bits[source] = (answered ^ shown[0])[place]
        seen[source] = True
    return bits, seen


def _bits(words: npt.NDArray[np.uint64]) -> Bytes:
    return np.unpackbits(words.view(np.uint8).reshape(-1, SIEVE_BITS // 8), axis=1)


def _record_bits(known: Known, view: View, name: str, values: Sequence[str]) -> tuple[Bytes, Bools]:
    """Record sketches of guesses of one field, as bits, and which bits are that field's."""
    columns: dict[str, Column] = {name: list(values)}
    sketches = np.unpackbits(known.parts(columns).record_sketch, axis=1)
    index = [field.name for field in view.schema.fields].index(name)
    own = np.zeros(SKETCH_BYTES, bool)
    own[index :: len(view.schema.fields)] = True
    return sketches, np.repeat(own, 8)


def _nearest(bits: Bytes, seen: Bools, guesses: Bytes, own: Bools) -> int:
    used = np.flatnonzero(seen & own)
    differing = (guesses[:, used] != bits[used]).sum(axis=1)
    return int(differing.argmin())
