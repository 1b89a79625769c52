"""Records of invented people with duplicates, by the public generator `dupehell`, in registries.

Domain `kyc`, difficulty `medium`, natural persons only. Half of what the generator makes are legal
entities, so a size of 200,000 gives 102,403 records of persons and 2,000,000 gives 1,024,003. They
are written as three registries twice:

`hash`   by a hash of the record id: registries are alike.
`place`  three records of four by a hash of the city as it is written, the fourth by the id:
         registries differ, and a city agrees by chance more often inside one than across two. All
         of them by place would leave only pairs whose city was altered.

Another number of registries is made of those of `hash` by the same hash.

Only the six fields of the six exact rules are kept. The generator alters names, dates, addresses
and cities; it copies the others (state, country, occupation, risk score, ...) into every duplicate
as they are, so that any three of them would solve the task. The postcode is copied too, but is one
of the six.

    python bench/duplicates.py CACHE [--size 100k|1m|N] [--seed N] [--registries N]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
from own_venv import own_python

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUIREMENTS: Final = ("dupehell==0.5.5",)
SIZES: Final = {
    "1k": 2_000,
    "10k": 20_000,
    "30k": 60_000,
    "100k": 200_000,
    "300k": 600_000,
    "1m": 2_000_000,
    "3m": 6_000_000,
}
SEED_DEFAULT: Final = 7
REGISTRIES: Final = ("alpha", "beta", "gamma")
SPLITS: Final = ("hash", "place")
AT_HOME_OF_FOUR: Final = 3
MEMORY: Final = "1GB"
COLUMNS: Final = (
    "given_name",
    "family_name",
    "birth_date",
    "residential_address_line1",
    "residential_city",
    "residential_postal_code",
)

GENERATE: Final = """
import json, sys, dupehell
made = dupehell.generate(domain="kyc", size=int(sys.argv[1]), seed=int(sys.argv[2]),
                         difficulty="medium", output_dir=sys.argv[3])
print(json.dumps({"dataset": made.dataset}))
"""
# md5 and not DuckDB's `hash`, which may change with its version.
SPLIT_SQL: Final = """
create table person as
with drawn as (
  select record_id, master_id as person_id, {columns},
    md5_number_lower(record_id) as by_id,
    md5_number_lower('place ' || lower(coalesce(residential_city, record_id))) as by_place
  from '{dataset}' where entity_type = 'natural_person'
)
select record_id, person_id, {columns},
  (by_id % {registries})::tinyint as by_hash,
  (if(by_id // {registries} % 4 < {at_home}, by_place, by_id) % {registries})::tinyint as by_place
from drawn
"""
TRUE_PAIRS_SQL: Final = """
select coalesce(sum((n * n - squares) / 2), 0)::bigint from (
  select person_id, sum(n) as n, sum(n * n) as squares
  from (select person_id, {by} as registry, count(*) as n from person group by all)
  group by person_id
)
"""


AGAIN_SQL: Final = """
create table person as
select record_id, person_id, {columns},
  (md5_number_lower(record_id) % {registries})::smallint as by_hash
from read_parquet('{folder}/hash/*.parquet') join '{folder}/truth.parquet' using (record_id)
"""


@dataclass(frozen=True)
class Duplicates:
    """Files of one generated set, split one way."""

    registries: dict[str, Path]
    truth: Path
    records: int
    true_pairs: int  # pairs of one person in two registries


def make(
    cache: Path, size: int, seed: int, split: str = "hash", registries: int = len(REGISTRIES)
) -> Duplicates:
    """The set of a size and a seed, generated and split where the cache does not hold it yet.

    Args:
        cache: folder that keeps sets and the generator's environment.
        size: the generator's, about twice the records of persons.
        seed: the generator's. 7 is for tuning; figures are reported on 8 and 9.
        split: one of `SPLITS`.
        registries: how many; other than three by the hash of the id only.
    """
    folder = cache / f"kyc-{size}-seed{seed}"
    if not (folder / "facts.json").exists():
        _generate(cache, folder, size, seed)
    if registries != len(REGISTRIES):
        return _again(folder, split, registries)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return Duplicates(
        {name: folder / split / f"{name}.parquet" for name in REGISTRIES},
        folder / "truth.parquet",
        facts["records"],
        facts["true_pairs"][split],
    )


def _again(folder: Path, split: str, registries: int) -> Duplicates:
    """The same records by their hash in as many registries as wanted."""
    if split != "hash":
        raise ValueError("only `hash` splits a set into another number of registries")
    out = folder / f"hash-{registries}"
    names = [f"r{number:03d}" for number in range(registries)]
    if not (out / "facts.json").exists():
        out.mkdir(exist_ok=True)
        columns = ", ".join(COLUMNS)
        sql = AGAIN_SQL.format(columns=columns, registries=registries, folder=folder)
        with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
            connection.execute(sql)
            _write(connection, out, "hash", names)
            facts = {
                "records": _count(connection, "select count(*) from person"),
                "true_pairs": _count(connection, TRUE_PAIRS_SQL.format(by="by_hash")),
            }
        (out / "facts.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))
    files = {name: out / f"{name}.parquet" for name in names}
    return Duplicates(files, folder / "truth.parquet", facts["records"], facts["true_pairs"])


def _generate(cache: Path, folder: Path, size: int, seed: int) -> None:
    python = own_python(cache, "dupehell", REQUIREMENTS)
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        [str(python.absolute()), "-c", GENERATE, str(size), str(seed), str(raw.absolute())],
        cwd=raw,  # a folder `schemas` where it runs is taken for its own
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    dataset = json.loads(made.stdout.splitlines()[-1])["dataset"]
    with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
        facts = _split(connection, dataset, folder)
    shutil.rmtree(raw)
    (folder / "facts.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _split(
    connection: duckdb.DuckDBPyConnection, dataset: str, folder: Path
) -> dict[str, int | dict[str, int]]:
    columns = ", ".join(COLUMNS)
    connection.execute(
        SPLIT_SQL.format(
            columns=columns,
            dataset=dataset,
            registries=len(REGISTRIES),
            at_home=AT_HOME_OF_FOUR,
        )
    )
    pairs = {}
    for split in SPLITS:
        (folder / split).mkdir(exist_ok=True)
        _write(connection, folder / split, split, REGISTRIES)
        pairs[split] = _count(connection, TRUE_PAIRS_SQL.format(by=f"by_{split}"))
    connection.execute(
        "copy (select record_id, person_id from person order by record_id) "
        f"to '{folder / 'truth.parquet'}'"
    )
    return {"records": _count(connection, "select count(*) from person"), "true_pairs": pairs}


def _write(
    connection: duckdb.DuckDBPyConnection, folder: Path, split: str, names: Sequence[str]
) -> None:
    columns = ", ".join(COLUMNS)
    for number, name in enumerate(names):
        connection.execute(
            f"copy (select record_id, {columns} from person where by_{split} = {number} "
            f"order by record_id) to '{folder / name}.parquet'"
        )


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.execute(sql).fetchall()[0][0])


def size_of(text: str) -> int:
    """The generator's size behind `100k`, `1m` or a number."""
    return SIZES[text] if text in SIZES else int(text)


def main() -> int:
    """Make a set and tell what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path, help="folder for sets and environments")
    parser.add_argument("--size", type=size_of, default=SIZES["100k"])
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT)
    parser.add_argument("--registries", type=int, default=len(REGISTRIES))
    options = parser.parse_args()
    for split in SPLITS if options.registries == len(REGISTRIES) else SPLITS[:1]:
        made = make(options.cache, options.size, options.seed, split, options.registries)
        print(f"{split:6} {made.records} records, {made.true_pairs} true pairs")
        for path in (*made.registries.values(), made.truth):
            print(f"       {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
