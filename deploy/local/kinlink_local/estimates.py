"""What the linker expected without truth, beside what the truth says.

A rehearsal with a truth is the only place where both are known. What the passes and the sieve lost
is known within bounds only: the truth can tell which pairs the passes made candidates, before the
sieve, and which were disclosed, after it and the floor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import duckdb

    from kinlink_local.quality import Quality

# Of the pairs above the disclosure floor; tables as `quality` makes them.
_CALIBRATION_SQL: Final = """
select least(floor(probability * 10), 9) / 10 as low, count(*), avg(probability),
  avg(right_pair::double)
from judged group by 1 order by 1
"""
_REGISTRY_SQL: Final = """
with linked as (
  select registry, count(*) as links, count(*) filter (right_pair) as hits
  from (
    select registry_l as registry, right_pair from judged where linked
    union all select registry_r, right_pair from judged where linked
  ) group by all
), sizes as (
  select person, registry, count(*) as n from truth group by all
), partners as (
  select own.registry, sum(own.n * other.n) as true_pairs
  from sizes own join sizes other on own.person = other.person and own.registry <> other.registry
  group by all
)
select registry, hits / links, hits / true_pairs
from linked join partners using (registry) order by registry
"""
_DISCLOSED_SQL: Final = "select count(*) filter (right_pair) from judged"


def calibration(connection: duckdb.DuckDBPyConnection) -> list[dict[str, float]]:
    """Disclosed pairs by tenths of probability: how many, the mean, and the share that is right."""
    return [
        {"low": low, "pairs": pairs, "expected": expected, "true": true}
        for low, pairs, expected, true in connection.execute(_CALIBRATION_SQL).fetchall()
    ]


def compare(
    connection: duckdb.DuckDBPyConnection,
    expected: dict[str, Any],
    quality: Quality,
    pair_completeness: float,
) -> dict[str, Any]:
    """Each estimate beside its truth.

    Args:
        connection: holds `judged` and `truth`.
        expected: what `LinkerClient.quality` gave.
        quality: what the truth says.
        pair_completeness: share of the true pairs that the passes made candidates.
    """
    linked, blocking = expected["linked"], expected["blocking"]
    disclosed = int(connection.execute(_DISCLOSED_SQL).fetchall()[0][0])
    share = disclosed / quality.true_pairs if quality.true_pairs else 1.0
    by_registry = {
        name: {"precision": precision, "recall": recall}
        for name, precision, recall in connection.execute(_REGISTRY_SQL).fetchall()
    }
    return {
        "precision": {
            "expected": linked["precision"],
            "true": quality.at_threshold.precision,
        },
        "recall": {
            "low": linked["recall_low"],
            "high": linked["recall_high"],
            "true": quality.at_threshold.recall,
        },
        "blocking_loss": {
            "low": blocking["loss_low"],
            "high": blocking["loss_high"],
            "true_before_sieve": 1 - pair_completeness,
            "true_below_floor": 1 - share,
        },
        "best_f1_threshold": {
            "expected": next(
                (
                    each["expected"]["probability"]
                    for each in expected["advice"]
                    if each["aim"] == "f1"
                ),
                None,
            ),
            "true": quality.best.threshold,
        },
        "registries": {
            each["registry"]: {
                "precision": {"expected": each["precision"], "true": true["precision"]},
                "recall_compared": each["recall_compared"],
                "recall": {"true": true["recall"]},
            }
            for each in expected["registries"]
            if (true := by_registry.get(each["registry"])) is not None
        },
        "calibration": calibration(connection),
    }
