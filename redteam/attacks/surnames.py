"""R1: surnames read inside islands from the distances of names and a public list of names.

The attacker is the linker with a public name list (an independent draw of the same population, by
registry). In an island whose pass leaves the surname open it sees how far names are apart, pair by
pair. Distances tell more than equality: how many tokens two surnames share depends on which
surnames they are, and the attacker tabulates that on the public list under a key of its own. Belief
propagation then finds each member's likeliest surname.

The measure is the share of right guesses among members of such islands, minus the share that the
constant guess gets there (the commonest surname of the registry).

First design: surnames a field of their own, all members of an island sealed alike with 512 samples,
so every pair is seen. It must gain 10 points at the cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.chinese import split_name
from kinlink_core.encoding.features import sketch_tokens
from kinlink_core.encoding.schema import SAMPLE_BITS
from scipy.sparse import csr_array
from scipy.stats import norm

from redteam.attacks.beliefs import Edges, beliefs
from redteam.attacks.crowds import GIVEN_NAMES, YEAR_PLACES, Crowd, all_pairs, crowd, joined
from redteam.meetings import MISSING
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.encoding.schema import Field

    from redteam.places import I64
    from redteam.population import Population
    from redteam.setting import Setting

GAIN_MAX: Final = 0.02
FIRST_DESIGN_GAIN_MIN: Final = 0.10
FIRST_DESIGN_BITS: Final = 512
FIRST_DESIGN_ISLANDS: Final = 60

SURNAMES: Final = 150
OTHERS: Final = 6  # rare surnames that stand for the rest
GIVEN_SAMPLES: Final = 30
BIN_BITS: Final = 4
SAME_NAME_MAX: Final = 0.12
_ANGLES: Final = 256

Table = npt.NDArray[np.float32]  # (kinds, labels, labels)


@dataclass(frozen=True)
class PublicList:
    """What a public list of names tells: surnames by registry, given names."""

    surnames: tuple[str, ...]  # the commonest, then a few that stand for the rest
    prior: npt.NDArray[np.float64]  # (registries, SURNAMES + 1), the last is "another"
    given: tuple[str, ...]

    @classmethod
    def of(cls, public: Population) -> PublicList:
        """Count a population that nobody linked."""
        names = [split_name(name or "") for name in public.values["name"]]
        distinct, code = np.unique([family for family, _ in names], return_inverse=True)
        order = np.argsort(-np.bincount(code))
        rest = np.linspace(SURNAMES, len(order) - 1, OTHERS).astype(int)
        kept = order[np.concatenate([np.arange(SURNAMES), rest])]
        label = np.full(len(distinct), SURNAMES)
        label[order[:SURNAMES]] = np.arange(SURNAMES)
        prior = np.zeros((len(public.names), SURNAMES + 1))
        np.add.at(prior, (public.registry, label[code]), 1)
        national = prior.sum(axis=0) / prior.sum()
        # A registry's own counts, steadied by the national shares.
        prior += 50 * national
        rng = np.random.default_rng(0)
        drawn = [names[i][1] for i in rng.integers(0, len(names), 2_000).tolist()]
        return cls(
            tuple(distinct[kept].tolist()),
            prior / prior.sum(axis=1, keepdims=True),
            tuple(given for given in drawn if given),
        )


def run(setting: Setting) -> list[Result]:
    """Gains at the cap and in the islands of the shipped passes."""
    view = setting.view()
    public = PublicList.of(setting.public())
    field = view.schema.field("name")
    islands_max = 60 if setting.quick else 300

    def result(measure: str, value: float, **more: object) -> Result:
        title = "surname gain over the constant guess inside islands"
        return Result("R1", title, setting.label, setting.seed, measure, value, **more)  # type: ignore[arg-type]

    found = []
    for what, passes in (("given name fixed", GIVEN_NAMES), ("name open", YEAR_PLACES)):
        met = crowd(view.schema, setting.population(), passes, islands_max=islands_max)
        tables = _tables(field, public, fixed=what == "given name fixed")
        gain = _gain(met, setting.population().values["name"], public, tables)
        found.append(result(f"islands at the cap, {what}", gain, target=GAIN_MAX))
    first = _first_design(field, public, setting.seed)
    found[0] = result(
        found[0].measure,
        found[0].value,
        target=GAIN_MAX,
        classical=first,
        classical_min=FIRST_DESIGN_GAIN_MIN,
        detail="first design: surname its own field, whole-island keys, 512 samples, n = 12",
    )
    return found


def _gain(
    met: Crowd, names: Sequence[str | None], public: PublicList, tables: list[Table]
) -> float:
    """Right guesses minus right constant guesses, as a share of all members."""
    distance, seen = _name_distance(met)
    same = seen & (distance <= SAME_NAME_MAX * SAMPLE_BITS) & met.pairs.tags[:, 0]
    person = joined(len(met.record), met.node_l[same], met.node_r[same])
    first = np.unique(person, return_index=True)[1]
    left, right = person[met.node_l], person[met.node_r]
    used = seen & (left != right)
    edges = Edges(left[used], right[used], distance[used].astype(np.int64) // BIN_BITS)
    prior = public.prior[met.registry[first]]
    island = met.island[first]
    chosen = _likeliest(edges, island, prior.mean(axis=0), tables)
    kinds = len(tables[0])
    known = Edges(edges.left, edges.right, edges.kind + kinds * chosen[island[edges.left]])
    guess = beliefs(prior, known, np.concatenate(tables))[:, :SURNAMES].argmax(axis=1)[person]
    constant = public.prior[:, :SURNAMES].argmax(axis=1)[met.registry]
    truth = [split_name(names[i] or "")[0] for i in met.record.tolist()]
    title = np.array(public.surnames)
    return float((title[guess] == truth).mean() - (title[constant] == truth).mean())


def _name_distance(met: Crowd) -> tuple[I64, npt.NDArray[np.bool_]]:
    distance = met.pairs.distance[:, 0].astype(np.int64)
    return distance, distance != MISSING


def _likeliest(
    edges: Edges, island: I64, prior: npt.NDArray[np.float64], tables: list[Table]
) -> I64:
    """Which table (how long the island's given name is) fits an island's distances best."""
    score = np.zeros((len(tables), int(island.max(initial=0)) + 1))
    for number, table in enumerate(tables):
        by_kind = np.log(np.einsum("i,kij,j->k", prior, table, prior))
        np.add.at(score[number], island[edges.left], by_kind[edges.kind])
    best: I64 = score.argmax(axis=0)
    return best


def _tables(field: Field, public: PublicList, *, fixed: bool) -> list[Table]:
    """P(bin of the distance | two surnames), one table for each length of a fixed given name."""
    rng = np.random.default_rng(0)
    if not fixed:
        draws = [(rng.choice(public.given, 2 * len(public.surnames))) for _ in range(GIVEN_SAMPLES)]
        half = len(public.surnames)
        return [_table([_angles(field, public, d[:half], d[half:]) for d in draws], SAMPLE_BITS)]
    by_length: dict[int, list[str]] = {}
    for given in public.given:
        by_length.setdefault(len(sketch_tokens(field, given)), []).append(given)
    common = [group for group in by_length.values() if len(group) >= 0.02 * len(public.given)]
    return [
        _table(
            [
                _angles(field, public, [given] * len(public.surnames))
                for given in rng.choice(group, GIVEN_SAMPLES).tolist()
            ],
            SAMPLE_BITS,
        )
        for group in common
    ]


def _angles(
    field: Field, public: PublicList, given: Sequence[str], other: Sequence[str] | None = None
) -> npt.NDArray[np.float64]:
    """Expected Hamming fraction of every pair of surnames, with some given names."""
    one = [sketch_tokens(field, s + g) for s, g in zip(public.surnames, given, strict=True)]
    two = one
    if other is not None:
        two = [sketch_tokens(field, s + g) for s, g in zip(public.surnames, other, strict=True)]
    return angles(one, two)


def angles(
    one: Sequence[tuple[str, ...]], two: Sequence[tuple[str, ...]]
) -> npt.NDArray[np.float64]:
    """Angle/π of every token set of `one` with every one of `two`."""
    index: dict[str, int] = {}

    def members(sets: Sequence[tuple[str, ...]]) -> csr_array:
        at = [index.setdefault(token, len(index)) for tokens in sets for token in tokens]
        offsets = np.cumsum([0, *map(len, sets)])
        return csr_array((np.ones(len(at)), at, offsets), shape=(len(sets), 100_000))

    left, right = members(one), members(two)
    sizes = np.sqrt(np.outer([len(set(s)) for s in one], [len(set(s)) for s in two]))
    return np.asarray(np.arccos(np.minimum((left @ right.T).toarray() / sizes, 1)) / np.pi)


def _table(samples: Sequence[npt.NDArray[np.float64]], bits: int) -> Table:
    """Likelihood of each bin of `BIN_BITS`, averaged over samples of expected fractions."""
    by_angle = _by_angle(bits)
    total = np.zeros((bits // BIN_BITS + 1, SURNAMES + 1, SURNAMES + 1), np.float32)
    for sample in samples:
        level = np.minimum((sample * _ANGLES).round().astype(int), _ANGLES - 1)
        table = np.moveaxis(by_angle[level], 2, 0)
        total[:, :-1, :-1] += table[:, :SURNAMES, :SURNAMES]
        total[:, -1, :-1] += table[:, SURNAMES:, :SURNAMES].mean(axis=1)
        total[:, :-1, -1] += table[:, :SURNAMES, SURNAMES:].mean(axis=2)
        total[:, -1, -1] += table[:, SURNAMES:, SURNAMES:].mean(axis=(1, 2))
    mean: Table = total / len(samples) + 1e-6
    return np.asarray((mean + np.swapaxes(mean, 1, 2)) / 2, np.float32)


@lru_cache(maxsize=4)
def _by_angle(bits: int) -> npt.NDArray[np.float32]:
    """(angles, bins) probability of a bin of sampled distance at each expected fraction."""
    fraction = np.arange(_ANGLES)[:, None] / _ANGLES
    sigma = np.sqrt(np.maximum(fraction * (1 - fraction) * bits, 1e-6))
    edge = np.arange(bits // BIN_BITS + 2) * BIN_BITS - 0.5
    return np.diff(norm.cdf((edge - fraction * bits) / sigma), axis=1).astype(np.float32)


def _first_design(field: Field, public: PublicList, seed: int) -> float:
    """The same attack on islands of 12 strangers, sealed as the first design sealed them."""
    rng = np.random.default_rng([seed, 12])
    exact = angles(*[[sketch_tokens(field, surname) for surname in public.surnames]] * 2)
    share = public.prior.mean(axis=0)
    island = np.repeat(np.arange(FIRST_DESIGN_ISLANDS), 12)
    label = rng.choice(SURNAMES + 1, len(island), p=share)
    left, right = all_pairs(island)
    # A surname outside of the attacker's list is one of those that stand for the rest.
    surname = np.where(label < SURNAMES, label, SURNAMES + rng.integers(0, OTHERS, len(label)))
    differing = rng.binomial(FIRST_DESIGN_BITS, exact[surname[left], surname[right]])
    differing[surname[left] == surname[right]] = 0
    prior = np.tile(share, (len(island), 1))
    table = _table([exact], FIRST_DESIGN_BITS)
    found = beliefs(prior, Edges(left, right, differing // BIN_BITS), table)
    right_guesses = found[:, :SURNAMES].argmax(axis=1) == label
    return float(right_guesses.mean() - (label == share[:SURNAMES].argmax()).mean())
