"""X11: what a colluding registry opens of pairs drawn at random towards it.

The attacker is the linker with one registry. Chance pairs are sealed under keys of that registry
and its partner, so it opens the partner's side: for every row it seals everybody of a public list
under the row's key and compares. First design: a row was a record, thousands of them a partner and
epoch, outside of every quota, and each was read. Now every field of a row comes from another
record: what is opened are values, and no person. A value that names a person by itself, such as a
national id that is on the list, still tells that he is on the books: of at most 16,384 people a
partner and epoch, which no quota counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.seal import SealedBatch, digest_columns, seal_pairs
from kinlink_core.wire import read_card
from kinlink_registry import chance

from redteam.population import make
from redteam.registries import laboratory
from redteam.results import Result

if TYPE_CHECKING:
    import numpy.typing as npt
    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.schema import Schema

    from redteam.asker import Asker
    from redteam.encoded import Bytes
    from redteam.population import Population
    from redteam.setting import Setting

    Fits = npt.NDArray[np.bool_]

PEOPLE: Final = 300
ROWS: Final = 200
ROWS_QUICK: Final = 50
# A row is a person if somebody on the list fits this many of its values, and all there are.
FIELDS_MIN: Final = 4
TARGET: Final = 0.05
CLASSICAL_MIN: Final = 0.9


def run(setting: Setting) -> list[Result]:
    """Open rows of one registry's chance pairs with the keys of its partner."""
    population = make(PEOPLE, 2, setting.seed, correlated=False, overlap=0.3)
    rows = ROWS_QUICK if setting.quick else ROWS
    with laboratory(population) as lab, lab.serving() as askers:
        victim, colluder = (askers[name] for name in population.names)
        shown = victim.chance(colluder.card, colluder.profile().records)[0].batch
        insider = _Insider(colluder, population)
        seeds = insider.seeds(victim)
        seeds = seeds.take(np.arange(min(rows, len(seeds))))
        chosen = np.random.default_rng(setting.seed).choice(
            np.flatnonzero(population.registry == 0), len(seeds)
        )
        whole = insider.sealed(seeds, chosen)
        people, values = insider.opened(seeds, shown)
        first, _ = insider.opened(seeds, whole)
    place = f"{PEOPLE} people, 2 real registries, {len(seeds)} rows"
    return [
        Result("X11", "chance pairs opened by the partner", place, setting.seed,
               "rows read as a person", people, TARGET, first, CLASSICAL_MIN,
               detail="Linker and one registry. First design: a row is a record."),
        Result("X11", "chance pairs opened by the partner", place, setting.seed,
               "values read, one by one", values,
               detail="What is left: who has an id on the list is known to be here."),
    ]  # fmt: skip


class _Insider:
    """A registry's keys and a public list."""

    def __init__(self, colluder: Asker, population: Population) -> None:
        self._node = colluder.node
        self._epoch_name = colluder.epoch
        self._schema: Schema = colluder.schema
        self._population = population
        with self._node.vault.reading() as session:
            self._epoch = self._node.epochs.served(session, self._epoch_name)
        self._fixed = self._epoch.encoder.encode(population.values).fixed

    def seeds(self, victim: Asker) -> Seeds:
        """The seeds of the draw with another registry, as its partner derives them."""
        described = victim.profile()
        partner = self._node.partners().admit(read_card(described.card), self._epoch)
        drawn = chance.drawn(
            self._node.vault, self._epoch, partner, self._node.name, described.records
        )
        return drawn.seeds

    def sealed(self, seeds: Seeds, records: npt.NDArray[np.int64]) -> SealedBatch:
        """Records of the list, each under a seed."""
        values = self._population.values
        columns = [[values[field.name][i] for i in records] for field in self._schema.fields]
        digests = digest_columns(self._schema, columns)
        return seal_pairs(self._schema, seeds, self._fixed[records], digests, bytes(32))

    def opened(self, seeds: Seeds, shown: SealedBatch) -> tuple[float, float]:
        """Share of rows that are a person of the list, and of values that somebody there has."""
        everyone = np.arange(self._population.records)
        people, values, present = 0, 0, 0
        for row in range(len(seeds)):
            tried = self.sealed(seeds.take(np.full(len(everyone), row)), everyone)
            here, fits = _fits(tried, shown, row)
            people += int(here.sum() >= FIELDS_MIN and bool(fits[:, here].all(axis=1).any()))
            values += int(fits[:, here].any(axis=0).sum())
            present += int(here.sum())
        return people / len(seeds), values / max(present, 1)


def _fits(tried: SealedBatch, shown: SealedBatch, row: int) -> tuple[Fits, Fits]:
    """Which fields of a row have a value, (fields,), and whom each would fit, (people, fields)."""
    present, fits = [], []
    for one, other in zip(tried.fields, shown.fields, strict=True):
        same = (one.presence == other.presence[row]).all(axis=1)
        present.append(bool(same.any()))
        parts = [
            (mine, yours)
            for mine, yours in ((one.sketch, other.sketch), (one.tags, other.tags))
            if mine is not None and yours is not None
        ]
        fits.append(np.logical_and.reduce([same, *(_equal(*part, row) for part in parts)]))
    return np.array(present), np.column_stack(fits)


def _equal(tried: Bytes, shown: Bytes, row: int) -> Fits:
    equal: Fits = (tried == shown[row]).all(axis=1)
    return equal
