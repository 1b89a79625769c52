"""What a colluding registry reads out of sieve words: part of R9.

What a registry sieves towards the colluder is under a key that the colluder has. Nothing counts
sieve words, and a registry does not check the partner's handles: for each invented one it gives
another 64 bits of the same record sketch, until the sketch is complete.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import split_fixed
from kinlink_core.encoding.seal import SIEVE_BITS, sieve_words
from kinlink_core.encoding.sketch import SKETCH_BYTES
from kinlink_core.errors import KinlinkError
from kinlink_core.wire import Refusal

from redteam.asker import ids, meet
from redteam.keyed import Known
from redteam.population import make
from redteam.registries import rows_of, twins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import Column

    from redteam.encoded import Bytes
    from redteam.view import View

VICTIMS: Final = 20
INVENTED_HANDLES: Final = 60
READ_FIELDS: Final = ("sex", "place", "dob", "name")
FIELDS_READ_MIN: Final = 3
PEOPLE_REAL: Final = 120

Bools = npt.NDArray[np.bool_]


def unmetered(seed: int) -> float:
    """Share of invented partner handles that a real registry sieves though its quota is spent."""
    rows = rows_of(make(PEOPLE_REAL, 2, seed, correlated=False, errors=0), 0)
    with twins(rows, 2, toml="[policy]\npartner_share_max = 0.0\n") as lab, lab.serving() as askers:
        left, right = askers.values()
        asked = meet(left, right, left.schema.pass_index("name_birth")).to_left
        invented = ids([os.urandom(keys.HANDLE_BYTES) for _ in asked.own])
        try:
            answer = left.sieve(replace(asked, theirs=invented))
        except KinlinkError:
            return 0.0
        return float((answer.refusal == Refusal.ANSWERED).mean())


def read(view: View, records: Bools, colluder: int, victims: int = VICTIMS) -> float:
    """Share of some victims whose record is read out of sieve words alone."""
    population, secrets = view.population, view.secrets
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(records[secrets.record] & (view.rows.level == 0))
    first = rows[np.unique(secrets.record[rows], return_index=True)[1]]
    chosen = rng.permutation(first)[:victims]
    known = Known.of(view.schema, secrets.schedule.secret.secret)
    guesses = {name: sorted({v for v in population.values[name] if v}) for name in READ_FIELDS}
    sketches = {name: _record_bytes(known, view, name, guesses[name]) for name in READ_FIELDS}
    read_out = 0
    for row in chosen.tolist():
        bits, seen = _harvest(view, row, colluder, rng)
        right = 0
        for name in READ_FIELDS:
            best = _nearest(bits, seen, *sketches[name])
            right += guesses[name][best] == population.values[name][secrets.record[row]]
        read_out += right >= FIELDS_READ_MIN
    return read_out / max(len(chosen), 1)


def _harvest(view: View, row: int, colluder: int, rng: np.random.Generator) -> tuple[Bytes, Bools]:
    """Bits of a victim's record sketch, from the words it gives to invented handles.

    The colluder has the island's key. The words of a zero sketch are the mask; the words of
    sketches of one bit each show which bit of the sketch went where.
    """
    secrets = view.secrets
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    registry = int(view.rows.registry[row])
    pair = (min(colluder, registry), max(colluder, registry))
    blocking_key = secrets.blocking_key[view.rows.token[row]].tobytes()
    key = keys.sieve_key(keys.pair_island_key(secrets.pair_keys[pair], blocking_key))
    own = secrets.handle[row].tobytes()
    sketch = split_fixed(view.schema, secrets.fixed[[secrets.record[row]]]).record_sketch
    units = np.packbits(np.eye(SKETCH_BYTES * 8, dtype=np.uint8), axis=1)
    probes = np.concatenate([np.zeros((1, SKETCH_BYTES), np.uint8), units])
    bits = np.zeros(SKETCH_BYTES * 8, np.uint8)
    seen = np.zeros(SKETCH_BYTES * 8, bool)
    for _ in range(INVENTED_HANDLES):
        invented = rng.bytes(keys.HANDLE_BYTES)
        handles = invented + own if colluder < registry else own + invented
        answered = _bits(sieve_words([key], [handles], sketch))[0]
        shown = _bits(sieve_words([key] * len(probes), [handles] * len(probes), probes))
        mask = shown[0]
        source, place = np.nonzero(shown[1:] ^ mask)
        bits[source] = answered[place] ^ mask[place]
        seen[source] = True
    return bits, seen


def _bits(words: npt.NDArray[np.uint64]) -> Bytes:
    return np.unpackbits(words.view(np.uint8).reshape(-1, SIEVE_BITS // 8), axis=1)


def _record_bytes(
    known: Known, view: View, name: str, values: Sequence[str]
) -> tuple[Bytes, Bools]:
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
