"""The ideal Bayes linker: it knows the true m and u of the generator.

The score of a pair is log P(found notice | family's notice, same person) - log P(found notice).
Every attribute of a found notice errs on its own given the child, so

    score = log P(b | z) - log P(b) + sum over attributes of log P(b_i | a) - log P(b_i | z),

where z is the stratum of the family's notice: category, band of the age at loss, and sex. It is an
upper bound for what any linker can find in the same notices. Relatives and neighbours of a child
are scored as strangers are: nobody has told the linker that they were put there.
"""

from __future__ import annotations

from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion import blood, faces, terms
from kinlink_local.reunion.children import SEXES
from kinlink_local.reunion.divisions import divisions, flow
from kinlink_local.reunion.evidence import (
    LEAST,
    READINGS,
    UNKNOWN,
    FamilySide,
    FoundSide,
    places,
    read_family_side,
    read_found_side,
)
from kinlink_local.reunion.found_side import INFANT_CATEGORIES, RESCUED
from kinlink_local.reunion.ideal_dates import (
    JointDates,
    lunar_origins,
    share_inside,
    span_given_span,
    sums,
)
from kinlink_local.reunion.ideal_names import Names
from kinlink_local.reunion.marginals import band_of, who

if TYPE_CHECKING:
    from kinlink_local.reunion.notices import Notices

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
BANDS: Final = len(assumed.AGE_BANDS)
STRATA: Final = tuple(product(range(len(assumed.CATEGORIES)), range(BANDS), range(2)))


class IdealLinker:
    """Scores families' notices against found people's.

    Args:
        family: notices of families (A).
        found: notices of found people (B).
        regime: in which they were drawn.
    """

    def __init__(self, family: Notices, found: Notices, regime: str) -> None:
        self._a: FamilySide = read_family_side(family)
        self._b: FoundSide = read_found_side(found)
        self._regime = assumed.REGIMES[regime]
        self._names = Names(self._a, self._b)
        strata = self._log_given_stratum()
        prior = np.log(_stratum_shares())
        top = (strata + prior[:, None]).max(axis=0)
        log_b = top + np.log(np.exp(strata + prior[:, None] - top).sum(axis=0))
        self._stratum_lift = (strata - log_b).astype(np.float32)

    def scores(self, rows: Ints) -> Floats32:
        """Natural log likelihood ratios of some families' notices and all found (rows, found).

        Of all but the photographs: `face_scores` is added where they count.
        """
        a, b = self._a, self._b
        stratum = (a.category[rows] * BANDS + a.band[rows]) * 2 + a.sex[rows]
        total: Floats32 = self._stratum_lift[stratum]
        total += self._dates(rows)
        total += self._places(rows)
        total += self._names.lift(rows)
        total += self._sets(rows)
        total += _blood_lift()[a.parents[rows, 0], a.parents[rows, 1], a.blood[rows]][:, b.blood]
        total += self._siblings[a.siblings[rows]][:, b.siblings]
        self._add_heights(total, rows)
        return total

    def face_scores(self, rows: Ints) -> Floats32:
        """Natural log likelihood ratios of photographs, 0 where one is missing (rows, found)."""
        a, b = self._a, self._b
        found = np.zeros((len(rows), len(b)), np.float32)
        some = np.flatnonzero(a.photo_age[rows] != UNKNOWN)
        columns = np.flatnonzero(b.photo_age != UNKNOWN)
        cosine = a.faces[rows[some]] @ b.faces[columns].T
        step = ((cosine + 1) * (faces.COSINE_STEPS / 2)).astype(np.int64)
        kind = faces.gap_class(a.photo_age[rows[some]][:, None], b.photo_age[columns])
        found[np.ix_(some, columns)] = faces.log_lift()[kind, np.clip(step, 0, faces.COSINE_STEPS)]
        return found

    # What the found side says, given no more than a stratum.

    def _log_given_stratum(self) -> Floats:
        b, regime = self._b, self._regime
        recalled = [
            (b.place != UNKNOWN, regime.place),
            (np.array([form != UNKNOWN for _, form in b.nickname]), regime.nickname),
            (_known(b.names["family_surname"]), regime.surname),
            (_known(b.names["father_name"]), regime.parent),
            (_known(b.names["mother_name"]), regime.parent),
            (_known(b.names["sibling_names"]), regime.sibling),
            (b.siblings != UNKNOWN, regime.siblings),
            (b.memories_known, regime.memory),
        ]
        # The marginals of names and marks are the same in every stratum and cancel.
        by_band = np.zeros((BANDS, len(b)))
        for known, rates in recalled:
            rate = np.array(rates)[:, None]
            by_band += np.where(known, np.log(rate), np.log1p(-rate))
        by_band += self._memories_given_band()
        by_sex = self._place_given_sex() + self._names.nickname_given_sex()
        by_sex += np.where(b.sex == np.arange(2)[:, None], 1 - assumed.SEX_ERROR, assumed.SEX_ERROR)
        found = np.zeros((len(STRATA), len(b)))
        for number, (category, band, sex) in enumerate(STRATA):
            dates = self._date_margins[category * BANDS + band]
            believed = np.where(
                b.category == category,
                assumed.CATEGORY_RIGHT,
                (1 - assumed.CATEGORY_RIGHT) / (len(assumed.CATEGORIES) - 1),
            )
            found[number] = dates + by_band[band] + by_sex[sex]
            found[number] += np.where(b.category == UNKNOWN, 0, np.log(believed))
        return found

    def _kernels(self, category: int, band: int) -> tuple[str, str]:
        """Kernels of the dates of birth of others and of rescued minors."""
        if not self._regime.dates_from_table:
            return "hard", "hard"
        infant = category in INFANT_CATEGORIES and band == 0
        return ("estimated" if infant else "table"), "estimated"

    def _dates_given_stratum(self, joint: JointDates, category: int, band: int) -> Floats:
        found = np.zeros(len(self._b))
        for name, rows in zip(self._kernels(category, band), self._by_rescue, strict=True):
            found[rows] = joint.log(category, band, name, rows)
        return found

    @cached_property
    def _by_rescue(self) -> tuple[Ints, Ints]:
        rescued = self._b.found_as == RESCUED
        return np.flatnonzero(~rescued), np.flatnonzero(rescued)

    def _place_given_sex(self) -> Floats:
        """Log P(place recalled, province where found | sex) (2, found)."""
        where, b = divisions(), self._b
        by_province = np.zeros((len(where.provinces), len(places())))
        share = np.bincount(where.prefecture_of_county, where.losses)
        for prefecture, province in enumerate(where.province_of_prefecture.tolist()):
            by_province[province] += share[prefecture] * _place_table()[prefecture]
        counties = np.arange(len(where.counties))
        by_province[where.province_of_county, counties] += assumed.PLACE_COUNTY * where.losses
        provinces = np.bincount(where.province_of_county, where.losses)
        found = np.zeros((2, len(b)))
        for number, sex in enumerate(SEXES):
            recalled = by_province.T @ flow(sex)
            silent = (provinces @ flow(sex))[b.province]
            found[number] = np.log(
                np.where(b.place == UNKNOWN, silent, recalled[b.place, b.province])
            )
        return found

    def _memories_given_band(self) -> Floats:
        b = self._b
        share = terms.shares(len(terms.memories()), assumed.MEMORIES_MEAN)
        new = terms.shares(len(terms.memories()), assumed.MEMORIES_NEW)
        kept = np.array(self._regime.memory_kept)[:, None]
        there = 1 - (1 - kept * share) * (1 - new)
        log = np.log(there) @ b.memories.T + np.log1p(-there) @ ~b.memories.T
        return np.where(b.memories_known, log, 0.0)

    # Attributes, given a family's notice, relative to what its stratum alone says.

    def _dates(self, rows: Ints) -> Floats32:
        a, b = self._a, self._b
        birth = np.zeros((len(rows), len(b)))
        trace = np.zeros((len(rows), len(b)))
        infant = np.isin(a.category[rows], INFANT_CATEGORIES) & (a.band[rows] == 0)
        for reading in range(READINGS):
            for kind in (False, True):
                some = np.flatnonzero((a.birth_weight[rows, reading] > 0) & (infant == kind))
                if not len(some):
                    continue
                spans = a.birth[rows[some], reading]
                weight = a.birth_weight[rows[some], reading][:, None]
                names = self._kernels(INFANT_CATEGORIES[0], 0 if kind else BANDS - 1)
                for name, columns in zip(names, self._by_rescue, strict=True):
                    share = span_given_span(sums(name), spans, b.birth[columns])
                    if name == "table":
                        inside = share_inside(spans, self._origins[columns])
                        share += assumed.LUNAR_READ_AS_SOLAR * inside
                    birth[np.ix_(some, columns)] += weight * share
            some = np.flatnonzero(a.lost_weight[rows, reading] > 0)
            if len(some):
                share = span_given_span(sums("trace"), a.lost[rows[some], reading], b.trace)
                trace[some] += a.lost_weight[rows[some], reading][:, None] * share
        trace[:, b.trace[:, 1] < b.trace[:, 0]] = 1.0
        found = np.log(np.maximum(birth, LEAST)) + np.log(np.maximum(trace, LEAST))
        found -= self._date_margins[(a.category[rows] * BANDS + a.band[rows])]
        return found.astype(np.float32)

    @cached_property
    def _origins(self) -> Ints:
        return lunar_origins(self._b.birth)

    @cached_property
    def _date_margins(self) -> Floats:
        """Log P(dates | category, band) (categories x bands, found)."""
        joint = JointDates(self._b.birth, self._b.trace)
        known: dict[object, Floats] = {}
        found = []
        for category, band in product(range(len(assumed.CATEGORIES)), range(BANDS)):
            # Ages within a band depend on the category by its leaning alone.
            leaning = assumed.AGE_LEAN[assumed.CATEGORIES[category]]
            key = (leaning, band, self._kernels(category, band))
            if key not in known:
                known[key] = self._dates_given_stratum(joint, category, band)
            found.append(known[key])
        return np.stack(found)

    def _places(self, rows: Ints) -> Floats32:
        a, b = self._a, self._b
        where = divisions()
        county = a.county[rows]
        prefecture = where.prefecture_of_county[county]
        recalled = _place_table().take(b.place, axis=1)[prefecture]
        exact = (b.place == county[:, None]) & (b.place != UNKNOWN)
        recalled[exact] += assumed.PLACE_COUNTY
        recalled[:, b.place == UNKNOWN] = 1.0
        moved = np.stack([flow(sex) for sex in SEXES])
        moved = moved[a.sex[rows], where.province_of_county[county]][:, b.province]
        found = np.log(recalled) + np.log(moved) - self._place_margins[a.sex[rows]]
        return found.astype(np.float32)

    @cached_property
    def _place_margins(self) -> Floats:
        return self._place_given_sex()

    def _sets(self, rows: Ints) -> Floats32:
        a, b = self._a, self._b
        marks = _set_lift(
            a.marks[rows],
            self._seen[0],
            share=terms.shares(len(terms.marks()), assumed.MARKS_MEAN),
            new=terms.shares(len(terms.marks()), assumed.MARKS_NEW),
            shown=assumed.MARK_SHOWN,
            kept=np.full(len(rows), assumed.MARK_KEPT),
        )
        memories = _set_lift(
            a.memories[rows],
            self._seen[1],
            share=terms.shares(len(terms.memories()), assumed.MEMORIES_MEAN),
            new=terms.shares(len(terms.memories()), assumed.MEMORIES_NEW),
            shown=assumed.MEMORY_SHOWN,
            kept=np.array(self._regime.memory_kept)[a.band[rows]],
        )
        found: Floats32 = marks * np.outer(a.marks_known[rows], b.marks_known)
        found += memories * np.outer(a.memories_known[rows], b.memories_known)
        return found

    @cached_property
    def _seen(self) -> tuple[Floats32, Floats32]:
        marks, memories = (
            np.ascontiguousarray(sets.T, np.float32) for sets in (self._b.marks, self._b.memories)
        )
        return marks, memories

    @cached_property
    def _siblings(self) -> Floats32:
        """Log lift by numbers of siblings; the last row and column are unknown."""
        share = np.array(assumed.SIBLING_COUNTS)
        most = len(share) - 1
        other = 1 - assumed.SIBLINGS_EQUAL - assumed.SIBLINGS_NEAR
        table = np.eye(most + 1) * assumed.SIBLINGS_EQUAL + other * share
        for count in range(most + 1):
            for step in (-1, 1):
                near = abs(count + step)
                near = most - 1 if near > most else near
                table[count, near] += assumed.SIBLINGS_NEAR / 2
        found = np.zeros((most + 2, most + 2), np.float32)
        found[:-1, :-1] = np.log(table / (share @ table))
        return found

    def _add_heights(self, total: Floats32, rows: Ints) -> None:
        columns = np.flatnonzero(~np.isnan(self._b.height))
        some = np.flatnonzero(~np.isnan(self._a.height[rows]))
        if not len(columns) or not len(some):
            return
        rho = assumed.HEIGHT_CORRELATION
        seen, told = self._b.height[columns], self._a.height[rows[some]][:, None]
        spread = 1 - rho**2
        lift = (seen**2 - (seen - rho * told) ** 2 / spread - np.log(spread)) / 2
        total[np.ix_(some, columns)] += lift.astype(np.float32)


def _known(heard: list[str]) -> NDArray[np.bool_]:
    return np.array([bool(each) for each in heard])


def _set_lift(
    told: NDArray[np.bool_],
    seen: Floats32,
    *,
    share: Floats,
    new: Floats,
    shown: float,
    kept: Floats,
) -> Floats32:
    """Log P(seen set | told set) - log P(seen set): terms are independent (rows, found).

    Args:
        told: sets of the family side (rows, terms).
        seen: sets of the found side, 0 or 1 (terms, found).
        share: P(a term is true of the child).
        new: P(the found side has it from elsewhere).
        shown: P(the family tells a true term).
        kept: P(the found side has a true term), a row.
    """
    keep = kept[:, None]
    untold = share * (1 - shown) / (1 - share * shown)
    any_ = 1 - (1 - keep * share) * (1 - new)
    with_ = 1 - (1 - keep) * (1 - new)
    without = 1 - (1 - keep * untold) * (1 - new)
    there = np.where(told, with_, without)
    hit = np.log(there / any_)
    miss = np.log((1 - there) / (1 - any_))
    weights = (hit - miss).astype(np.float32)
    found: Floats32 = weights @ seen + miss.sum(axis=1).astype(np.float32)[:, None]
    return found


@cache
def _blood_lift() -> Floats32:
    found: Floats32 = np.log(blood.lift()).astype(np.float32)
    return found


@cache
def _place_table() -> Floats:
    """P(place recalled | prefecture of loss), but for the exact county (prefectures, places)."""
    where = divisions()
    counties, prefectures = len(where.counties), len(where.prefectures)
    table = np.zeros((prefectures, len(places())))
    table[:, :counties] = assumed.PLACE_WRONG * where.losses
    share = np.bincount(where.prefecture_of_county, where.losses)
    table[:, counties : counties + prefectures] = assumed.PLACE_WRONG * share
    by_province = np.bincount(where.province_of_county, where.losses)
    table[:, counties + prefectures :] = assumed.PLACE_WRONG * by_province
    for number, near in enumerate(where.neighbours):
        table[number, counties + number] += assumed.PLACE_PREFECTURE
        others = near if len(near) else np.array([number])
        table[number, counties + others] += assumed.PLACE_NEIGHBOUR / len(others)
        province = counties + prefectures + where.province_of_prefecture[number]
        table[number, province] += assumed.PLACE_PROVINCE
    return table


def _stratum_shares() -> Floats:
    table = who()
    bands = band_of(np.arange(assumed.AGES))
    return np.array([
        max(table[category, bands == band, sex].sum(), LEAST) for category, band, sex in STRATA
    ])  # fmt: skip
