"""What a colluding registry reads out of sieve words: part of R9.

What a registry sieves towards the colluder is under keys that the colluder has, and no quota counts
it: nearly everyone is sieved in an honest linkage. The colluder undoes mask and order of a word and
holds the bits against those of every value of a public list, field by field. It may ask for any
number of invented handles; the bits are the same 64 each time.

First design: each pair showed other bits, so sixty invented handles gave the whole record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import split_fixed
from kinlink_core.encoding.sieve import SIEVE_BITS, short_sketches, sieve_words
from kinlink_core.encoding.sketch import SKETCH_BYTES

from redteam.keyed import Known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import Column

    from redteam.encoded import Bytes
    from redteam.places import I64
    from redteam.view import View

VICTIMS: Final = 100
INVENTED_HANDLES: Final = 60
READ_FIELDS: Final = ("sex", "place", "dob", "name")
FIELDS_READ_MIN: Final = 3

Bools = npt.NDArray[np.bool_]


def read(
    view: View, records: Bools, colluder: int, victims: int = VICTIMS, *, drawn_anew: bool = False
) -> float:
    """Share of some victims whose record is read out of sieve words alone.

    With `drawn_anew`, as in the first design, each invented handle shows other bits.
    """
    population, secrets = view.population, view.secrets
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(records[secrets.record] & (view.rows.level == 0))
    first = rows[np.unique(secrets.record[rows], return_index=True)[1]]
    chosen = rng.permutation(first)[:victims]
    known = Known.of(view.schema, secrets.schedule.secret.secret)
    guesses = {name: sorted({v for v in population.values[name] if v}) for name in READ_FIELDS}
    sketches = {name: _record_bits(known, view, name, guesses[name]) for name in READ_FIELDS}
    read_out = 0
    for row in chosen.tolist():
        bits, seen = _harvest(view, row, colluder, rng, drawn_anew=drawn_anew)
        right = 0
        for name in READ_FIELDS:
            best = _nearest(bits, seen, *sketches[name])
            right += guesses[name][best] == population.values[name][secrets.record[row]]
        read_out += right >= FIELDS_READ_MIN
    return read_out / max(len(chosen), 1)


def _harvest(
    view: View, row: int, colluder: int, rng: np.random.Generator, *, drawn_anew: bool
) -> tuple[Bytes, Bools]:
    """Bits of a victim's record sketch that its words give, and which bits they are.

    The colluder has the keys. The word of nothing is the mask; the words of single bits show which
    bit went where.
    """
    secrets = view.secrets
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    registry = int(view.rows.registry[row])
    pair = (min(colluder, registry), max(colluder, registry))
    blocking_key = secrets.blocking_key[view.rows.token[row]].tobytes()
    key = keys.sieve_key(keys.pair_island_key(secrets.pair_keys[pair], blocking_key))
    couple = keys.sieve_sample_key(secrets.pair_keys[pair])
    own = secrets.handle[row].tobytes()
    sketch = split_fixed(view.schema, secrets.fixed[[secrets.record[row]]]).record_sketch
    units = np.concatenate(
        [np.zeros((1, SIEVE_BITS), np.uint8), np.eye(SIEVE_BITS, dtype=np.uint8)]
    )
    bits = np.zeros(SKETCH_BYTES * 8, np.uint8)
    seen = np.zeros(SKETCH_BYTES * 8, bool)
    for _ in range(INVENTED_HANDLES):
        sample_key = rng.bytes(32) if drawn_anew else couple
        invented = rng.bytes(keys.HANDLE_BYTES)
        handles = invented + own if colluder < registry else own + invented
        answered = _bits(sieve_words([key], [handles], short_sketches(sample_key, sketch)))[0]
        shown = _bits(sieve_words([key] * len(units), [handles] * len(units), units))
        place = (shown[1:] ^ shown[0]).argmax(axis=1)
        source = _sources(sample_key)
        bits[source] = (answered ^ shown[0])[place]
        seen[source] = True
    return bits, seen


def _sources(sample_key: bytes) -> I64:
    """Which bit of a record sketch each bit of a short one is."""
    every = np.packbits(np.eye(SKETCH_BYTES * 8, dtype=np.uint8), axis=1)
    found: I64 = short_sketches(sample_key, every).argmax(axis=0)
    return found


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
