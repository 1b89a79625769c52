from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import KinlinkError, PreconditionError, Reason
from kinlink_core.runtime.audit import AuditLog, Head, verify

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def log(path: Path) -> AuditLog:
    log = AuditLog(path)
    for number in range(5):
        log.write("linkage-started", "operator/ana", linkage=f"l{number}", registries=["a", "b"])
    return log


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines(keepends=True)


def test_an_untouched_log_verifies_and_tells_its_head(log: AuditLog, path: Path) -> None:
    head = log.write("linkage-ended", "linker", state="PARTIAL")
    report = verify(path, expected=head)
    assert report.ok
    assert (report.entries, report.head) == (6, head)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_log_verifies(path: Path) -> None:
    AuditLog(path)
    assert verify(path).ok


def test_entries_say_when_what_who_and_the_fields(log: AuditLog, path: Path) -> None:
    del log
    entry = json.loads(lines_of(path)[0])
    assert (entry["action"], entry["actor"]) == ("linkage-started", "operator/ana")
    assert entry["fields"] == {"linkage": "l0", "registries": ["a", "b"]}
    assert entry["time"].endswith("+00:00")


def test_an_edited_line_is_found_by_its_number(log: AuditLog, path: Path) -> None:
    del log
    lines = lines_of(path)
    lines[2] = lines[2].replace("operator/ana", "operator/bob")
    path.write_text("".join(lines), "utf-8")
    assert verify(path).faults == ("line 3: was changed",)


def test_a_removed_line_is_found(log: AuditLog, path: Path) -> None:
    del log
    lines = lines_of(path)
    del lines[2]
    path.write_text("".join(lines), "utf-8")
    assert verify(path).faults[0] == "line 3: does not follow the entry before it in sequence"


def test_swapped_and_inserted_lines_are_found(log: AuditLog, path: Path) -> None:
    del log
    lines = lines_of(path)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]), "utf-8")
    assert not verify(path).ok
    path.write_text("".join([lines[0], lines[0], *lines[1:]]), "utf-8")
    assert not verify(path).ok
    path.write_text("".join([*lines[:2], "not an entry\n", *lines[2:]]), "utf-8")
    assert "line 3: is not an entry" in verify(path).faults


def test_a_shortened_log_is_found_by_its_head_file(log: AuditLog, path: Path) -> None:
    path.write_text("".join(lines_of(path)[:3]), "utf-8")
    assert verify(path).faults == ("the log does not contain the entry that its head file names",)
    with pytest.raises(PreconditionError) as caught:
        log.write("linkage-started", "operator/ana")
    assert caught.value.reason is Reason.AUDIT_BROKEN


def test_a_log_that_was_rewritten_takes_no_entry_that_would_hide_it(
    log: AuditLog, path: Path
) -> None:
    head = path.with_name("audit.jsonl.head")
    kept = path.read_text("utf-8"), head.read_text("utf-8")
    forged = AuditLog(path.with_name("forged.jsonl"))
    for number in range(5):
        forged.write("nothing-happened", "operator/ana", number=number)
    path.write_text(path.with_name("forged.jsonl").read_text("utf-8"), "utf-8")
    with pytest.raises(PreconditionError):
        log.write("verdict", "analyst/eva")
    path.write_text(kept[0], "utf-8")
    head.unlink()
    with pytest.raises(PreconditionError):
        log.write("verdict", "analyst/eva")
    head.write_text(kept[1], "utf-8")
    assert log.write("verdict", "analyst/eva").sequence == 6


def test_a_log_rewritten_with_its_head_file_is_found_by_a_head_noted_elsewhere(
    log: AuditLog, path: Path
) -> None:
    noted = log.write("verdict", "analyst/eva", link="x")
    path.unlink()
    path.with_name("audit.jsonl.head").unlink()
    forged = AuditLog(path)
    for _ in range(6):
        forged.write("nothing-happened", "operator/ana")
    assert verify(path).ok
    assert verify(path, expected=noted).faults == (
        "the log does not contain the entry that the given head names",
    )


def test_a_missing_head_file_is_a_fault(log: AuditLog, path: Path) -> None:
    del log
    path.with_name("audit.jsonl.head").unlink()
    assert verify(path).faults == ("the head file is missing",)


def test_a_line_that_a_crash_left_unfinished_is_cut_off_and_said(log: AuditLog, path: Path) -> None:
    with path.open("a") as file:
        file.write('{"action":"half')
    assert verify(path).faults == ("line 6: is not finished",)
    log.write("verdict", "analyst/eva")
    assert verify(path).ok
    assert [json.loads(line)["action"] for line in lines_of(path)[-2:]] == [
        "audit-repaired",
        "verdict",
    ]


def test_an_entry_written_before_a_crash_but_not_in_the_head_is_kept(
    log: AuditLog, path: Path
) -> None:
    head = path.with_name("audit.jsonl.head")
    before = head.read_bytes()
    log.write("verdict", "analyst/eva")
    head.write_bytes(before)
    assert verify(path).ok
    log.write("verdict", "analyst/eva")
    assert verify(path).head.sequence == 7


def test_two_writers_of_one_file_make_one_chain(path: Path) -> None:
    def write(log: AuditLog) -> None:
        for _ in range(20):
            log.write("verdict", "analyst/eva")

    threads = [threading.Thread(target=write, args=[AuditLog(path)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = verify(path)
    assert (report.ok, report.entries) == (True, 40)


def test_each_write_is_reported_by_its_action(path: Path) -> None:
    actions: list[str] = []
    AuditLog(path, actions.append).write("verdict", "analyst/eva")
    assert actions == ["verdict"]


@pytest.mark.parametrize("value", [b"bytes", {"nested": 1}, [b"bytes"], object()])
def test_only_plain_fields_are_written(path: Path, value: object) -> None:
    with pytest.raises(TypeError):
        AuditLog(path).write("verdict", "analyst/eva", field=value)
    assert verify(path).head == Head(0, "0" * 64)


def test_an_entry_that_is_too_long_is_refused_and_leaves_the_log_as_it_was(
    log: AuditLog, path: Path
) -> None:
    with pytest.raises(KinlinkError, match="too long"):
        log.write("verdict", "analyst/eva", reason="x" * 20_000)
    assert verify(path).entries == 5


def test_a_full_disk_is_reported_and_leaves_the_log_as_it_was(
    log: AuditLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(KinlinkError) as caught:
            log.write("verdict", "analyst/eva")
    assert caught.value.reason is Reason.DISK_FULL
    log.write("verdict", "analyst/eva")
    report = verify(path)
    assert (report.ok, report.entries) == (True, 6)
