"""What each pass of `reunion.yaml` finds on synthetic notices, beside an ideal list as long.

    python bench/reunion_passes.py [--schema FILE] [--notices 1000 5000] [--seeds 1 2 3 4 5]
                                   [--regimes hard informative] [--json FILE]

Offline: the encoder's blocking values are joined in this process, with the linker's rule for
islands (no more records than the cap), before the sieve. `completeness` is the share of true pairs
that are candidates, `candidates` their number a family, and `ideal` the recall of the ideal linker
whose every family gets a list of that length: no blocking can find more with as many pairs, given
these notices. Seeds 1 to 5 are for choosing passes, 6 to 10 for reports.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from kinlink_core.encoding.schema import Schema, load_schema, packaged_schema
from kinlink_local.reunion.assumptions import REGIMES
from kinlink_local.reunion.columns import schema_columns
from kinlink_local.reunion.ideal import IdealLinker
from kinlink_local.reunion.offline import canonical_columns, encoder_of, pairs_of_pass
from kinlink_local.reunion.population import Config, Population, make_population
from kinlink_local.reunion.ranking import ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

SEEDS = (1, 2, 3, 4, 5)
SIZES = (1_000,)


@dataclass(frozen=True)
class PassResult:
    """One pass alone, and what it adds to those before it; candidates are a family."""

    pass_id: str
    completeness: float
    candidates: float
    adds_completeness: float
    adds_candidates: float
    above_cap: float  # share of the pass's pairs that lie in islands above the cap


@dataclass(frozen=True)
class Study:
    """All passes on one population of n notices a side."""

    regime: str
    notices: int
    seed: int
    passes: tuple[PassResult, ...]
    completeness: float
    candidates: float
    ideal: float

    @property
    def ratio(self) -> float:
        """Completeness as a share of the ideal linker's recall with as many pairs."""
        return self.completeness / self.ideal


def study(schema: Schema, population: Population) -> Study:
    """Count what the schema's passes find; none of them may have refinements."""
    if any(each.refine for each in schema.passes):
        raise ValueError("refinements are not counted")
    config = population.config
    families = config.notices
    columns = canonical_columns(
        schema, schema_columns(population.family), schema_columns(population.found)
    )
    partnered = np.flatnonzero(population.partner >= 0)
    wanted = partnered * families + population.partner[partnered]
    found = np.empty(0, np.int64)
    results = []
    for each, inputs in zip(
        schema.passes, encoder_of(schema).blocking_inputs(columns), strict=True
    ):
        pairs, lost = pairs_of_pass(inputs, families, each.cap)
        before, number = np.isin(wanted, found).mean(), len(found)
        found = np.union1d(found, pairs)
        results.append(
            PassResult(
                each.id,
                float(np.isin(wanted, pairs).mean()),
                len(pairs) / families,
                float(np.isin(wanted, found).mean() - before),
                (len(found) - number) / families,
                lost,
            )
        )
    ideal = IdealLinker(population.family, population.found, config.regime)
    candidates = len(found) / families
    return Study(
        config.regime,
        families,
        config.seed,
        tuple(results),
        float(np.isin(wanted, found).mean()),
        candidates,
        float((ranks(ideal.scores, population.partner) <= candidates).mean()),
    )


def show(found: Study) -> None:
    """Print the passes of one population, then the whole."""
    print(f"# {found.regime}, {found.notices} a side, seed {found.seed}")
    for each in found.passes:
        print(
            f"{each.pass_id:14} alone {each.completeness:.3f} at {each.candidates:6.1f}"
            f"   adds {each.adds_completeness:.3f} at {each.adds_candidates:6.1f}"
            f"   above the cap {each.above_cap:.2f}"
        )
    print(
        f"completeness {found.completeness:.3f}  candidates {found.candidates:.1f}"
        f"  ideal {found.ideal:.3f}  ratio {found.ratio:.3f}",
        flush=True,
    )


def as_json(found: Study) -> dict[str, Any]:
    """All of it."""
    return {**asdict(found), "ratio": found.ratio}


def main() -> None:
    """Print what the passes find, and write it as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schema", type=Path, default=packaged_schema("reunion"))
    parser.add_argument("--notices", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--regimes", nargs="+", default=[*REGIMES])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    schema = load_schema(options.schema)
    report = []
    for regime in options.regimes:
        for notices in options.notices:
            for seed in options.seeds:
                found = study(schema, make_population(Config(seed, notices, regime)))
                show(found)
                report.append(as_json(found))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
