"""Islands at the cap: passes coarse enough to fill islands of 9 to 12 records, in the real design.

The shipped passes make islands of two or three at these sizes; what an island can tell grows with
its members. So the attacks on surnames and categories are run on islands at the cap too, which come
from coarser passes than a schema may declare without an exposure. Sieve and seal are the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from kinlink_core.encoding.schema import CAP_DEFAULT, Part, Pass

from redteam.encoded import encode
from redteam.meetings import find_islands, near, pairs_of, seal
from redteam.view import shipped_schema

if TYPE_CHECKING:
    from redteam.encoded import Encoded
    from redteam.meetings import Pairs
    from redteam.places import I64
    from redteam.setting import Setting

Passes: TypeAlias = tuple[tuple[tuple[str | int, ...], ...], ...]

CROWDED_MIN: Final = 9
ISLANDS_MAX: Final = 600
# With fewer members a gain of two points is within two standard errors.
MEMBERS_MIN: Final = 2_500
_EXPOSURE: Final = "a red team's pass, coarser than a federation may declare"

# Several grains, so that some fill islands at every size of population.
YEAR_PLACES: Final[Passes] = (
    (("dob", "year"), ("place", "exact"), ("sex", "exact")),
    (("dob", "year"), ("place", "prefix", 4)),
    (("dob", "year"), ("place", "prefix", 2)),
    (("dob", "year_month"), ("place", "prefix", 2)),
    (("dob", "exact"),),
)
GIVEN_NAMES: Final[Passes] = (
    (("name", "given"), ("dob", "year")),
    (("name", "given"), ("dob", "prefix", 3)),
    (("name", "given"), ("dob", "suffix", 1)),
    (("name", "given"), ("dob", "suffix", 2)),
    (("name", "given"), ("place", "exact")),
    (("name", "given"), ("place", "prefix", 2), ("dob", "suffix", 1)),
    (("name", "given"),),
)


@dataclass(frozen=True)
class Crowd:
    """Members of crowded islands, and the pairs of them that an honest linker has sealed.

    `node_l` and `node_r` are members' positions in `record`; `island` numbers the islands.
    """

    record: I64
    registry: I64
    island: I64
    node_l: I64
    node_r: I64
    pairs: Pairs
    encoded: Encoded

    @property
    def sizes(self) -> I64:
        """How many members each member's island has."""
        counts: I64 = np.bincount(self.island)[self.island]
        return counts


@lru_cache(maxsize=1)
def crowd(setting: Setting, passes: Passes) -> Crowd:
    """Crowded islands of a setting's population under some coarse passes."""
    population, values = setting.population(), setting.population().values
    schema = shipped_schema()
    coarse = replace(schema, passes=tuple(_pass(n, each) for n, each in enumerate(passes)))
    encoded = encode(coarse, population.names, population.registry, values)
    islands = find_islands(coarse, encoded.rows, len(population.names))
    size = np.bincount(islands.island, minlength=islands.count)
    crowded = np.flatnonzero(size >= CROWDED_MIN)
    chosen = np.random.default_rng(0).permutation(crowded)[:ISLANDS_MAX]
    kept = np.isin(islands.island, chosen)
    few = replace(islands, island=islands.island[kept], row=islands.row[kept])
    met = pairs_of(coarse, encoded, few)
    pairs = seal(coarse, encoded, values, met.only(near(coarse, met)))
    place = np.full(encoded.rows.count, -1)
    place[few.row] = np.arange(len(few.row))
    _, island = np.unique(few.island, return_inverse=True)
    return Crowd(
        encoded.secrets.record[few.row],
        encoded.rows.registry[few.row].astype(np.int64),
        island.reshape(-1),
        place[pairs.left],
        place[pairs.right],
        pairs,
        encoded,
    )


def _pass(number: int, parts: tuple[tuple[str | int, ...], ...]) -> Pass:
    made = tuple(Part(str(field), str(transform), tuple(args)) for field, transform, *args in parts)
    return Pass(f"coarse_{number}", made, CAP_DEFAULT, exposure=_EXPOSURE)


def all_pairs(island: I64) -> tuple[I64, I64]:
    """Every pair of members of one island, whatever their registries: the first design."""
    order = np.argsort(island, kind="stable")
    same = island[order]
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for apart in range(1, int(np.bincount(island, minlength=1).max())):
        meets = np.flatnonzero(same[:-apart] == same[apart:])
        left.append(order[meets])
        right.append(order[meets + apart])
    return np.concatenate(left), np.concatenate(right)


def joined(count: int, left: I64, right: I64) -> I64:
    """Component of each of `count` nodes under some edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    component: I64 = connected_components(graph, directed=False)[1].astype(np.int64)
    return component
