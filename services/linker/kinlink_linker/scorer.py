"""Two ways to score the pairs of a linkage: by the model's table here, or by Splink elsewhere.

Both train through `score.train` and give the same model and the same weights; a test holds one
against the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kinlink_linker.score import Scores, score, train
from kinlink_linker.splink_database import Compared, DuckDatabase, predicted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.compare import Levels
    from kinlink_linker.model import Model
    from kinlink_linker.splink_database import Database


@dataclass(frozen=True)
class Kept:
    """Pairs of one pass that are likely enough to be looked at again."""

    rows: npt.NDArray[np.int64]  # (k,) of the levels, ascending
    scores: Scores  # of k pairs


class Scorer(ABC):
    """Trains and scores, wherever it computes."""

    def __init__(self, database: Database) -> None:
        """`database` is where Splink's SQL runs."""
        self.database = database

    def train(
        self,
        schema: Schema,
        levels_by_pass: Mapping[str, Levels],
        chance: Levels,
        couples: Sequence[tuple[int, int]],
        *,
        progress: Callable[[str], None],
    ) -> Model:
        """As `score.train`."""
        return train(
            schema, levels_by_pass, chance, couples, progress=progress, database=self.database
        )

    @abstractmethod
    def score(
        self, schema: Schema, model: Model, pass_id: str, levels: Levels, floor: float
    ) -> Kept:
        """The pairs of one pass whose match probability is at least `floor`."""


class TableScorer(Scorer):
    """EM in DuckDB; weights are looked up in the model's table, which is what Splink would say."""

    def __init__(self) -> None:
        super().__init__(DuckDatabase())

    def score(
        self, schema: Schema, model: Model, pass_id: str, levels: Levels, floor: float
    ) -> Kept:
        """As `Scorer.score`."""
        return _by_table(schema, model, pass_id, levels, floor)


class SplinkScorer(Scorer):
    """EM and prediction by Splink in a database of one's choice."""

    def score(
        self, schema: Schema, model: Model, pass_id: str, levels: Levels, floor: float
    ) -> Kept:
        """As `Scorer.score`; what Splink cannot say, a u by another field's level, by table."""
        trained = model.passes[pass_id]
        if trained.given:
            return _by_table(schema, model, pass_id, levels, floor)
        index = [i for i, field in enumerate(schema.fields) if field.name in trained.fields]
        compared = []
        for i in index:
            name = schema.fields[i].name
            m = np.array([level.m for level in trained.fields[name]])
            u = np.array([level.u for level in trained.fields[name]])
            compared.append(Compared(name, m, u))
        rows, weight, probability = predicted(
            self.database, compared, levels[:, index], trained.probability, floor
        )
        return Kept(rows, Scores(weight, probability))


def _by_table(schema: Schema, model: Model, pass_id: str, levels: Levels, floor: float) -> Kept:
    scores = score(schema, model, pass_id, levels)
    rows = np.flatnonzero(scores.probability >= floor)
    return Kept(rows, Scores(scores.weight[rows], scores.probability[rows]))
