"""What Splink is told, and where it computes: in DuckDB beside the linker, or elsewhere.

A `Database` takes rows of comparison levels and offers them as a table of one `number` and one
`level_<field>` a row. Splink's EM and its prediction run there as SQL; the numbers that describe a
comparison (m, u, λ) travel as literals, so the model that comes back holds no dialect.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kinlink_linker.compare import NULL_LEVEL, Levels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from splink import Linker
    from splink.internals.comparison import Comparison
    from splink.internals.comparison_creator import ComparisonCreator
    from splink.internals.database_api import DatabaseAPI
    from splink.internals.settings import CoreModelSettings

EM_ITERATIONS_MAX = 100
EM_CONVERGENCE = 1e-3
NUMBER = "number"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """One field as Splink compares it: m and u of its levels, the last one "none of these"."""

    field: str
    m: Floats
    u: Floats
    fix_u: bool = True
    fix_m: bool = False


class Database(Protocol):
    """Where Splink's SQL runs."""

    def opened(
        self, fields: Sequence[str], levels: Levels
    ) -> AbstractContextManager[tuple[DatabaseAPI[Any], Any]]:
        """A Splink API for the block, and a table of the levels that it can register."""


class DuckDatabase:
    """A DuckDB in memory for each use; it never touches a disk."""

    @contextmanager
    def opened(
        self, fields: Sequence[str], levels: Levels
    ) -> Iterator[tuple[DatabaseAPI[Any], pa.Table]]:
        """As `Database.opened`."""
        import duckdb
        from splink import DuckDBAPI

        columns = {_column(name): pa.array(levels[:, i]) for i, name in enumerate(fields)}
        with duckdb.connect() as connection:
            connection.execute("SET temp_directory = ''")
            table = pa.table({NUMBER: pa.array(np.arange(len(levels))), **columns})
            yield DuckDBAPI(connection=connection), table


def estimated(
    database: Database, compared: Sequence[Compared], levels: Levels, probability: float
) -> tuple[CoreModelSettings, int]:
    """Run Splink's EM on pairs.

    Args:
        database: where.
        compared: the fields with their starting m and u.
        levels: (n, fields) in the same order.
        probability: λ to start from.

    Returns:
        Splink's last parameters, and how many iterations it took.
    """
    from splink import block_on

    fields = [each.field for each in compared]
    with database.opened(fields, levels) as (api, table):
        linker = _linker(api, table, compared, probability)
        session = linker.training.estimate_parameters_using_expectation_maximisation(
            block_on(NUMBER), estimate_without_term_frequencies=True, fix_u_probabilities=False
        )
        history = session._core_model_settings_history  # noqa: SLF001 - splink shows it only as a chart
    return history[-1], len(history) - 1


def predicted(
    database: Database,
    compared: Sequence[Compared],
    levels: Levels,
    probability: float,
    floor: float,
) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Let Splink score pairs.

    Returns:
        Rows of `levels` whose match probability is at least `floor`, in order, and their match
        weights and probabilities.
    """
    fields = [each.field for each in compared]
    with database.opened(fields, levels) as (api, table):
        linker = _linker(api, table, compared, probability)
        scored: Any = linker.inference.predict(threshold_match_probability=floor)
        found = scored.as_pyarrow_table()
    rows = found[f"{NUMBER}_l"].to_numpy()
    order = np.argsort(rows)
    return (
        rows[order].astype(np.int64),
        found["match_weight"].to_numpy()[order],
        found["match_probability"].to_numpy()[order],
    )


def half_known_matches(probability: float, comparisons: Sequence[Comparison]) -> float:
    """How many matches EM sees in one pair for each level of each field, with all else missing."""
    total = 0.0
    for comparison in comparisons:
        for level in comparison.comparison_levels:
            if not level.is_null_level:
                match = probability * (level.m_probability or 0.0)
                total += match / (match + (1 - probability) * (level.u_probability or 0.0))
    return total


def _linker(
    api: DatabaseAPI[Any], table: Any, compared: Sequence[Compared], probability: float
) -> Linker:
    from splink import Linker, SettingsCreator, block_on

    logging.getLogger("splink").setLevel(logging.ERROR)
    settings = SettingsCreator(
        link_type="link_only",
        unique_id_column_name=NUMBER,
        comparisons=[_comparison(each) for each in compared],
        blocking_rules_to_generate_predictions=[block_on(NUMBER)],
        probability_two_random_records_match=probability,
        max_iterations=EM_ITERATIONS_MAX,
        em_convergence=EM_CONVERGENCE,
        retain_matching_columns=False,
    )
    sides = [api.register(table, dataset_display_name=side) for side in ("l", "r")]
    return Linker(sides, settings, validate_settings=False, log_level=None)


def _column(field: str) -> str:
    return f"level_{field}"


def _comparison(compared: Compared) -> ComparisonCreator:
    """Levels are computed before Splink: each of its levels tests for one number."""
    import splink.comparison_level_library as cll
    import splink.comparison_library as cl

    column = f"{_column(compared.field)}_l"
    last = len(compared.m) - 1
    steps: list[Any] = [cll.CustomLevel(f"{column} = {NULL_LEVEL}").configure(is_null_level=True)]
    for level in range(last + 1):
        step: Any = cll.ElseLevel()
        if level < last:
            step = cll.CustomLevel(f"{column} = {level}", label_for_charts=str(level))
        steps.append(
            step.configure(
                m_probability=float(compared.m[level]),
                u_probability=float(compared.u[level]),
                fix_u_probability=compared.fix_u,
                fix_m_probability=compared.fix_m,
            )
        )
    return cl.CustomComparison(output_column_name=compared.field, comparison_levels=steps)
