"""R9: a registry lends the linker its keys; whose records can the two read?

The attacker is the linker with one registry, the colluder. What others seal towards it, it opens.
Measured as the share of the people not on the colluder's own books of whom a record can be read:

* curious: the linkage is honest, and whoever meets the colluder's records in it is read;
* lying: everyone in an island in which the colluder has a record, the linker skipping its sieve;
* chained: who is read tells blocking values, whose keys the colluder can derive, so it proves a
  presence it does not have and reads the islands of other passes, and so on. In plain mode that
  costs nothing; with the key server, the default, each key is bought out of the budget;
* through the sieve, which nothing counts: `harvest` decodes what the real functions give.

A partner quota bounds lying and chaining: it is set here to what an honest linkage needs, half as
much again, at least 1 %. Classical: a filter a field under one key, which the registry has: it
looks every record's filters up in those of a public list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding.encode import LSH
from kinlink_keyserver.settings import GROWTH_DEFAULT

from redteam.attacks.harvest import INVENTED_HANDLES, VICTIMS, read
from redteam.baselines import field_filters
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redteam.places import I64
    from redteam.population import Population
    from redteam.setting import Setting
    from redteam.view import View

READ_MAX: Final = 0.05
CLASSICAL_MIN: Final = 0.75  # some lack one of the three values
CLASSICAL_FIELDS: Final = ("sex", "dob", "name")
QUOTA_FACTOR: Final = 1.5
QUOTA_MIN: Final = 0.01
COLLUDER: Final = 0
UNBOUNDED: Final = 1e9

Bools = npt.NDArray[np.bool_]


def run(setting: Setting) -> list[Result]:
    """Curious, lying and chaining reach, the quota, and the sieve."""
    view = setting.view()
    quota = max(honest_need(view) * QUOTA_FACTOR, QUOTA_MIN)
    direct, chained = reach(view, chained=False), reach(view, chained=True)
    keyed = reach(view, chained=True, growth=GROWTH_DEFAULT - 1)
    classical = classically_read(view.population)
    strangers = strangers_of(view)[view.population.person]
    decoded = read(view, keyed.tokens, COLLUDER, strangers)
    anew = read(view, keyed.tokens, COLLUDER, strangers, drawn_anew=True)
    needed = f"quota {quota:.1%} of a registry's records, half as much again as honestly needed"
    exact = [index for index in range(len(view.schema.passes)) if not _fuzzy(view, index)]

    def result(measure: str, value: float, **more: object) -> Result:
        title = "one registry with the linker: others' people read"
        return Result("R9", title, setting.label, setting.seed, measure, value, **more)  # type: ignore[arg-type]

    return [
        result(
            "curious: what an honest linkage seals to the colluder",
            curious(view, range(len(view.schema.passes))),
            target=READ_MAX,
            classical=classical,
            classical_min=CLASSICAL_MIN,
            detail=f"{curious(view, exact):.1%} by exact passes alone",
        ),
        result(
            "lying: all of the colluder's islands, within the quota",
            direct.within(view, quota),
            target=READ_MAX,
            detail=f"{needed}; {direct.share:.1%} without",
        ),
        result(
            "chained, within the quota and the key server's default budget",
            keyed.within(view, quota),
            target=READ_MAX,
            classical=classical,
            classical_min=CLASSICAL_MIN,
            detail=f"{needed}; {keyed.share:.1%} without",
        ),
        result(
            "chained, within the quota, plain mode",
            chained.within(view, quota),
            detail=f"{needed}; {chained.share:.1%} without",
        ),
        result(
            "through sieve words, which no quota counts",
            keyed.share * decoded,
            target=READ_MAX,
            classical=classical,
            classical_min=CLASSICAL_MIN,
            detail=(
                f"of {VICTIMS} strangers in reach {decoded:.0%} have a place, birth date or name"
                " read that was not known; did each of"
                f" {INVENTED_HANDLES} invented handles show other bits, {anew:.0%}"
            ),
        ),
    ]


def classically_read(population: Population, victims: int = VICTIMS) -> float:
    """Share of some strangers' records read by the key's holder from filters a field."""
    key = bytes(32)
    strangers = np.flatnonzero(population.registry != COLLUDER)
    chosen = np.random.default_rng(0).permutation(strangers)[:victims].tolist()
    right = np.zeros(len(chosen), np.int64)
    for name in CLASSICAL_FIELDS:
        listed = sorted({value for value in population.people[name] if value})
        filters = field_filters(listed, key)
        book = {each.tobytes(): value for each, value in zip(filters, listed, strict=True)}
        held = [population.values[name][record] for record in chosen]
        seen = [book.get(each.tobytes()) for each in field_filters(held, key)]
        right += [value is not None and value == own for value, own in zip(seen, held, strict=True)]
    return float((right == len(CLASSICAL_FIELDS)).mean())


@dataclass(frozen=True)
class Reach:
    """Records of others that a colluder gets to read, and the share of their people."""

    records: Bools  # (records,)
    share: float
    tokens: Bools  # (tokens,) whose blocking values it knows, and which are within the cap

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


def curious(view: View, passes: Sequence[int]) -> float:
    """Share of strangers a record of whom an honest linkage seals to the colluder."""
    registry, record = view.population.registry, view.secrets.record
    sealed = np.isin(view.pairs.pass_index, list(passes))
    left, right = record[view.pairs.left[sealed]], record[view.pairs.right[sealed]]
    met = np.concatenate([right[registry[left] == COLLUDER], left[registry[right] == COLLUDER]])
    strangers = strangers_of(view)
    people = np.unique(view.population.person[met])
    return float(strangers[people].sum() / max(int(strangers.sum()), 1))


def _fuzzy(view: View, index: int) -> bool:
    return any(part.transform == LSH for part in view.schema.passes[index].parts)


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


def reach(view: View, *, chained: bool, growth: float = UNBOUNDED) -> Reach:
    """Whom the colluder reads without a quota, from its own records' tokens on.

    `growth` is the share of its own values of each pass that a key server evaluates beyond them;
    it is spent on the fullest islands first. Plain mode knows no bound.
    """
    rows, population, record = view.rows, view.population, view.secrets.record
    caps = np.array([each.cap for each in view.schema.passes])
    group = rows.token * len(population.names) + rows.registry
    _, place, counts = np.unique(group, return_inverse=True, return_counts=True)
    fits = counts[place.reshape(-1)] + 1 <= caps[rows.pass_index]
    size = np.bincount(rows.token[fits], minlength=rows.tokens)
    of_pass = np.zeros(rows.tokens, np.int64)
    of_pass[rows.token] = rows.pass_index
    own = population.registry == COLLUDER
    known = np.zeros(rows.tokens, bool)
    known[rows.token[own[record]]] = True
    left = np.bincount(of_pass[known], minlength=len(caps)) * growth
    while True:
        read = own.copy()
        read[record[known[rows.token] & fits]] = True
        heard = np.unique(rows.token[read[record]])
        fresh = heard[~known[heard]]
        fresh = fresh[np.argsort(-size[fresh], kind="stable")]
        rank = _rank(of_pass[fresh])
        bought = fresh[rank < left[of_pass[fresh]]]
        if not chained or not len(bought):
            break
        known[bought] = True
        left -= np.bincount(of_pass[bought], minlength=len(caps))
    strangers = strangers_of(view)
    reached = np.unique(population.person[read & ~own])
    share = strangers[reached].sum() / max(int(strangers.sum()), 1)
    opened = np.zeros(rows.tokens, bool)
    opened[rows.token[known[rows.token] & fits]] = True
    return Reach(read & ~own, float(share), opened)


def _rank(kinds: I64) -> I64:
    """How many of the same kind stand before each."""
    order = np.argsort(kinds, kind="stable")
    first = np.searchsorted(kinds[order], kinds[order], side="left")
    rank = np.empty(len(kinds), np.int64)
    rank[order] = np.arange(len(kinds)) - first
    return rank
