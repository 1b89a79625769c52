"""A real standalone master and two workers: what they compute is what DuckDB computes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from kinlink_core.errors import CancelledError, KinlinkError, Reason
from kinlink_linker.duck import DuckLimits
from kinlink_linker.engine import DuckEngine, SparkEngine
from kinlink_linker.link_query import LinkFilter, LinkOrder
from kinlink_linker.scorer import TableScorer
from kinlink_linker.spark_islands import TABLE, TOKEN_ROW, split_on_spark
from kinlink_linker.spark_session import SparkCluster
from kinlink_linker.spark_store import KEY_BYTES
from kinlink_linker.tokens import TokenFile
from support.spark_cluster import CONF, Cluster, cluster
from unit.linker.centre import centre, registries
from unit.linker.scored_pairs import RECORDS, SCHEMA, U_GIVEN_PART, U, draw, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.spark,
    # Spark's Python side leaves sockets to the collector and warns of its own deprecations.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(900),
]
CLOSE = 1e-9
FLOOR = 0.1


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("spark")) as started:
        yield started


@pytest.fixture
def spark(running: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SparkCluster:
    # Workers need no Python: one that was started would not be found.
    monkeypatch.setenv("PYSPARK_PYTHON", "/nowhere/python")
    store = tmp_path / "store"
    store.mkdir()
    return SparkCluster(running.master, store, running.secret_file, CONF)


def emptied(running: Cluster) -> bool:
    """Whether the workers' disks hold nothing; executors need a moment to leave."""
    deadline = time.monotonic() + 30
    while running.work_files() and time.monotonic() < deadline:
        time.sleep(0.2)
    return not running.work_files()


def tokens(path: Path, rows: int) -> TokenFile:
    """Three registries and a bystander under tokens of which some are crowded."""
    rng = np.random.default_rng(17)
    file = TokenFile(path, DuckLimits("256MB", 1))
    codes = [file.code(name) for name in ("aa", "bb", "cc", "away")]
    place = np.where(rng.random(rows) < 0.02, rng.integers(0, 5, rows), rng.integers(0, rows, rows))
    words = rng.integers(0, 1 << 64, (rows, 3), np.uint64)
    with file.cursor() as cursor:
        cursor.register(
            "fed",
            pa.table({
                "registry": rng.choice(np.array(codes, np.uint8), rows),
                "pass_index": rng.integers(0, 2, rows).astype(np.uint16),
                "handle_a": words[:, 0],
                "handle_b": words[:, 1],
                "token_a": words[place, 2],
                "token_b": place.astype(np.uint64),
            }),
        )  # fmt: skip
        cursor.execute("INSERT INTO token SELECT * FROM fed")
        cursor.unregister("fed")
    return file


def test_em_and_weights_are_those_of_duckdb(spark: SparkCluster, running: Cluster) -> None:
    rng = np.random.default_rng(7)
    names, _ = pairs(rng, 20_000, 0.4, U)
    part, _ = pairs(rng, 20_000, 0.3, [U[0], U_GIVEN_PART, *U[2:]])
    chance = draw(rng, 60_000, U)
    by_pass = {"names": names, "part": part}
    near = TableScorer()
    expected = near.train(SCHEMA, by_pass, chance, RECORDS, progress=lambda _pass: None)
    with SparkEngine(spark).scorer() as far:
        trained = far.train(SCHEMA, by_pass, chance, RECORDS, progress=lambda _pass: None)
        kept = {name: far.score(SCHEMA, trained, name, by_pass[name], FLOOR) for name in by_pass}

    assert (trained.em_iterations, trained.trained_pairs) == (
        expected.em_iterations,
        expected.trained_pairs,
    )
    for name, of_pass in expected.passes.items():
        assert trained.passes[name].probability == pytest.approx(of_pass.probability, abs=CLOSE)
        for field, levels in of_pass.fields.items():
            for one, other in zip(trained.passes[name].fields[field], levels, strict=True):
                assert (one.m, one.u, one.weight) == pytest.approx(
                    (other.m, other.u, other.weight), rel=0, abs=CLOSE
                )
    for name, levels in by_pass.items():
        table = near.score(SCHEMA, expected, name, levels, FLOOR)
        assert np.array_equal(kept[name].rows, table.rows)
        assert np.allclose(kept[name].scores.weight, table.scores.weight, rtol=0, atol=CLOSE)
    assert list(spark.folder.iterdir()) == []
    assert emptied(running)


def test_islands_are_those_of_duckdb(spark: SparkCluster, running: Cluster, tmp_path: Path) -> None:
    file = tokens(tmp_path / "tokens.duckdb", 60_000)
    linking, caps = [file.code(name) for name in ("aa", "bb", "cc")], [4, 6]
    expected = DuckEngine().split(file, linking, caps)
    split = SparkEngine(spark).split(file, linking, caps)
    assert expected.islands.count > 1000
    assert expected.crowded.count > 0
    for name in ("pass_index", "token", "island", "registry", "handle"):
        assert np.array_equal(getattr(split.islands, name), getattr(expected.islands, name)), name
    for name in ("pass_index", "token", "holders"):
        assert np.array_equal(getattr(split.crowded, name), getattr(expected.crowded, name)), name
    assert np.array_equal(split.tokens_by_pass, expected.tokens_by_pass)
    assert list(spark.folder.iterdir()) == []
    assert emptied(running)
    file.close()


def test_a_linkage_finds_the_links_of_duckdb(spark: SparkCluster, tmp_path: Path) -> None:
    found = []
    for name, engine in (("near", DuckEngine()), ("far", SparkEngine(spark))):
        home = tmp_path / name
        home.mkdir()
        with centre(home, registries("aa", "bb", "cc"), engine) as made:
            ended = made.ended(made.start(), 600)
            assert ended.error_reason == ""
            page = made.node.links.page(LinkFilter(), LinkOrder.WEIGHT_DESC, 1000, "")
            found.append({
                (each.registry_l, each.subject_l, each.registry_r, each.subject_r): each.weight
                for each in page.links
            })  # fmt: skip
    near, far = found
    assert len(near) > 50
    assert far == pytest.approx(near, rel=0, abs=CLOSE)


def test_a_stage_that_fails_leaves_nothing_behind_and_says_why(
    spark: SparkCluster, running: Cluster, tmp_path: Path
) -> None:
    file = tokens(tmp_path / "tokens.duckdb", 2_000)
    handle = file.cursor().execute("SELECT handle_a FROM token LIMIT 1").fetchall()[0][0]

    def cancelled_after_the_join() -> None:
        with spark.session() as session:
            split_on_spark(session, file, [0, 1, 2], [4, 6])
            (written,) = session.store.folder.iterdir()
            assert int(handle).to_bytes(8, "little") not in written.read_bytes()
            rows = session.store.read(session.spark, TABLE, TOKEN_ROW.itemsize)
            plan = rows._jdf.queryExecution().toString()
            assert "aes_decrypt" in plan
            # Spark writes binary literals as hexadecimal.
            assert session.store.key.hex() not in plan.lower()
            raise CancelledError(Reason.CANCELLED)

    def changed_in_the_store() -> None:
        with spark.session() as session:
            replace(session.store, key=bytes(KEY_BYTES)).write("rows", [np.zeros((9, 8), np.uint8)])
            session.store.read(session.spark, "rows", 8).toArrow()

    with pytest.raises(CancelledError):
        cancelled_after_the_join()
    with pytest.raises(KinlinkError) as caught:
        changed_in_the_store()
    assert caught.value.reason is Reason.ENGINE_FAILED
    assert list(spark.folder.iterdir()) == []
    assert emptied(running)
    file.close()


def test_a_cluster_without_room_is_not_waited_for_without_end(spark: SparkCluster) -> None:
    hungry = replace(spark, conf={**CONF, "spark.executor.memory": "64g"}, start_seconds=5)
    with pytest.raises(KinlinkError) as caught, hungry.session():
        pass
    assert caught.value.reason is Reason.ENGINE_FAILED
    assert "no worker" in caught.value.detail
    assert list(spark.folder.iterdir()) == []


def test_a_cluster_with_another_secret_is_refused(spark: SparkCluster, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("no secret of theirs")
    other.chmod(0o600)
    with (
        pytest.raises(KinlinkError) as caught,
        replace(spark, secret_file=other).session() as session,
    ):
        session.spark.range(10).count()
    assert caught.value.reason is Reason.ENGINE_FAILED
    assert list(spark.folder.iterdir()) == []
