"""Plaintext Splink on what a rehearsal links: same canonical values, same passes, like levels.

This is the peer that a bench runs beside Kinlink. It sees every value in plain. Blocking values are
those of the schema, LSH bands included; there is no sieve and no cap. One model is trained for all
passes, as Splink users do: u from random pairs, m by EM sessions on rules of whole fields. Or it
blocks by rules of its own, each a few whole fields, as its users write them by hand.

    python bench/plaintext.py SCHEMA --registry NAME=FILE ... --truth FILE [--rule FIELD+FIELD ...]
        [--train FIELD+FIELD ...]

prints the figures as JSON, with the memory of this process.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import splink.comparison_level_library as cll
import splink.comparison_library as cl
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.keys import MODE_PLAIN, Context, EpochSecret, KeySchedule
from kinlink_core.encoding.schema import load_schema
from kinlink_local.blocking import read_batches
from kinlink_local.quality import measure
from kinlink_local.truth import load_truth
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kinlink_core.encoding.encode import BlockingRows
    from kinlink_core.encoding.schema import Field, Schema
    from splink.internals.blocking_rule_creator import BlockingRuleCreator

SEED = 7
RANDOM_PAIRS = 2_000_000
MATCH_WEIGHT_MIN = -10
RECALL_OF_RULES = 0.7
THRESHOLD = 0.5
JARO_WINKLER_LEVELS = (0.92, 0.88, 0.7)

PAIRS_SQL = """
create table pairs as
select source_dataset_l as registry_l, unique_id_l as record_id_l,
  source_dataset_r as registry_r, unique_id_r as record_id_r, match_weight, match_probability,
  match_probability >= {threshold} as linked
from {predicted}
"""


Rule = tuple[str, ...]


def link_in_plain(
    schema: Schema,
    files: Mapping[str, Path],
    truth: Path,
    rules: tuple[Rule, ...] = (),
    trained_by: tuple[Rule, ...] = (),
) -> dict[str, Any]:
    """Link with Splink and measure as a rehearsal measures.

    Args:
        schema: how values are read, and the passes.
        files: each registry's records.
        truth: who is whom.
        rules: fields that must be equal, rule by rule; the schema's passes by default.
        trained_by: rules of the EM sessions; by default the schema's passes of whole fields.

    Returns:
        F1 at the best threshold, wall and processor seconds of training and prediction, wall
        seconds of everything before (`prepare_seconds`), pairs.
    """
    prepared = time.perf_counter()
    tables = [_table(schema, name, path, blocked=not rules) for name, path in files.items()]
    with duckdb.connect() as connection:
        api = DuckDBAPI(connection=connection)
        sides = [
            api.register(table, dataset_display_name=name)
            for name, table in zip(files, tables, strict=True)
        ]
        prepared = time.perf_counter() - prepared
        wall, cpu = time.perf_counter(), time.process_time()
        linker = Linker(sides, _settings(schema, rules), log_level=logging.ERROR)
        _train(linker, trained_by or _whole_fields(schema))
        predicted = linker.inference.predict(threshold_match_weight=MATCH_WEIGHT_MIN)
        pairs = connection.execute(f"select count(*) from {predicted.physical_name}").fetchall()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        connection.execute(PAIRS_SQL.format(predicted=predicted.physical_name, threshold=THRESHOLD))
        load_truth(connection, files, truth)
        quality = measure(connection, THRESHOLD)
    return {
        "f1": quality.best.f1,
        "prepare_seconds": prepared,
        "central_wall_seconds": wall,
        "central_cpu_seconds": cpu,
        "pairs": pairs[0][0],
        "quality": asdict(quality),
    }


def _table(schema: Schema, name: str, path: Path, *, blocked: bool) -> pa.Table:
    """Canonical values; `blocked` with one array of blocking values a pass, named `block_PASS`."""
    context = Context(MODE_PLAIN, "bench", "bench", schema.fingerprint())
    # One secret for all files, so that LSH bands agree; it protects nothing here.
    encoder = Encoder(schema, KeySchedule(context, EpochSecret("bench", bytes(32))))
    parts = []
    for ids, columns in read_batches(schema, path):
        values = {
            f"v_{field.name}": pa.array(columns[field.name], pa.string()) for field in schema.fields
        }
        blocks = {}
        if blocked:
            blocking = encoder.encode(columns).blocking
            blocks = {
                f"block_{index}": _blocks(blocking, index, len(ids))
                for index in range(len(schema.passes))
            }
        parts.append(pa.table({"unique_id": ids, **values, **blocks}))
    table = pa.concat_tables(parts)
    return table.append_column("source_dataset", pa.array([name] * len(table)))


def _blocks(blocking: BlockingRows, index: int, rows: int) -> pa.Array:
    mine = np.flatnonzero((blocking.pass_index == index) & (blocking.level == 0))
    mine = mine[np.argsort(blocking.row[mine], kind="stable")]
    tokens = np.ascontiguousarray(blocking.token[mine][:, :8]).view(np.uint64).reshape(-1)
    counts = np.bincount(blocking.row[mine], minlength=rows)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(tokens))


def _settings(schema: Schema, rules: tuple[Rule, ...]) -> SettingsCreator:
    passes: list[BlockingRuleCreator] = [
        block_on(f"block_{index}", arrays_to_explode=[f"block_{index}"])
        for index in range(len(schema.passes))
    ]
    return SettingsCreator(
        link_type="link_only",
        comparisons=[_comparison(field) for field in schema.fields],
        blocking_rules_to_generate_predictions=[*map(_equal, rules)] if rules else [*passes],
        retain_matching_columns=False,
    )


def _comparison(field: Field) -> cl.CustomComparison:
    column = f"v_{field.name}"
    if field.comparison == "category":
        middle = []
    elif field.comparison == "date":
        middle = [
            cll.DamerauLevenshteinLevel(column, 1),
            _same_characters(column, 1, 6, "same month of the year"),
            _same_characters(column, 5, 4, "same birthday, another year"),
            _same_characters(column, 1, 4, "same year"),
        ]
    else:
        middle = [cll.JaroWinklerLevel(column, least) for least in JARO_WINKLER_LEVELS]
    return cl.CustomComparison(
        output_column_name=field.name,
        comparison_levels=[
            cll.NullLevel(column),
            cll.ExactMatchLevel(column),
            *middle,
            cll.ElseLevel(),
        ],
    )


def _same_characters(column: str, first: int, length: int, label: str) -> cll.CustomLevel:
    side = "substr({column}_{side}, {first}, {length})"
    left = side.format(column=column, side="l", first=first, length=length)
    right = side.format(column=column, side="r", first=first, length=length)
    condition = f"{left} = {right} and length({left}) = {length}"
    return cll.CustomLevel(condition, label_for_charts=label)


def _equal(rule: Rule) -> BlockingRuleCreator:
    return block_on(*(f"v_{name}" for name in rule))


def _whole_fields(schema: Schema) -> tuple[Rule, ...]:
    """Passes of more than one whole field, each once."""
    return tuple(
        tuple(sorted(names))
        for names in dict.fromkeys(
            blocking_pass.fixed_fields
            for blocking_pass in schema.passes
            if len(blocking_pass.fixed_fields) == len(blocking_pass.parts) > 1
        )
    )


def _train(linker: Linker, trained_by: tuple[Rule, ...]) -> None:
    rules = [_equal(rule) for rule in trained_by]
    training = linker.training
    training.estimate_probability_two_random_records_match([*rules], recall=RECALL_OF_RULES)
    training.estimate_u_using_random_sampling(max_pairs=RANDOM_PAIRS, seed=SEED)
    for rule in rules:
        training.estimate_parameters_using_expectation_maximisation(rule)


def _rule(text: str) -> Rule:
    return tuple(text.split("+"))


def registry_file(text: str) -> tuple[str, Path]:
    """`NAME=FILE` of a command line."""
    name, _, path = text.partition("=")
    return name, Path(path)


def main() -> int:
    """Link and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("schema", type=Path)
    parser.add_argument("--registry", type=registry_file, action="append", required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--rule", type=_rule, action="append", default=[])
    parser.add_argument("--train", type=_rule, action="append", default=[])
    options = parser.parse_args()
    result = link_in_plain(
        load_schema(options.schema),
        dict(options.registry),
        options.truth,
        tuple(options.rule),
        tuple(options.train),
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result | {"peak_rss_mb": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
