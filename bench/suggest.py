"""Predicted passes beside the truth: what `kinlink suggest` says, and what the records then do.

Offices' statistics are measured as `kinlink-registry statistics` does, candidates are predicted
from nothing else, and a set is suggested. Then the truth is opened: real pair completeness and
candidate pairs of the suggested passes, of a spread of other candidates, and of the hand-written
schema, all before the sieve.

    python bench/suggest.py --cache CACHE [--size 100k] [--seed N] [--split hash|place]
    python bench/suggest.py --historical FILE.parquet
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from duplicates import SEED_DEFAULT, SIZES, SPLITS, make, size_of
from harness import BENCH, write_json
from historical50k import write_inputs
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.keys import MODE_PLAIN, Context, EpochSecret, KeySchedule
from kinlink_core.encoding.schema import Pass, Schema, load_fields, load_schema
from kinlink_core.planning.candidates import text_of
from kinlink_local.blocking import read_batches
from kinlink_local.suggestion.choice import Budget, best_under, frontier
from kinlink_local.suggestion.prediction import RECORDS_A_PERSON, predict
from kinlink_registry.source import SourceSpec
from kinlink_registry.statistics import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_core.planning.statistics_file import Statistics
    from kinlink_local.suggestion.prediction import Candidate, Prediction

EPOCH: Final = "suggest"
SPREAD: Final = 8
COMPLETENESS_MIN: Final = 0.05
LEVEL_SQL: Final = """
create or replace temp table reached as
select registry, record, pass_index, token from token
where level = {level} and ({level} = 0 or (pass_index, parent) in (from crowded));
create or replace temp table island as
select pass_index, token, size > cap as is_crowded from (
  select pass_index, token, count(*) as size from reached
  group by all having min(registry) <> max(registry)
) join caps using (pass_index);
insert into met
with member as (
  select pass_index, token, registry, record
  from reached join island using (pass_index, token) where not is_crowded
)
select distinct pass_index, l.record, r.record
from member l join member r using (pass_index, token) where l.registry < r.registry;
create or replace temp table crowded as select pass_index, token from island where is_crowded;
"""


def measured(schema: Schema, files: dict[str, Path]) -> tuple[dict[str, Statistics], float]:
    """The statistics of every office, and the seconds they took in all."""
    began = time.monotonic()
    offices = {}
    for name, path in files.items():
        steps = measure(
            schema, SourceSpec(path=str(path)), id_column="record_id", memory_limit="1GB"
        )
        offices[name] = list(steps)[-1].statistics
    return offices, time.monotonic() - began


class Truth:
    """All records with their persons, in one database."""

    def __init__(self, files: dict[str, Path], truth: Path) -> None:
        self.files = files
        self.connection = duckdb.connect(config={"memory_limit": "1GB", "threads": 1})
        self.connection.execute(
            f"create table person as select record_id as id, person_id from '{truth}'"
        )
        self.numbers = dict(
            self.connection.execute("select id, rowid::integer from person").fetchall()
        )

    def judge(self, schema: Schema) -> tuple[list[tuple[int, int]], int, int, int]:
        """Candidate and true pairs of each pass; of the union; and all true pairs."""
        self._tokens(schema)
        run = self.connection.execute
        run("create or replace temp table met (pass_index integer, l integer, r integer)")
        run("create or replace temp table crowded (pass_index integer, token ubigint)")
        for level in range(1 + max(len(each.refine) for each in schema.passes)):
            run(LEVEL_SQL.format(level=level))
        run(
            "create or replace temp table judged as select met.*, a.person_id = b.person_id as hit"
            " from met join person a on a.rowid = l join person b on b.rowid = r"
        )
        rows = run(
            "select pass_index, count(distinct (l, r)), count(distinct (l, r)) filter (hit)"
            " from judged group by all"
        ).fetchall()
        by_pass = {index: (pairs, hits) for index, pairs, hits in rows}
        pairs, hits = run(
            "select count(*), count(*) filter (hit) from (select distinct l, r, hit from judged)"
        ).fetchall()[0]
        return [by_pass.get(i, (0, 0)) for i in range(len(schema.passes))], pairs, hits, self.pairs

    def _tokens(self, schema: Schema) -> None:
        context = Context(MODE_PLAIN, EPOCH, EPOCH, schema.fingerprint())
        encoder = Encoder(schema, KeySchedule(context, EpochSecret.generate(EPOCH)))
        tables = []
        offices: list[tuple[int, np.ndarray[Any, Any]]] = []
        for office, path in enumerate(self.files.values()):
            for ids, columns in read_batches(schema, path):
                numbers = np.array([self.numbers[each] for each in ids.to_pylist()], np.int32)
                offices.append((office, numbers))
                if not any(each.refine for each in schema.passes):
                    tables.append(_by_values(encoder, columns, office, numbers))
                    continue
                rows = encoder.encode(columns).blocking
                tables.append(
                    pa.table(
                        {
                            "registry": np.full(len(rows.row), office, np.int8),
                            "record": numbers[rows.row],
                            "pass_index": rows.pass_index.astype(np.int32),
                            "level": rows.level,
                            "token": np.ascontiguousarray(rows.token[:, :8]).view(np.uint64)[:, 0],
                            "parent": np.ascontiguousarray(rows.parent[:, :8]).view(np.uint64)[
                                :, 0
                            ],
                        }
                    )
                )
        self.connection.register("arrived", pa.concat_tables(tables))
        run = self.connection.execute
        run("create or replace temp table token as from arrived")
        self.connection.unregister("arrived")
        caps = pa.table(
            {"pass_index": pa.array(range(len(schema.passes)), pa.int32()),
             "cap": [each.cap for each in schema.passes]}
        )  # fmt: skip
        self.connection.register("caps", caps)
        held = pa.table(
            {"record": np.concatenate([numbers for _, numbers in offices]),
             "registry": np.concatenate([np.full(len(n), o, np.int8) for o, n in offices])}
        )  # fmt: skip
        self.connection.register("held", held)
        self.pairs = int(
            run(
                "select coalesce(sum((n * n - squares) / 2), 0)::bigint from ("
                " select person_id, sum(c) as n, sum(c * c) as squares from ("
                "  select person_id, registry, count(*) as c"
                "  from held join person on person.rowid = record group by all) group by person_id)"
            ).fetchall()[0][0]
        )


def _by_values(
    encoder: Encoder, columns: dict[str, list[str | None]], office: int, numbers: Any
) -> pa.Table:
    """Tokens of passes without refinements: digests of blocking values, for they stay here."""
    found = encoder.blocking_inputs(columns)
    token = [
        np.array(
            [int.from_bytes(blake2b(each, digest_size=8).digest(), "little") for each in of.inputs],
            np.uint64,
        )[of.input_index]
        for of in found
    ]
    rows = np.concatenate([of.row for of in found])
    return pa.table(
        {
            "registry": np.full(len(rows), office, np.int8),
            "record": numbers[rows],
            "pass_index": np.repeat(
                np.arange(len(found), dtype=np.int32), [len(of.row) for of in found]
            ),
            "level": np.zeros(len(rows), np.uint8),
            "token": np.concatenate(token),
            "parent": np.zeros(len(rows), np.uint64),
        }
    )


def spread(prediction: Prediction, bits_min: float, cap: int) -> list[Candidate]:
    """Candidates from the least to the most complete, evenly."""
    able = [
        each
        for each in prediction.candidates
        if each.cap == cap
        and each.declared_bits >= bits_min
        and each.completeness >= COMPLETENESS_MIN
        and not each.tables
    ]
    able.sort(key=lambda each: each.completeness)
    picks = np.linspace(0, len(able) - 1, min(SPREAD, len(able))).astype(int)
    return [able[at] for at in picks.tolist()]


def as_schema(schema: Schema, passes: Sequence[Candidate]) -> Schema:
    """The schema with these passes."""
    made = tuple(Pass(f"p{n}", each.parts, each.cap) for n, each in enumerate(passes))
    return replace(schema, passes=made)


def compare(
    truth: Truth, schema: Schema, passes: Sequence[Candidate]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Each pass predicted and real, and the set."""
    by_pass, pairs, hits, all_true = truth.judge(as_schema(schema, passes))
    rows = [
        {
            "pass": text_of(each.parts),
            "cap": each.cap,
            "completeness": each.completeness,
            "completeness_true": true / all_true,
            "strangers": each.strangers,
            "strangers_true": met - true,
        }
        for each, (met, true) in zip(passes, by_pass, strict=True)
    ]
    return rows, {"pairs_true": pairs, "completeness_true": hits / all_true, "matches": all_true}


def show(rows: list[dict[str, Any]]) -> None:
    """Print passes, predicted and real."""
    for row in rows:
        print(
            f"  {row['pass']:66} {row['cap']:3}"
            f" {row['completeness']:6.3f} {row['completeness_true']:6.3f}"
            f" {row['strangers']:10.0f} {row['strangers_true']:10.0f}"
        )


def run(
    schema_path: Path, files: dict[str, Path], truth_path: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Predict, suggest, and open the truth."""
    schema = load_fields(schema_path)
    offices, seconds = measured(schema, files)
    truth = Truth(files, truth_path)
    hand = load_schema(schema_path)
    *_, hand_pairs, hand_hits, all_true = truth.judge(hand)
    caps = tuple(cap for cap in (6, 12, 24, 48) if cap <= options.cap_max)
    result: dict[str, Any] = {
        "statistics_seconds": seconds,
        "hand": {"pairs": hand_pairs, "completeness": hand_hits / all_true},
    }
    print(f"{sum(each.records for each in offices.values())} records, {all_true} true pairs")
    print(f"hand-written: completeness {hand_hits / all_true:.3f}, {hand_pairs} pairs")
    for source, records_a_person in (("assumed", 1.0), ("duplicates", options.records_a_person)):
        began = time.monotonic()
        prediction = predict(schema, offices, caps=caps, records_a_person=records_a_person)
        budget = Budget(options.pairs_max or hand_pairs, options.passes_max)
        choices = frontier(prediction, budget)
        best = best_under(choices, budget)
        if best is None:
            raise SystemExit(
                f"no set of passes below {budget.pairs_max:.0f} pairs; see --pairs-max"
            )
        predicting = time.monotonic() - began
        sampled = spread(prediction, budget.bits_min, 12)
        rows, _ = compare(truth, prediction.schema, sampled)
        print(f"\nerrors {source}: {prediction.matches:.0f} matches expected, {predicting:.0f} s")
        print("  spread of candidates: completeness and strangers, predicted and true")
        show(rows)
        off = np.array([row["completeness"] - row["completeness_true"] for row in rows])
        ratio = np.array(
            [row["strangers"] / row["strangers_true"] for row in rows if row["strangers_true"] > 99]
        )
        ranks = [
            np.argsort(np.argsort([row[key] for row in rows]))
            for key in ("completeness", "completeness_true")
        ]
        rank = float(np.corrcoef(*ranks)[0, 1])
        print(
            f"  completeness off by {np.median(np.abs(off)):.3f} (median), {off.mean():+.3f}"
            f" (mean);"
            f" rank correlation {rank:.2f};"
            f" strangers times {np.median(ratio):.2f} (median)"
        )
        chosen, union = compare(truth, prediction.schema, best.passes)
        print("  suggested")
        show(chosen)
        print(
            f"  union: completeness {best.completeness:.3f}, true {union['completeness_true']:.3f};"
            f" pairs {best.pairs:.0f}, true {union['pairs_true']}"
        )
        result[source] = {
            "spread": rows,
            "completeness_off_median": float(np.median(np.abs(off))),
            "rank_correlation": rank,
            "strangers_ratio_median": float(np.median(ratio)),
            "suggested": chosen,
            "predicted": {"completeness": best.completeness, "pairs": best.pairs},
            "union": union,
            "frontier": [[each.completeness, each.pairs, len(each.passes)] for each in choices],
        }
    return result


def main() -> int:
    """Run the bench on one set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="folder for sets and environments")
    parser.add_argument("--size", type=size_of, default=SIZES["100k"])
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT)
    parser.add_argument("--split", choices=SPLITS, default="hash")
    parser.add_argument("--historical", type=Path, help="the historical 50k set instead")
    parser.add_argument("--pairs-max", type=float, help="default: the hand-written schema's")
    parser.add_argument("--passes-max", type=int, default=8)
    parser.add_argument("--cap-max", type=int, default=12)
    parser.add_argument("--records-a-person", type=float, default=RECORDS_A_PERSON)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.historical:
        with tempfile.TemporaryDirectory(prefix="kinlink-suggest-") as scratch:
            files, truth = write_inputs(options.historical, Path(scratch))
            result = run(BENCH / "schemas" / "historical50k.yaml", files, truth, options)
    elif options.cache:
        made = make(options.cache, options.size, options.seed, options.split)
        result = run(BENCH / "schemas" / "kyc.yaml", made.registries, made.truth, options)
    else:
        parser.error("name --cache or --historical")
    write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
