"""Taking records in: what is new, changed, unchanged or bad, and what the feed then says."""

from __future__ import annotations

import base64
import csv
import json
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_core.errors import InvalidInputError, Reason
from kinlink_local.search import Seeker
from kinlink_registry import app, coding, feed, ingest, node
from kinlink_registry.domain import IngestRequest
from kinlink_registry.home import Home
from unit.registry.rig import EPOCH, HEADER, SCHEMA, Rig, Row, must, people, person, run, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_registry.node import Node


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = Rig(tmp_path).registry("anhui")
    must(made, "keys", "create", EPOCH)
    return made


@contextmanager
def opened(home: Path) -> Iterator[Node]:
    with app.opened(Home(home)) as found:
        yield found


def take(
    home: Path, rows: list[Row], *options: str, header: tuple[str, ...] = HEADER
) -> dict[str, int]:
    """Ingest rows and return the counts that are not zero."""
    path = write_csv(home / "in.csv", rows, header)
    counts = json.loads(must(home, "ingest", path, "--json", *options))
    names = ("added", "updated", "unchanged", "deleted", "rejected")
    return {name: counts[name] for name in names if counts[name]}


def events(home: Path) -> dict[int, set[bytes]]:
    """Ids in the feed by event."""
    found: dict[int, set[bytes]] = {}
    with opened(home) as registry, registry.vault.reading() as session:
        epoch = registry.epochs.served(session, EPOCH)
        upto = feed.position(session).last_sequence
        for page in feed.pages(session, epoch.id, 0, upto):
            for event, handle in zip(page.event.tolist(), page.handle, strict=True):
                found.setdefault(event, set()).add(handle.tobytes())
    return found


def test_rows_are_added_then_unchanged_then_updated(home: Path) -> None:
    assert take(home, people(1, 2, 3)) == {"added": 3}
    assert take(home, people(1, 2, 3)) == {"unchanged": 3}
    changed = {**person(2), "given": "quentin"}
    assert take(home, [person(1), changed, person(4)]) == {"added": 1, "updated": 1, "unchanged": 1}


def test_another_spelling_of_the_same_value_changes_nothing(home: Path) -> None:
    take(home, people(1))
    row = person(1)
    spelled = {**row, "family": f"  {row['family'].upper()} ", "dob": row["dob"].replace("-", "/")}
    assert take(home, [spelled]) == {"unchanged": 1}


def test_an_unchanged_ingest_moves_nothing_in_the_feed(home: Path) -> None:
    take(home, people(1, 2, 3))
    before = events(home)
    take(home, people(1, 2, 3))
    assert events(home) == before
    assert {event: len(found) for event, found in before.items()} == {1: 6}


def test_a_changed_record_gets_new_handles_and_the_old_ones_are_retired(home: Path) -> None:
    take(home, people(1, 2))
    before = events(home)[1]
    take(home, [{**person(2), "postcode": "0001"}])
    after = events(home)
    assert len(after[1] & before) == 2
    assert after[2] == before - after[1]
    assert len(after[1]) == 4


def test_a_deleted_record_leaves_tombstones_and_no_token(home: Path) -> None:
    take(home, people(1, 2))
    before = events(home)[1]
    assert take(home, [person(2), person(9)], "--delete") == {"deleted": 1, "unchanged": 1}
    after = events(home)
    assert len(after[1]) == 2
    assert after[2] == before - after[1]
    assert take(home, people(2)) == {"added": 1}
    assert not events(home)[1] & after[2]
    with opened(home) as registry, registry.vault.reading() as session:
        unused = "SELECT count(*) FROM token_key ANTI JOIN handle USING (epoch_id, token)"
        assert session.value(unused) == 0


def test_deleting_needs_only_the_ids(home: Path) -> None:
    take(home, people(1, 2))
    rows = [{"record_id": "p1"}]
    assert take(home, rows, "--delete", header=("record_id",)) == {"deleted": 1}


def test_feed_sequences_do_not_follow_the_order_of_the_file(home: Path) -> None:
    take(home, people(*range(60)))
    with opened(home) as registry, registry.vault.reading() as session:
        refs = [row[0] for row in session.rows("SELECT ref FROM handle ORDER BY sequence")]
    ascending = sum(a <= b for a, b in pairwise(refs))
    assert 0.35 < ascending / len(refs) < 0.65


def test_a_dry_run_counts_and_changes_nothing(home: Path) -> None:
    take(home, people(1, 2))
    before = events(home)
    changed = {**person(2), "given": "quentin"}
    rows = [changed, person(3)]
    assert take(home, rows, "--dry-run") == {"added": 1, "updated": 1}
    assert take(home, rows, "--dry-run", "--delete") == {"deleted": 1, "unchanged": 1}
    assert events(home) == before


def test_bad_rows_are_reported_without_their_values(home: Path) -> None:
    rows = [
        person(1),
        {**person(2), "dob": "31/02/1988x"},
        {**person(3), "record_id": ""},
        person(1),
        {**person(5), "record_id": "z" * 300},
        person(6),
    ]
    report = home / "report.csv"
    assert take(home, rows, "--report", str(report)) == {"added": 2, "rejected": 4}
    text = report.read_text("utf-8")
    found = list(csv.DictReader(text.splitlines()))
    assert [(line["row"], line["field"]) for line in found] == [
        ("2", "dob"), ("3", "record_id"), ("4", "record_id"), ("5", "record_id"),
    ]  # fmt: skip
    assert "missing" in found[1]["reason"]
    assert "earlier row" in found[2]["reason"]
    assert "31/02" not in text
    assert report.stat().st_mode & 0o777 == 0o600


def test_no_report_is_made_where_there_is_nothing_to_report(home: Path) -> None:
    report = home / "report.csv"
    take(home, people(1), "--report", str(report))
    assert not report.exists()


def test_a_source_of_bad_rows_alone_is_a_failure(home: Path) -> None:
    path = write_csv(home / "in.csv", [{**person(1), "record_id": ""}])
    result = run(home, "ingest", path)
    assert result.exit_code == 1
    assert "No row was good enough" in result.stderr


def test_all_missing_columns_are_named_at_once(home: Path) -> None:
    path = home / "in.csv"
    path.write_text("id,Family\n1,adams\n")
    result = run(home, "ingest", path)
    assert result.exit_code == 2
    assert "Columns that are missing: record_id, given." in result.stderr
    assert run(home, "ingest", path, "--id-column", "id").exit_code == 2


def test_optional_columns_may_be_absent_and_names_ignore_case(home: Path) -> None:
    path = home / "in.csv"
    path.write_text("ID,Family,GIVEN,extra\n1,adams,ann,x\n")
    must(home, "ingest", path, "--id-column", "id")
    with opened(home) as registry:
        assert node.status(registry)["records"]["live"] == 1


def test_a_file_and_a_query_together_are_refused(home: Path) -> None:
    assert run(home, "ingest").exit_code == 2
    assert run(home, "ingest", "x.csv", "--query", "SELECT 1").exit_code == 2


def test_a_query_with_an_attached_database_is_ingested(home: Path) -> None:
    import duckdb

    database = home / "office.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT 5 AS nr, 'ann' AS given, 'adams' AS family,"
            " DATE '1988-10-17' AS dob"
        ).fetchall()
    output = must(
        home,
        "ingest",
        "--id-column",
        "nr",
        "--attach",
        f"o={database}",
        "--query",
        "SELECT * FROM o.t",
    )
    assert "1 added" in output
    assert run(home, "ingest", "--attach", "nonsense", "--query", "SELECT 1").exit_code == 2


def test_an_interrupted_ingest_keeps_its_whole_batches(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "PLAIN_ROWS", 10)
    path = write_csv(home / "in.csv", people(*range(35)))
    with opened(home) as registry:
        steps = ingest.ingest(registry, IngestRequest(path=str(path)))
        added = [next(steps).added for _ in range(3)]
        steps.close()
        entry = json.loads(registry.home.audit.read_text().splitlines()[-1])
        assert entry["fields"]["finished"] is False
        assert entry["fields"]["added"] == added[-1]
        kept = node.status(registry)["records"]["live"]
        assert added == [0, kept // 2, kept]
        last = list(ingest.ingest(registry, IngestRequest(path=str(path))))[-1]
        assert (last.added, last.unchanged) == (35 - kept, kept)
        assert node.status(registry)["epochs"][0]["records"] == 35


def test_records_without_an_epoch_are_kept_and_encoded_later(tmp_path: Path) -> None:
    home = Rig(tmp_path).registry("anhui")
    take(home, people(1, 2, 3))
    with opened(home) as registry:
        assert node.status(registry)["epochs"] == []
    must(home, "keys", "create", EPOCH)
    assert len(events(home)[1]) == 6


def test_a_row_without_any_optional_value_is_kept(home: Path) -> None:
    row = {**person(1), "dob": "", "postcode": ""}
    assert take(home, [row]) == {"added": 1}
    assert events(home) == {}


def test_another_schema_is_refused_while_records_are_there(home: Path, tmp_path: Path) -> None:
    take(home, people(1))
    schema = tmp_path / "schema.yaml"
    schema.write_text(
        schema.read_text().replace("{given: exact, dob: exact}", "{dob: exact, given: exact}")
    )
    result = run(home, "status")
    assert result.exit_code == 1
    assert "filled under another schema" in result.stderr


def test_caps_and_thresholds_may_change_with_records_there(home: Path, tmp_path: Path) -> None:
    take(home, people(1))
    schema = tmp_path / "schema.yaml"
    schema.write_text(schema.read_text().replace("cap: 4", "cap: 3"))
    must(home, "status")


def test_an_unknown_column_of_the_id_is_named_before_anything_is_read(home: Path) -> None:
    path = write_csv(home / "in.csv", people(1))
    with opened(home) as registry:
        steps = ingest.ingest(registry, IngestRequest(path=str(path), id_column="nr"))
        with pytest.raises(InvalidInputError, match="missing: nr") as caught:
            next(steps)
    assert caught.value.reason is Reason.FILE_UNREADABLE


TWO_SIDED = """\
name: two_sided
sides: {field: role, wants: SEEKING}
fields:
  - name: role
    kind: code
    entropy_bits: 1
    normalise: {values: {SEEKING: [family], FOUND: [found]}}
  - {name: name, kind: name, entropy_bits: 18}
passes:
  - {id: name, parts: {name: exact}}
"""


def test_a_registry_of_one_side_rejects_rows_of_the_other(tmp_path: Path) -> None:
    rig = Rig(tmp_path, schema_text=TWO_SIDED)
    home = rig.registry("anhui")
    settings = Home(home).settings
    settings.write_text(f'side = "FOUND"\n{settings.read_text()}')
    must(home, "keys", "create", EPOCH)
    rows = [
        {"record_id": "1", "role": "found", "name": "ann"},
        {"record_id": "2", "role": "family", "name": "bob"},
        {"record_id": "3", "role": "", "name": "eve"},
    ]
    path = write_csv(home / "rows.csv", rows, ("record_id", "role", "name"))
    told = json.loads(must(home, "ingest", path, "--id-column", "record_id", "--json"))
    assert (told["added"], told["rejected"]) == (1, 2)
    settings.write_text(settings.read_text().replace("FOUND", "LOST"))
    refused = run(home, "status")
    assert refused.exit_code
    assert "side: LOST is no side; write FOUND or SEEKING" in refused.output + refused.stderr


FACE = """
  - name: face
    kind: vector
    columns: [face_model, face]
    model: model-1
    dimensions: 16
    levels: [{label: near, max_distance: 0.4}]
passes:"""


def test_a_face_that_cannot_be_compared_is_counted_and_loses_no_record(tmp_path: Path) -> None:
    home = Rig(tmp_path, SCHEMA.replace("\npasses:", FACE)).registry("anhui")
    must(home, "keys", "create", EPOCH)
    good, small = (
        base64.b64encode(np.linspace(0.1, 0.9, size).astype("<f2").tobytes()).decode()
        for size in (16, 8)
    )
    faces = [("model-1", good), ("model-2", good), ("model-2", good), ("model-1", small), ("", "")]
    rows = [
        {**person(number), "face_model": model, "face": face}
        for number, (model, face) in enumerate(faces, start=1)
    ]
    path = write_csv(home / "in.csv", rows, (*HEADER, "face_model", "face"))
    counts = json.loads(must(home, "ingest", path, "--dry-run", "--json"))
    assert (counts["added"], counts["rejected"]) == (5, 0)
    assert counts["blanked"] == {
        "face is of another model than the schema's": 2,
        "face has more or fewer dimensions than the schema says": 1,
    }
    told = must(home, "ingest", path)
    assert "Rows: 5 added, of 5." in told
    assert "Cells taken for missing: 2 of face is of another model than the schema's." in told
    assert good not in told
    # At rest a face is sealed like any value.
    vault = Home(home).vault.read_bytes()
    seeker = Seeker([good.encode(), base64.b64decode(good)])
    assert not seeker.found_in(vault)
    assert len(seeker.found_in(vault + path.read_bytes() + base64.b64decode(good))) == 2
    assert must(home, "ingest", path).startswith("Rows: 5 unchanged")
