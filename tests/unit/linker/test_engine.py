"""The seam of the engines, without a cluster."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from kinlink_core.errors import InvalidInputError
from kinlink_linker import score
from kinlink_linker.engine import DuckEngine
from kinlink_linker.islands import split_rows
from kinlink_linker.link_query import LinkFilter, LinkOrder
from kinlink_linker.scorer import Scorer, SplinkScorer, TableScorer
from kinlink_linker.settings import read_settings
from kinlink_linker.spark_islands import TOKEN_ROW, island_set
from kinlink_linker.spark_store import NONCE_BYTES, SparkStore, forget_all
from kinlink_linker.splink_database import DuckDatabase
from unit.linker.centre import Centre, centre, registries
from unit.linker.scored_pairs import RECORDS, SCHEMA, U_GIVEN_PART, U, draw, pairs
from unit.linker.test_islands import CAPS, LIMITS, token_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOOR = 0.1


class SplinkEngine(DuckEngine):
    """All scoring by Splink's own SQL, in DuckDB."""

    @contextmanager
    def scorer(self) -> Iterator[Scorer]:
        yield SplinkScorer(DuckDatabase())


def links(made: Centre) -> dict[tuple[str, bytes, str, bytes], float]:
    """The links of one linkage, each with its weight."""
    made.succeed()
    page = made.node.links.page(LinkFilter(), LinkOrder.WEIGHT_DESC, 1000, "")
    return {
        (each.registry_l, each.subject_l, each.registry_r, each.subject_r): each.weight
        for each in page.links
    }


def test_splink_keeps_the_pairs_and_the_weights_of_the_table() -> None:
    rng = np.random.default_rng(5)
    part, _ = pairs(rng, 3_000, 0.3, [U[0], U_GIVEN_PART, *U[2:]])
    model = score.train(SCHEMA, {"part": part}, draw(rng, 20_000, U), RECORDS)
    by_table = TableScorer().score(SCHEMA, model, "part", part, FLOOR)
    by_splink = SplinkScorer(DuckDatabase()).score(SCHEMA, model, "part", part, FLOOR)
    assert 0 < len(by_table.rows) < len(part)
    assert np.array_equal(by_splink.rows, by_table.rows)
    assert np.allclose(by_splink.scores.weight, by_table.scores.weight, rtol=0, atol=1e-9)
    assert np.allclose(by_splink.scores.probability, by_table.scores.probability, rtol=0, atol=1e-9)


def test_a_linkage_finds_the_same_links_by_either_scorer(tmp_path: Path) -> None:
    found = []
    for engine in (DuckEngine(), SplinkEngine()):
        home = tmp_path / type(engine).__name__
        home.mkdir()
        with centre(home, registries("aa", "bb", "cc"), engine) as made:
            found.append(links(made))
    by_table, by_splink = found
    assert len(by_table) > 50
    assert by_splink == pytest.approx(by_table, rel=0, abs=1e-9)


def test_rows_that_come_back_in_any_order_make_the_islands_of_duckdb() -> None:
    rng = np.random.default_rng(11)
    rows = token_rows(
        [(int(rng.integers(3)), int(rng.integers(2)), int(rng.integers(40))) for _ in range(90)]
    )
    expected = split_rows(rows, LIMITS, [0, 1, 2], CAPS).islands
    sent = np.empty(len(expected.registry), TOKEN_ROW)
    sent["registry"] = expected.registry
    sent["pass_index"] = expected.pass_index[expected.island]
    sent["token"] = expected.token[expected.island]
    sent["handle"] = expected.handle
    islands = island_set(sent[rng.permutation(len(sent))])
    assert expected.count > 10
    for name in ("pass_index", "token", "island", "registry", "handle"):
        assert np.array_equal(getattr(islands, name), getattr(expected, name)), name


def test_the_store_holds_chunks_that_open_at_their_place_only(tmp_path: Path) -> None:
    store = SparkStore.create(tmp_path)
    rows = np.random.default_rng(1).integers(0, 256, (30_000, 35), np.uint8)
    assert store.write("tokens", [rows[:20_000], rows[20_000:]]) == len(rows)
    (path,) = store.folder.iterdir()
    assert rows[0].tobytes() not in path.read_bytes()
    table = pq.read_table(path).to_pylist()
    cipher = AESGCM(store.key)
    opened = [
        cipher.decrypt(
            each["sealed"][:NONCE_BYTES], each["sealed"][NONCE_BYTES:], each["associated"]
        )
        for each in table
    ]
    assert b"".join(opened) == rows.tobytes()
    assert len(table) > 3
    sealed = table[0]["sealed"]
    with pytest.raises(InvalidTag):
        cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], table[1]["associated"])


def test_what_a_killed_process_left_in_the_store_goes_and_nothing_else(tmp_path: Path) -> None:
    left = SparkStore.create(tmp_path)
    left.write("tokens", [np.zeros((4, 35), np.uint8)])
    other = tmp_path / "other"
    other.mkdir()
    forget_all(tmp_path)
    assert list(tmp_path.iterdir()) == [other]


LINKER = """
federation = "demo"
schema = "schema.yaml"
engine = "spark"
[[registries]]
name = "aa"
address = "127.0.0.1:1"
[[registries]]
name = "bb"
address = "127.0.0.1:2"
"""
SPARK = '[spark]\nmaster = "spark://centre:7077"\nstore = "store"\nsecret_file = "secret"\n'


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("", "needs the table"),
        (SPARK.replace("spark://centre:7077", "local[2]"), "spark.master"),
        (
            SPARK + '[spark.conf]\n"spark.io.encryption.enabled" = "false"\n',
            "not for the deployment",
        ),
        (SPARK + '[spark.conf]\n"spark.authenticate.secret" = "x"\n', "not for the deployment"),
    ],
)
def test_settings_of_spark_that_cannot_be_right_are_refused(
    tmp_path: Path, added: str, told: str
) -> None:
    (tmp_path / "linker.toml").write_text(LINKER + added)
    with pytest.raises(InvalidInputError, match=told):
        read_settings(tmp_path)


def test_settings_of_spark_are_read(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o600)
    conf = '[spark.conf]\n"spark.executor.memory" = "8g"\n'
    (tmp_path / "linker.toml").write_text(LINKER + SPARK + conf)
    spark = read_settings(tmp_path).spark
    assert spark is not None
    assert (spark.master, spark.store) == ("spark://centre:7077", tmp_path / "store")
    assert spark.conf == {"spark.executor.memory": "8g"}
