"""The classical peer: clkhash and anonlink, CLKs of 1,024 bits, every record against every other.

It reads the same canonical values of the same fields as Kinlink, joins registries in one process
tree on this machine, and gets the best threshold by the truth, which no one has in earnest. Its
matching time grows with the square of the records; `extrapolate` continues it from what was
measured. No matching of one to one is asked for: a person may have several records in a registry.

    python bench/classical.py SCHEMA --registry NAME=FILE ... --truth FILE --cache DIR
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from harness import BENCH
from kinlink_core.encoding.schema import FieldKind, load_schema
from kinlink_local.blocking import read_batches
from kinlink_local.quality import measure
from kinlink_local.truth import load_truth
from own_venv import own_python
from plaintext import registry_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kinlink_core.encoding.schema import Field, Schema

REQUIREMENTS: Final = ("clkhash==0.18.3", "anonlink==0.15.3", "setuptools<81")
CLK_BITS: Final = 1024
# Together they set about 45 % of the bits with six fields.
BITS_A_FIELD: Final = 100
FLOOR: Final = 0.7
SIDE: Final = BENCH / "clk_side.py"


def link_classically(
    schema: Schema, files: Mapping[str, Path], truth: Path, cache: Path
) -> dict[str, Any]:
    """Encode and match with clkhash and anonlink; measured as a rehearsal measures.

    Returns:
        F1 at the best threshold, seconds of encoding and matching, the matching at three sizes.
    """
    python = own_python(cache, "anonlink", REQUIREMENTS)
    with tempfile.TemporaryDirectory(prefix="kinlink-classical-") as scratch:
        folder = Path(scratch)
        ids = {
            name: write_values(schema, path, folder / f"{name}.csv") for name, path in files.items()
        }
        (folder / "schema.json").write_text(json.dumps(clk_schema(schema)), encoding="utf-8")
        command = [python, SIDE, folder / "schema.json", folder / "pairs.npz", FLOOR]
        command += [folder / f"{name}.csv" for name in files]
        run = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)
        result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
        with duckdb.connect() as connection, np.load(folder / "pairs.npz") as found:
            pairs = _pairs(found, ids)
            connection.register("pairs", pairs)
            load_truth(connection, files, truth)
            quality = measure(connection, FLOOR)
    if quality.best.threshold < FLOOR * 1.01:
        print(f"the best threshold may lie below the floor {FLOOR}", file=sys.stderr)
    return {"f1": quality.best.f1, **result, "quality": asdict(quality)}


def extrapolate(result: dict[str, Any], records: int) -> dict[str, float]:
    """Seconds for so many records: encoding by the record, matching by the comparison.

    The cost of a comparison is that of the largest size that was measured.
    """
    largest = result["matching"][-1]
    times = records / result["records"]
    return {
        "encoding_seconds": result["encoding_seconds"] * times,
        "matching_seconds": largest["seconds"] * times**2,
        "matching_cpu_seconds": largest["cpu_seconds"] * times**2,
    }


def write_values(schema: Schema, path: Path, out: Path) -> pa.Array:
    """Write canonical values, a missing one as an empty text; the record ids in their order."""
    ids = []
    with out.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["record_id", *(field.name for field in schema.fields)])
        for names, columns in read_batches(schema, path):
            values = [columns[field.name] for field in schema.fields]
            rows.writerows(
                [name, *(value or "" for value in row)]
                for name, *row in zip(names.to_pylist(), *values, strict=True)
            )
            ids.append(names)
    return pa.concat_arrays(ids)


def clk_schema(schema: Schema) -> dict[str, Any]:
    """Clkhash's schema of the same fields."""
    return {
        "version": 3,
        "clkConfig": {
            "l": CLK_BITS,
            "kdf": {"type": "HKDF", "hash": "SHA256", "info": "", "salt": "", "keySize": 64},
        },
        "features": [_feature(field) for field in schema.fields],
    }


def _feature(field: Field) -> dict[str, Any]:
    """Bigrams of words, characters with their position of dates and codes."""
    placed = field.kind in {FieldKind.DATE, FieldKind.CODE}
    return {
        "identifier": field.name,
        "format": {"type": "string", "encoding": "utf-8"},
        "hashing": {
            "missingValue": {"sentinel": ""},
            "comparison": {"type": "ngram", "n": 1 if placed else 2, "positional": placed},
            "strategy": {"bitsPerFeature": BITS_A_FIELD},
            "hash": {"type": "doubleHash"},
        },
    }


def _pairs(found: Mapping[str, np.ndarray], ids: Mapping[str, pa.Array]) -> pa.Table:
    names, columns = list(ids), {}
    everyone = pa.concat_arrays([*ids.values()])
    offsets = np.cumsum([0, *map(len, ids.values())])
    for side in "lr":
        number = found[f"side_{side}"]
        rows = found[f"row_{side}"] + offsets[number]
        columns[f"registry_{side}"] = pa.array(names).take(pa.array(number))
        columns[f"record_id_{side}"] = everyone.take(pa.array(rows))
    similarity = found["similarity"]
    linked = np.ones(len(similarity), bool)
    return pa.table(
        {**columns, "match_weight": similarity, "match_probability": similarity, "linked": linked}
    )


def main() -> int:
    """Link and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("schema", type=Path)
    parser.add_argument("--registry", type=registry_file, action="append", required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="keeps its environment")
    options = parser.parse_args()
    schema, files = load_schema(options.schema), dict(options.registry)
    print(json.dumps(link_classically(schema, files, options.truth, options.cache)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
