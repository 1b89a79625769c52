"""What a linkage is expected to be worth: all estimates of one linkage, rounded to be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kinlink_linker.arrays import first_of_each
from kinlink_linker.expected import curve_of
from kinlink_linker.fairness import Served, worse_served
from kinlink_linker.links import weight_of
from kinlink_linker.quality import (
    BlockingLoss,
    Quality,
    RegistryQuality,
    rounded,
    share,
)
from kinlink_linker.recapture import (
    captured_by_count,
    missed_at_least,
    missed_beta_binomial,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.domain import F64, Bools, Ids, PassCounts
    from kinlink_linker.fairness import Portion
    from kinlink_linker.links import FoundLinks
    from kinlink_linker.patterns import Patterns

# Of fewer expected matches the random samples of the passes hold too few.
MATCHES_MIN: Final = 500


@dataclass(frozen=True)
class Linked:
    """The links of one linkage, as it left them before anybody decided."""

    found: Sequence[FoundLinks]
    weight_min: float
    records: Mapping[str, int]  # of each registry, those that take part


def assess(
    schema: Schema, patterns: Patterns, passes: Sequence[PassCounts], linked: Linked
) -> Quality:
    """Estimate the quality of a linkage.

    Args:
        schema: of the linkage.
        patterns: its compared pairs.
        passes: its counts, from which follows how many near pairs each pass had.
        linked: its links.
    """
    captured = captured_by_count(schema, patterns, _met(patterns, passes))
    every = captured.sum(axis=0)
    low, high = _missed(every)
    curve = curve_of(patterns, low, high)
    right = sum(float(each.probability[each.linked].sum()) for each in linked.found)
    links = sum(int(each.linked.sum()) for each in linked.found)
    offices = _Offices(patterns, captured, linked)
    return Quality(
        linked=curve.of(linked.weight_min, links, right),
        blocking=BlockingLoss(
            rounded(every.sum()),
            tuple(rounded(count) for count in every[1:]) if low is not None else (),
            None if low is None else rounded(low),
            None if high is None else rounded(high),
            *_losses(every),
        ),
        advice=curve.advise(weight_of(schema.disclosure_floor_probability)),
        weights=curve.bins(),
        registries=offices.each(),
        registry_pairs=offices.each_pair(),
    )


def _met(patterns: Patterns, passes: Sequence[PassCounts]) -> list[float]:
    """Near pairs of each pass between the registries of the patterns.

    The counts are of all pairs that were asked for; some may be of a registry that was lost.
    """
    kept = np.bincount(patterns.pass_index, patterns.count, minlength=len(passes))
    return [
        float(here * (each.sealed + each.repeated) / each.sealed) if each.sealed else 0.0
        for here, each in zip(kept, passes, strict=True)
    ]


def _missed(captured: F64) -> tuple[float | None, float | None]:
    """Lowest and highest estimate of the matches that no pass captured; None where too few were."""
    if captured.sum() < MATCHES_MIN:
        return None, None
    low, high = missed_at_least(captured), missed_beta_binomial(captured)
    return low, None if low is None or high is None else max(low, high)


def _losses(captured: F64) -> tuple[float | None, float | None]:
    low, high = (
        None if missed is None else share(missed, captured.sum() + missed)
        for missed in _missed(captured)
    )
    return low, high


@dataclass(frozen=True)
class _Sums:
    """Of the pairs between some registries, not rounded."""

    pairs: float
    captured: F64
    links: int
    right: float

    @property
    def precision(self) -> Portion:
        return self.right, self.links

    @property
    def recall(self) -> Portion:
        low, _ = _missed(self.captured)
        return self.right, float(self.captured.sum()) + (low or 0.0)


class _Offices:
    """How each registry is served; pairs of registries are chosen by a mask over all of them."""

    def __init__(self, patterns: Patterns, captured: F64, linked: Linked) -> None:
        self._between = patterns.registry_pairs
        self._pairs = np.bincount(patterns.between, patterns.count, minlength=len(self._between))
        self._captured = captured
        found = {(each.left, each.right): each for each in linked.found}
        self._found = [found.get(pair) for pair in self._between]
        self._records = linked.records
        self._names = sorted({name for pair in self._between for name in pair})
        self._linked = {
            name: self._linked_records(name, self._touching(name)) for name in self._names
        }

    def each(self) -> tuple[RegistryQuality, ...]:
        """Every registry against all others."""
        worse = worse_served({name: self._served(name) for name in self._names})
        return tuple(
            self._row(name, "", self._touching(name), self._linked[name], worse[name])
            for name in self._names
        )

    def each_pair(self) -> tuple[RegistryQuality, ...]:
        """Every registry with every partner."""
        rows = []
        for pair in self._between:
            for name, partner in (pair, pair[::-1]):
                chosen = self._touching(name) & self._touching(partner)
                rows.append(self._row(name, partner, chosen, self._linked_records(name, chosen)))
        return tuple(rows)

    def _row(
        self,
        name: str,
        partner: str,
        chosen: Bools,
        linked: int,
        worse: tuple[str, ...] = (),
    ) -> RegistryQuality:
        sums = self._sums(chosen)
        matches = float(sums.captured.sum())
        loss_low, loss_high = _losses(sums.captured)
        return RegistryQuality(
            registry=name,
            partner=partner,
            records=self._records[name],
            linked_records=rounded(linked),
            linked_share=share(linked, self._records[name]),
            pairs=rounded(sums.pairs),
            matches=rounded(matches),
            links=rounded(sums.links),
            precision=share(sums.right, sums.links),
            recall_compared=share(sums.right, matches),
            loss_low=loss_low,
            loss_high=loss_high,
            worse=worse,
        )

    def _served(self, name: str) -> Served:
        own, others = self._sums(self._touching(name)), self._sums(~self._touching(name))
        return Served(
            {
                "linked_share": self._linked_share([name]),
                "precision": own.precision,
                "recall": own.recall,
            },
            {
                "linked_share": self._linked_share([each for each in self._names if each != name]),
                "precision": others.precision,
                "recall": others.recall,
            },
        )

    def _linked_share(self, names: Sequence[str]) -> Portion:
        return sum(self._linked[name] for name in names), sum(self._records[name] for name in names)

    def _linked_records(self, name: str, chosen: Bools) -> int:
        """Records of a registry that are in a link of some pairs of registries."""
        subjects = [_subjects(each, name) for each in self._links(chosen)]
        rows = [each for each in subjects if len(each)]
        return len(first_of_each(np.concatenate(rows))) if rows else 0

    def _sums(self, chosen: Bools) -> _Sums:
        links = self._links(chosen)
        return _Sums(
            float(self._pairs[chosen].sum()),
            self._captured[chosen].sum(axis=0),
            sum(int(each.linked.sum()) for each in links),
            sum(float(each.probability[each.linked].sum()) for each in links),
        )

    def _links(self, chosen: Bools) -> list[FoundLinks]:
        return [each for each, is_one in zip(self._found, chosen, strict=True) if is_one and each]

    def _touching(self, name: str) -> Bools:
        return np.array([name in pair for pair in self._between], np.bool_)


def _subjects(found: FoundLinks, name: str) -> Ids:
    """The linked subjects of one side; none if the registry is on neither."""
    if name == found.left:
        return found.left_subject[found.linked]
    if name == found.right:
        return found.right_subject[found.linked]
    return found.left_subject[:0]
