"""R9: a registry lends the linker its keys; whose records can the two read?

The attacker is the linker with one registry, the colluder. What others seal towards it, it opens.
Three ways to come by other registries' people, each measured as the share of the people that are
not on the colluder's own books and whose records can be read:

* direct: everyone in an island in which the colluder has a record, the linker skipping its sieve;
* chained: who is read tells blocking values, whose keys the colluder can derive (plain mode), so it
  proves a presence it does not have and reads the islands of other passes, and so on;
* through the sieve. Nothing counts what is sieved towards a partner, and a registry does not check
  the partner's handles: with invented ones it answers another 64 bits of the same record sketch
  under a key the colluder has, until the sketch is complete. `read` does that against the real
  functions.

A partner quota bounds the first two: it is set here to what an honest linkage needs, half as much
again, at least 1 %. First design: keys an island, no quota, whole islands read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import split_fixed
from kinlink_core.encoding.seal import SIEVE_BITS, sieve_words
from kinlink_core.encoding.sketch import SKETCH_BYTES

from redteam.keyed import Known
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.encode import Column

    from redteam.encoded import Bytes
    from redteam.places import I64
    from redteam.setting import Setting
    from redteam.view import View

READ_MAX: Final = 0.05
FIRST_DIRECT_MIN: Final = {3: 0.50, 31: 0.10}
FIRST_CHAINED_MIN: Final = 0.50
QUOTA_FACTOR: Final = 1.5
QUOTA_MIN: Final = 0.01
COLLUDER: Final = 0
VICTIMS: Final = 20
INVENTED_HANDLES: Final = 60
READ_FIELDS: Final = ("sex", "place", "dob", "name")
FIELDS_READ_MIN: Final = 3

Bools = npt.NDArray[np.bool_]


def run(setting: Setting) -> list[Result]:
    """Direct and chained reach, with and without the quota, and the sieve."""
    view = setting.view()
    quota = honest_need(view) * QUOTA_FACTOR
    quota = max(quota, QUOTA_MIN)
    direct, chained = reach(view, chained=False), reach(view, chained=True)
    decoded = read(view, direct.records)

    def result(measure: str, value: float, **more: object) -> Result:
        title = "one registry with the linker: others' people read"
        return Result("R9", title, setting.label, setting.seed, measure, value, **more)  # type: ignore[arg-type]

    needed = f"quota {quota:.1%} of a registry's records a partner, 1.5 x the honest need"
    return [
        result(
            "direct, sealed, within the quota",
            direct.within(view, quota),
            target=READ_MAX,
            classical=direct.share,
            classical_min=FIRST_DIRECT_MIN.get(setting.registries),
            detail=f"{needed}; first design: all of the colluder's islands",
        ),
        result(
            "chained, sealed, within the quota",
            chained.within(view, quota),
            target=READ_MAX,
            classical=chained.share,
            classical_min=None if setting.quick else FIRST_CHAINED_MIN,
            detail=f"{needed}; without one, and in the first design, all that can be chained",
        ),
        result(
            "through the sieve, chained",
            chained.share * decoded,
            target=READ_MAX,
            detail=(
                f"no quota counts sieve words; of {VICTIMS} records {decoded:.0%} were read"
                f" ({FIELDS_READ_MIN} of sex, place, dob, name right) with {INVENTED_HANDLES}"
                " invented partner handles each"
            ),
        ),
    ]


@dataclass(frozen=True)
class Reach:
    """Records of others that a colluder gets to read, and the share of their people."""

    records: Bools  # (records,)
    share: float

    def within(self, view: View, quota: float) -> float:
        """The share, when each registry seals at most `quota` of its records to the colluder."""
        population = view.population
        strangers = strangers_of(view)
        read = 0
        for code in range(len(population.names)):
            own = population.registry == code
            wanted = int((self.records & own & strangers[population.person]).sum())
            read += min(wanted, int(np.ceil(quota * own.sum())))
        return float(min(read / max(int(strangers.sum()), 1), self.share))


def strangers_of(view: View) -> Bools:
    """People who are not on the colluder's books."""
    population = view.population
    strangers = np.ones(population.persons, bool)
    strangers[population.person[population.registry == COLLUDER]] = False
    return strangers


def honest_need(view: View) -> float:
    """The largest share of its records that a registry seals to one partner in a linkage."""
    population, record = view.population, view.secrets.record
    size = np.bincount(population.registry, minlength=len(population.names))
    registries = len(population.names)
    sides = ((view.pairs.left, view.pairs.right), (view.pairs.right, view.pairs.left))
    toward = np.concatenate(
        [record[own] * registries + view.rows.registry[other] for own, other in sides]
    )
    sealed = np.unique(toward)
    link = population.registry[sealed // registries] * registries + sealed % registries
    booked, counts = np.unique(link, return_counts=True)
    return float((counts / size[booked // registries]).max())


def reach(view: View, *, chained: bool) -> Reach:
    """Whom the colluder reads without a quota, from its own records' tokens on."""
    rows, population, record = view.rows, view.population, view.secrets.record
    caps = np.array([each.cap for each in view.schema.passes])
    registries = len(population.names)
    group = rows.token * registries + rows.registry
    held = np.unique(group, return_inverse=True, return_counts=True)
    fits = held[2][held[1].reshape(-1)] + 1 <= caps[rows.pass_index]
    read = population.registry == COLLUDER
    own = read.copy()
    while True:
        known = np.zeros(rows.tokens, bool)
        known[rows.token[read[record]]] = True
        found = read.copy()
        found[record[known[rows.token] & fits]] = True
        if not chained or (found == read).all():
            read = found
            break
        read = found
    strangers = strangers_of(view)
    reached = np.unique(population.person[read & ~own])
    share = strangers[reached].sum() / max(int(strangers.sum()), 1)
    return Reach(read & ~own, float(share))


def read(view: View, records: Bools) -> float:
    """Share of some victims whose record is read out of sieve words alone."""
    population, secrets = view.population, view.secrets
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(records[secrets.record] & (view.rows.level == 0))
    first = rows[np.unique(secrets.record[rows], return_index=True)[1]]
    victims = rng.permutation(first)[:VICTIMS]
    known = Known.of(view.schema, secrets.schedule.secret.secret)
    guesses = {name: sorted({v for v in population.values[name] if v}) for name in READ_FIELDS}
    sketches = {name: _record_bytes(known, view, name, guesses[name]) for name in READ_FIELDS}
    read_out = 0
    for row in victims.tolist():
        bits, seen = _harvest(view, row, rng)
        right = 0
        for name in READ_FIELDS:
            best = _nearest(bits, seen, *sketches[name])
            right += guesses[name][best] == population.values[name][secrets.record[row]]
        read_out += right >= FIELDS_READ_MIN
    return read_out / max(len(victims), 1)


def _harvest(view: View, row: int, rng: np.random.Generator) -> tuple[Bytes, Bools]:
    """Bits of a victim's record sketch, from the words it gives to invented handles.

    The colluder has the island's key. The words of a zero sketch are the mask; the words of
    sketches of one bit each show which bit of the sketch went where.
    """
    secrets, colluder = view.secrets, COLLUDER
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


