"""How good a linkage is, against a truth: precision, recall and F1 over cross-registry pairs.

Everything is counted inside DuckDB, so a million pairs take about a second. A pair is right where
its two records belong to one person; pairs inside one registry are nobody's business here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

PAIR_COLUMNS = (
    "registry_l",
    "record_id_l",
    "registry_r",
    "record_id_r",
    "match_weight",
    "match_probability",
    "linked",
)

# Table `truth` has (registry, record_id, person), one row a record.
TRUE_PAIRS_SQL = """
with sizes as (
  select person, registry, count(*) as n from truth group by all
), totals as (
  select person, sum(n) as n, sum(n * n) as squares from sizes group by person
)
select coalesce(sum((n * n - squares) / 2), 0)::bigint from totals
"""

JUDGED_SQL = """
create or replace temp table judged as
select match_weight as weight, match_probability as probability, linked, registry_l, registry_r,
  coalesce(l.person = r.person, false) as right_pair
from pairs
left join truth l on l.registry = registry_l and l.record_id = record_id_l
left join truth r on r.registry = registry_r and r.record_id = record_id_r
"""
LINKED_SQL = """
select count(*), count(*) filter (right_pair) from judged where linked
"""
# Weights best first, each with the pairs and the right pairs at or above it.
CURVE_SQL = """
with grouped as (
  select weight, min(probability) as probability, count(*) as pairs,
    count(*) filter (right_pair) as hits
  from judged group by weight
)
select weight, probability,
  sum(pairs) over (order by weight desc)::bigint as pairs,
  sum(hits) over (order by weight desc)::bigint as hits
from grouped order by weight desc
"""


@dataclass(frozen=True)
class Score:
    """Precision, recall and F1 of the pairs at or above a threshold probability."""

    precision: float
    recall: float
    f1: float
    threshold: float
    pairs: int

    def as_json(self) -> dict[str, float]:
        """The score as the report writes it."""
        return asdict(self)


@dataclass(frozen=True)
class Quality:
    """What a truth says about a linkage.

    `at_threshold` is of the links that were made (a one-to-one schema makes fewer than there are
    pairs above the threshold), `best` of all pairs above the threshold that suits them best.
    """

    true_pairs: int
    at_threshold: Score
    best: Score

    def as_json(self) -> dict[str, Any]:
        """The quality as the report writes it."""
        return asdict(self)


def count_true_pairs(connection: duckdb.DuckDBPyConnection) -> int:
    """Pairs of records of one person in two registries; reads table `truth`."""
    return int(connection.execute(TRUE_PAIRS_SQL).fetchall()[0][0])


def measure(connection: duckdb.DuckDBPyConnection, threshold: float) -> Quality:
    """Score the pairs of table `pairs` (`PAIR_COLUMNS`) against table `truth`.

    Args:
        connection: holds `pairs` and `truth (registry, record_id, person)`.
        threshold: link threshold as a probability, as `linked` was decided by.
    """
    true_pairs = count_true_pairs(connection)
    connection.execute(JUDGED_SQL)
    linked, right = connection.execute(LINKED_SQL).fetchall()[0]
    at_threshold = score(hits=right, pairs=linked, true_pairs=true_pairs, threshold=threshold)
    scores = [
        score(hits=hits, pairs=pairs, true_pairs=true_pairs, threshold=probability)
        for _, probability, pairs, hits in connection.execute(CURVE_SQL).fetchall()
    ]
    nothing = score(hits=0, pairs=0, true_pairs=true_pairs, threshold=threshold)
    return Quality(true_pairs, at_threshold, max(scores, key=_f1, default=nothing))


def _f1(each: Score) -> float:
    return each.f1


def score(*, hits: int, pairs: int, true_pairs: int, threshold: float) -> Score:
    """Precision is 1 where nothing is linked, recall is 1 where there is nothing to find."""
    return Score(
        precision=hits / pairs if pairs else 1.0,
        recall=hits / true_pairs if true_pairs else 1.0,
        f1=2 * hits / (pairs + true_pairs) if pairs + true_pairs else 1.0,
        threshold=threshold,
        pairs=pairs,
    )
