"""R3 and R4: an insider who has people's plaintext finds their handles by what is around them.

The attacker is the linker with the records of everyone (R3) or of a random half of the people (R4),
as the registries wrote them, but without any key. Under a key of its own it groups them as the
exact passes do (LSH passes cannot be predicted without the field key), refines and caps as the
linker does, and knows for every island the registries in it, and for every pair in it the expected
distance of each field, which fields are there and which tags are equal. It looks for islands that
look like that. Two records are sealed in the first pass in which they meet, so of the islands it
expects only those are looked for; the sampled few that come before are left alone, as are islands
with two members of one registry (under 5 % of them).

"Without labels" is the same attack by a scorer that is not told registries and pass of a pair.

The measure is the share of people who have a handle in an island of an exact pass, of whom one is
named with at least `SURE_MIN` certainty and rightly; half plaintext: of those the attacker knows.

Classical: one id a record under the usual blocking keys, by T3's attack, everyone's plaintext.
First design: the same attack as on Kinlink where nulls are in the clear, 512 samples are sealed
alike for all members of an island, and there is no sieve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.encode import LSH
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.schema import SAMPLE_BITS, SKETCH_BITS

from redteam.attacks.colours import one_id_named
from redteam.attacks.likeness import Items, claims
from redteam.attacks.plaintext import Predictor, couples
from redteam.encoded import encode
from redteam.meetings import MISSING, find_islands, meetings
from redteam.results import Result

if TYPE_CHECKING:
    from redteam.encoded import Encoded, Rows
    from redteam.meetings import Islands
    from redteam.places import I64
    from redteam.setting import Setting
    from redteam.view import View

SURE_MIN: Final = 0.8
MEMBERS_MAX: Final = 3
FIRST_DESIGN_BITS: Final = 512
CLASSICAL_MIN: Final = 0.50
TARGETS: Final = {("R3", 3): 0.10, ("R4", 3): 0.005, ("R4", 31): 0.07}

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Groups:
    """Islands with one member a registry, grouped by how many members they have.

    `member` has the records' rows, ordered by registry; (k, members).
    """

    pass_index: I64
    registry: I64  # (k, members)
    member: I64  # (k, members) rows


def run(setting: Setting) -> list[Result]:
    """Full and half plaintext, on Kinlink and on the first design."""
    view = setting.view()
    classical = one_id_named(setting)
    found = []
    for name, share in (("R3", 1.0), ("R4", 0.5)):
        rng = np.random.default_rng([setting.seed, 34])
        known = rng.random(view.population.persons) < share
        guesses = _locate(view, known, share)
        blind = _locate(view, known, share, labels=False)
        first = _locate(view, known, share, first_design=True)
        whose = "everyone's" if share == 1 else "half of the people's"
        found.append(
            Result(
                name,
                f"fingerprint, {whose} plaintext",
                setting.label,
                setting.seed,
                "people in islands of exact passes who are located",
                guesses.share,
                target=TARGETS.get((name, setting.registries)),
                classical=classical if share == 1 else None,
                classical_min=CLASSICAL_MIN if share == 1 else None,
                detail=(
                    f"{guesses.precision:.0%} of the names given are right;"
                    f" {guesses.share_of_all:.2%} of all people known;"
                    f" without labels {blind.share:.1%}; first design: {first.share:.1%},"
                    f" {first.precision:.0%} right"
                ),
            )
        )
    return found


@dataclass(frozen=True)
class Located:
    """How an attack went."""

    share: float
    share_of_all: float
    precision: float


def _locate(
    view: View, known: Bools, share: float, *, first_design: bool = False, labels: bool = True
) -> Located:
    population, schema = view.population, view.schema
    exact = [each.id for each in schema.passes if not any(p.transform == LSH for p in each.parts)]
    chosen = np.flatnonzero(known[population.person])
    values = {
        name: [column[i] for i in chosen.tolist()] for name, column in population.values.items()
    }
    registry = population.registry[chosen]
    # The attacker's own simulation: tokens under a key of its own tell who shares a value.
    sim = encode(schema, population.names, registry, values, passes=exact, sketches=False)
    expected_islands = find_islands(schema, sim.rows, len(population.names))
    first = _first_passes(expected_islands, sim)
    predictor = Predictor(schema, values, clear=first_design)
    right, wrong = [np.empty(0, np.int64)], 0
    bits = FIRST_DESIGN_BITS if first_design else SAMPLE_BITS
    for members in range(2, MEMBERS_MAX + 1):
        seen = groups(view.islands, view.rows, members)
        seen = _only(seen, np.isin(seen.pass_index, [schema.pass_index(name) for name in exact]))
        expected = groups(expected_islands, sim.rows, members)
        if not len(seen.member) or not len(expected.member):
            continue
        if not first_design:
            expected = _only(expected, _sealed_here(first, sim, expected.member))
        likely = predictor.features(sim.secrets.record[expected.member])
        expected_items = _items(expected, *likely, labels=labels)
        if first_design:
            features = _first_design(view, seen.member)
            rows = np.arange(len(seen.member))
        else:
            rows, features = _sealed(view, seen.member)
        items = _items(_only(seen, rows), *features, labels=labels)
        found = claims(items, expected_items, bits, known=share, sure_min=SURE_MIN)
        truth = view.secrets.record[seen.member[rows][found.seen]]
        named = chosen[sim.secrets.record[expected.member[found.expected]]]
        hit = (truth == named).all(axis=1)
        right.append(np.unique(population.person[truth[hit]]))
        wrong += int((~hit).sum())
    persons = np.unique(np.concatenate(right))
    islanders = _islanders(view, exact)
    islanders = islanders[known[islanders]]
    claimed = sum(map(len, right)) + wrong
    return Located(
        len(persons) / max(len(islanders), 1),
        len(persons) / max(int(known.sum()), 1),
        1 - wrong / claimed if claimed else 1.0,
    )


def _first_passes(islands: Islands, sim: Encoded) -> dict[int, int]:
    """The first pass in which two records meet, by a number of the two."""
    left, right = meetings(islands, sim.rows)
    name = _pair_names(sim, left, right)
    order = np.lexsort((sim.rows.pass_index[left], name))
    names, at = np.unique(name[order], return_index=True)
    passes = sim.rows.pass_index[left][order][at]
    return dict(zip(names.tolist(), passes.tolist(), strict=True))


def _sealed_here(first: dict[int, int], sim: Encoded, member: I64) -> Bools:
    """Islands all of whose pairs meet here first; `member` has their rows."""
    here = np.ones(len(member), bool)
    of_island = sim.rows.pass_index[member[:, 0]]
    for i, j in couples(member.shape[1]):
        names = _pair_names(sim, member[:, i], member[:, j]).tolist()
        here &= np.array([first[name] for name in names], np.int64) == of_island
    return here


def _pair_names(sim: Encoded, left: I64, right: I64) -> I64:
    record = sim.secrets.record
    names: I64 = record[left] * (int(record.max(initial=0)) + 1) + record[right]
    return names


def _islanders(view: View, exact: list[str]) -> I64:
    rows = view.islands.row
    passes = [view.schema.pass_index(name) for name in exact]
    rows = rows[np.isin(view.rows.pass_index[rows], passes)]
    people: I64 = np.unique(view.population.person[view.secrets.record[rows]])
    return people


def groups(islands: Islands, rows: Rows, members: int) -> Groups:
    """The islands of some number of members, one a registry."""
    order = np.lexsort((rows.registry[islands.row], islands.island))
    island, row = islands.island[order], islands.row[order]
    size = np.bincount(island, minlength=islands.count)
    member = row[size[island] == members].reshape(-1, members)
    registry = rows.registry[member].astype(np.int64)
    single = (np.diff(registry, axis=1) > 0).all(axis=1)
    member, registry = member[single], registry[single]
    return Groups(rows.pass_index[member[:, 0]].astype(np.int64), registry, member)


def _only(found: Groups, which: npt.NDArray[np.generic]) -> Groups:
    return Groups(found.pass_index[which], found.registry[which], found.member[which])


def _items(
    found: Groups, flags: Bools, distance: npt.NDArray[np.float64], *, labels: bool
) -> Items:
    where = np.column_stack([found.pass_index, found.registry]).astype(np.uint8) * labels
    exact = np.column_stack([where, np.packbits(flags.reshape(len(flags), -1), axis=1)])
    return Items(np.ascontiguousarray(exact), distance.reshape(len(distance), -1))


def _sealed(view: View, member: I64) -> tuple[I64, tuple[Bools, npt.NDArray[np.float64]]]:
    """Islands of which every pair was sealed: their numbers, presence and tags, distances."""
    pairs, rows = view.pairs, view.rows.count
    order = np.argsort(pairs.left * rows + pairs.right)
    key = (pairs.left * rows + pairs.right)[order]
    at = []
    for i, j in couples(member.shape[1]):
        wanted = member[:, i] * rows + member[:, j]
        place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        at.append(np.where(key[place] == wanted, order[place], -1))
    found = np.column_stack(at)
    whole = np.flatnonzero((found >= 0).all(axis=1))
    flags = np.concatenate([pairs.present[found[whole]], pairs.tags[found[whole]]], axis=2)
    distance = pairs.distance[found[whole]].astype(np.float64)
    distance[distance == MISSING] = -1
    return whole, (flags, distance)


def _first_design(view: View, member: I64) -> tuple[Bools, npt.NDArray[np.float64]]:
    """Each side's nulls, equal tags and distances of 512 samples, for every pair."""
    schema, secrets = view.schema, view.secrets
    if secrets.fixed is None:
        raise ValueError("this view was made without sketches")
    parts = split_fixed(schema, secrets.fixed)
    record = secrets.record[member]
    truth = Predictor(schema, view.population.values, clear=True)
    flags, expected = truth.features(record)
    sketched = np.flatnonzero([field.has_sketch for field in schema.fields])
    rng = np.random.default_rng(5)
    columns = []
    for number, (i, j) in enumerate(couples(member.shape[1])):
        both = parts.sketches[record[:, i]] ^ parts.sketches[record[:, j]]
        differing = np.bitwise_count(both).sum(axis=2, dtype=np.int64)
        drawn = rng.hypergeometric(differing, SKETCH_BITS - differing, FIRST_DESIGN_BITS)
        columns.append(np.where(expected[:, number] < 0, -1.0, drawn))
    if len(sketched) != columns[0].shape[1]:
        raise ValueError("sketches and sketched fields differ")
    return flags, np.stack(columns, axis=1)
