"""Both officers' lists become one list of pairs by record id; the truth is read beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from kinlink_local.errors import BadInputError
from kinlink_local.pairs import load_pairs, write_pairs
from kinlink_local.truth import load_truth

if TYPE_CHECKING:
    from pathlib import Path


def seen(local_id: str, link_id: str, partner: str, weight: float, **other: Any) -> dict[str, Any]:
    """One line of `kinlink-registry links --json`."""
    probability = 1 / (1 + 2**-weight)
    return {
        "id": local_id,
        "link_id": link_id,
        "partner": partner,
        "match_weight": weight,
        "match_probability": probability,
        "person_id": "p" if probability >= 0.5 else "",
        "linkage_id": "now",
        **other,
    }


LINKS = {
    "south": [seen("S1", "L1", "north", 9.0), seen("S2", "L2", "north", -2.0)],
    "north": [
        seen("N1", "L1", "south", 9.0),
        seen("N2", "L2", "south", -2.0),
        seen("N1", "L3", "east", 4.0),
        seen("N9", "L9", "south", 8.0, linkage_id="earlier"),
    ],
    "east": [seen("E1", "L3", "north", 4.0)],
}


def test_pairs_stand_once_best_first_with_the_smaller_name_on_the_left() -> None:
    with duckdb.connect() as connection:
        load_pairs(connection, LINKS, "now")
        rows = connection.execute(
            "select registry_l, record_id_l, registry_r, record_id_r, linked from pairs"
        ).fetchall()
    assert rows == [
        ("north", "N1", "south", "S1", True),
        ("east", "E1", "north", "N1", True),
        ("north", "N2", "south", "S2", False),
    ]


def test_links_are_the_pairs_that_have_a_person(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        load_pairs(connection, LINKS, "now")
        assert write_pairs(connection, tmp_path / "it's all.parquet") == 3
        assert write_pairs(connection, tmp_path / "links.parquet", only_linked=True) == 2
    links = duckdb.read_parquet(str(tmp_path / "links.parquet"))
    assert links.columns == [
        *("registry_l", "record_id_l", "registry_r", "record_id_r"),
        *("match_weight", "match_probability"),
    ]


def test_a_linkage_without_links_gives_empty_files(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        load_pairs(connection, {"a": [], "b": []}, "now")
        assert write_pairs(connection, tmp_path / "links.parquet", only_linked=True) == 0


def write(folder: Path, **texts: str) -> dict[str, Path]:
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.csv" for name in texts if name != "truth"}


def truth_of(folder: Path, files: dict[str, Path]) -> list[tuple[str, str, str]]:
    with duckdb.connect() as connection:
        load_truth(connection, files, folder / "truth.csv")
        return connection.execute("select * from truth order by all").fetchall()


def test_ids_that_stand_in_two_files_are_told_apart_by_the_truths_registry(tmp_path: Path) -> None:
    files = write(
        tmp_path,
        a="record_id\n1\n2\n",
        b="record_id\n1\n",
        truth="registry,record_id,person_id\na,1,P\nb,1,Q\na,2,P\n",
    )
    assert truth_of(tmp_path, files) == [("a", "1", "P"), ("a", "2", "P"), ("b", "1", "Q")]


def test_records_the_truth_does_not_name_are_left_out(tmp_path: Path) -> None:
    files = write(tmp_path, a="record_id\n01\n2\n", truth="record_id,person_id\n01,P\n1,Q\n")
    assert truth_of(tmp_path, files) == [("a", "01", "P")]


def test_a_truth_that_gives_a_record_two_persons_is_refused(tmp_path: Path) -> None:
    files = write(tmp_path, a="record_id\n1\n", truth="record_id,person_id\n1,P\n1,Q\n")
    with pytest.raises(BadInputError, match="gives 1 records more than one person"):
        truth_of(tmp_path, files)
