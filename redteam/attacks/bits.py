"""X10: what the order of sealed bits tells.

The attacker is the linker with one registry, which has the epoch secret and hence the sketch of any
value it can guess. It looks at a pair of two *other* registries. The XOR of the two sealed sides
has no mask left. If its bits stand in the order of the sketches' bytes, each bit tells of one known
byte of both sketches: from a dictionary one value is read where the other is known.

The first design stood so (ADR 0002, one bit of each byte, in place); now bits are shuffled by the
pair's key and only their number is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding import keys
from kinlink_core.encoding.seal import digest_columns, seal_pairs

from redteam.keyed import Known, sample, some_seeds
from redteam.results import Result, about
from redteam.view import shipped_schema

if TYPE_CHECKING:
    from redteam.encoded import Bytes
    from redteam.places import I64
    from redteam.setting import Setting

FIELD: Final = "name"
PAIRS: Final = 200
PAIRS_QUICK: Final = 40
DICTIONARY_MAX: Final = 10_000
# Of 10,000 names: a right guess by luck in 200 tries has a chance of 2 %.
TARGET: Final = 0.02
CLASSICAL_MIN: Final = 0.5
CLIP: Final = 0.02


def run(setting: Setting) -> list[Result]:
    """Read the name behind one side of pairs whose other side is known."""
    rng = np.random.default_rng([setting.seed, 10])
    schema = shipped_schema()
    known = Known.of(schema, rng.bytes(keys.SECRET_BYTES))
    names = sorted({name for name in setting.population().people[FIELD] if name})
    names = [names[i] for i in rng.permutation(len(names))[:DICTIONARY_MAX]]
    sketches = known.sketch(FIELD, names)
    count = PAIRS_QUICK if setting.quick else PAIRS
    secret, partner = (rng.integers(0, len(names), count) for _ in range(2))
    shown = _sealed(known, names, secret) ^ _sealed(known, names, partner)
    first = sample(rng, sketches[secret], sketches[partner])
    return [
        Result(
            id="X10",
            title="order of sealed bits",
            setting=f"dictionary of {about(len(names))} names",
            seed=setting.seed,
            measure="names read from one foreign pair with one known side",
            value=_read(sketches, partner, secret, shown),
            target=TARGET,
            classical=_read(sketches, partner, secret, first),
            classical_min=CLASSICAL_MIN,
            detail="Linker and one registry. Beside it the first design, bits in place.",
        )
    ]


def _sealed(known: Known, names: list[str], chosen: I64) -> Bytes:
    """One side of pairs, sealed by the registries' function; (n, 128) bits."""
    seeds = some_seeds(np.random.default_rng(0), len(chosen))
    values = {FIELD: [names[i] for i in chosen.tolist()]}
    columns = [values.get(field.name, [None] * len(chosen)) for field in known.schema.fields]
    digests = digest_columns(known.schema, columns)
    batch = seal_pairs(known.schema, seeds, known.fixed(values), digests, bytes(32))
    index = [field.name for field in known.schema.fields].index(FIELD)
    sketch = batch.fields[index].sketch
    if sketch is None:
        raise ValueError(f"{FIELD} has no sketch")
    return np.unpackbits(sketch, axis=1)


def _read(sketches: Bytes, partner: I64, secret: I64, shown: Bytes) -> float:
    """Share of pairs whose unknown value is the likeliest of the dictionary."""
    units = shown.shape[1]
    bits = sketches.shape[1] * 8 // units
    one = np.log(np.clip(np.arange(bits + 1) / bits, CLIP, 1 - CLIP))
    zero = one[::-1]
    right = 0
    for row, (known, truth) in enumerate(zip(partner.tolist(), secret.tolist(), strict=True)):
        both = (sketches ^ sketches[known]).reshape(len(sketches), units, -1)
        differing = np.bitwise_count(both).sum(axis=2)
        ones = shown[row].astype(bool)
        likely = one[differing[:, ones]].sum(axis=1) + zero[differing[:, ~ones]].sum(axis=1)
        right += int(likely.argmax() == truth)
    return right / len(partner)
