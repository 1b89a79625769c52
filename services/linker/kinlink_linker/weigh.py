"""Compared pairs to scored ones: by the model of their pass, best first between registries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kinlink_linker.links import ScoredPairs

if TYPE_CHECKING:
    from kinlink_linker.domain import I64
    from kinlink_linker.model import Model
    from kinlink_linker.run import Run
    from kinlink_linker.score import Scores
    from kinlink_linker.scorer import Scorer
    from kinlink_linker.seal import ComparedPairs


def by_pass(compared: list[ComparedPairs]) -> dict[int, list[ComparedPairs]]:
    """Pairs by the index of their pass."""
    found: dict[int, list[ComparedPairs]] = {}
    for pairs in compared:
        found.setdefault(pairs.pass_index, []).append(pairs)
    return found


def weigh(
    run: Run, scorer: Scorer, compared: list[ComparedPairs], model: Model
) -> list[ScoredPairs]:
    """Score pairs; those below the disclosure floor are left out."""
    grouped: dict[tuple[str, str], list[ScoredPairs]] = {}
    for index, of_pass in sorted(by_pass(compared).items()):
        run.federation.check_cancelled()
        kept = scorer.score(
            run.schema,
            model,
            run.schema.passes[index].id,
            np.concatenate([pairs.levels for pairs in of_pass]),
            run.schema.disclosure_floor_probability,
        )
        starts = np.cumsum([0, *(pairs.count for pairs in of_pass)])
        cuts = np.searchsorted(kept.rows, starts)
        for number, pairs in enumerate(of_pass):
            part = slice(cuts[number], cuts[number + 1])
            scored = _scored(pairs, kept.rows[part] - starts[number], kept.scores.part(part))
            grouped.setdefault((pairs.left, pairs.right), []).append(scored)
    return [ScoredPairs.concatenate(parts) for _, parts in sorted(grouped.items())]


def _scored(pairs: ComparedPairs, rows: I64, scores: Scores) -> ScoredPairs:
    return ScoredPairs(
        pairs.left,
        pairs.right,
        np.full(len(rows), pairs.pass_index, np.uint16),
        pairs.left_handle[rows],
        pairs.right_handle[rows],
        pairs.left_tag[rows],
        pairs.right_tag[rows],
        pairs.levels[rows],
        scores.weight,
        scores.probability,
    )
