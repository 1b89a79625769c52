from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import InvalidInputError, PreconditionError, UnavailableError
from kinlink_core.runtime.audit import Head
from kinlink_gateway.audit import Access, AuditQuery, AuditTrail
from kinlink_gateway.decisions import Decisions
from kinlink_gateway.store import Store
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def access(number: int = 0, *, actor: str = "Li Wei") -> Access:
    return Access(actor, "analyst", "link.read", f"link-{number}", 200, "ghjkmnpqrstv")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'gateway.db'}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def trail(store: Store) -> AuditTrail:
    return AuditTrail(store)


def tamper(store: Store, *statements: str) -> None:
    """What someone with the database file can do: drop the triggers first."""
    with store.write() as connection:
        for verb in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER IF EXISTS audit_entry_no_{verb}"))
        for statement in statements:
            connection.execute(text(statement))


def test_an_empty_chain_holds(trail: AuditTrail) -> None:
    found = trail.verify()
    assert (found.entries, found.faults) == (0, ())


def test_entries_are_numbered_from_one_and_each_seals_the_one_before(trail: AuditTrail) -> None:
    first, second = trail.write(access(1)), trail.write(access(2))
    assert (first.sequence, second.sequence) == (1, 2)
    assert second.previous_hash == first.hash
    found = trail.verify()
    assert (found.entries, found.head.hash, found.faults) == (2, second.hash, ())


def test_a_chain_longer_than_one_batch_is_verified(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinlink_gateway.audit.VERIFY_ROWS_AT_ONCE", 3)
    for number in range(10):
        trail.write(access(number))
    assert trail.verify().entries == 10


@pytest.mark.parametrize(
    "assignment",
    [
        "actor = 'Chen'",
        "object_id = 'other'",
        "status = 403",
        "row_count = 5",
        "at = '2020-01-01'",
        "role = 'operator'",
        "action = 'x'",
        "request_id = ''",
    ],
)
def test_a_changed_column_breaks_the_chain(
    trail: AuditTrail, store: Store, assignment: str
) -> None:
    for number in range(3):
        trail.write(access(number))
    tamper(store, f"UPDATE audit_entry SET {assignment} WHERE sequence = 2")
    assert trail.verify().faults == ("entry 2 was changed after it was written",)


def test_a_removed_entry_breaks_the_chain(trail: AuditTrail, store: Store) -> None:
    for number in range(3):
        trail.write(access(number))
    tamper(store, "DELETE FROM audit_entry WHERE sequence = 2")
    assert trail.verify().faults == ("entry 2 is missing",)


def test_a_cut_off_tail_shows(trail: AuditTrail, store: Store) -> None:
    for number in range(3):
        trail.write(access(number))
    tamper(store, "DELETE FROM audit_entry WHERE sequence > 1")
    assert trail.verify().faults == ("entries 2 to 3 are missing",)


def test_two_entries_that_changed_places_show(trail: AuditTrail, store: Store) -> None:
    for number in range(3):
        trail.write(access(number))
    tamper(
        store,
        "UPDATE audit_entry SET sequence = 9 WHERE sequence = 2",
        "UPDATE audit_entry SET sequence = 2 WHERE sequence = 3",
        "UPDATE audit_entry SET sequence = 3 WHERE sequence = 9",
    )
    assert trail.verify().faults == ("entry 2 does not follow the one before it",)


def test_a_chain_cut_together_with_its_head_shows_against_an_anchor(
    trail: AuditTrail, store: Store
) -> None:
    for number in range(2):
        trail.write(access(number))
    noted = trail.write(access(2))
    tamper(
        store,
        "DELETE FROM audit_entry WHERE sequence > 2",
        "UPDATE audit_head SET sequence = 2, "
        "hash = (SELECT hash FROM audit_entry WHERE sequence = 2)",
    )
    assert trail.verify().ok
    anchor = Head(noted.sequence, noted.hash)
    assert trail.verify(anchor).faults == ("the chain does not contain the anchor",)


def test_an_entry_beyond_the_head_shows(trail: AuditTrail, store: Store) -> None:
    for number in range(3):
        trail.write(access(number))
    tamper(
        store,
        "UPDATE audit_head SET sequence = 2, "
        "hash = (SELECT hash FROM audit_entry WHERE sequence = 2)",
    )
    assert trail.verify().faults == ("entries after 2 are not in the chain",)


def test_a_rewritten_chain_holds_by_itself_but_not_against_an_anchor(
    tmp_path: Path, trail: AuditTrail
) -> None:
    trail.write(access(1))
    noted = trail.write(access(2))
    anchor = Head(noted.sequence, noted.hash)
    trail.write(access(3))
    assert trail.verify(anchor).faults == ()
    forged_store = Store(f"sqlite:///{tmp_path / 'forged.db'}")
    forged_store.migrate()
    forged = AuditTrail(forged_store)
    for number in (1, 9, 3):
        forged.write(access(number))
    assert forged.verify().faults == ()
    assert forged.verify(anchor).faults == ("the chain does not contain the anchor",)
    assert forged.verify(Head(9, noted.hash)).faults == ("the chain does not contain the anchor",)
    forged_store.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_entry SET actor = 'x'", "DELETE FROM audit_entry"]
)
def test_the_database_refuses_to_change_the_audit(
    trail: AuditTrail, store: Store, statement: str
) -> None:
    trail.write(access())
    with pytest.raises(UnavailableError) as caught, store.write() as connection:
        connection.execute(text(statement))
    assert "append-only" in caught.value.detail
    assert trail.verify().entries == 1


def test_threads_write_one_unbroken_chain(trail: AuditTrail) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(trail.write, (access(number) for number in range(150))))
    found = trail.verify()
    assert (found.entries, found.faults) == (150, ())


WRITER = """
import sys
from kinlink_gateway.audit import Access, AuditTrail
from kinlink_gateway.decisions import Decisions
from kinlink_gateway.store import Store

url, actor, count = sys.argv[1:]
store = Store(url)
for number in range(int(count)):
    AuditTrail(store).write(Access(actor, "analyst", "link.read", f"link-{number}", 200, ""))
store.close()
"""


def test_processes_write_one_unbroken_chain(tmp_path: Path, trail: AuditTrail) -> None:
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, f"p{number}", "25"])
        for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = trail.verify()
    assert (found.entries, found.faults) == (75, ())


def test_entries_are_found_by_actor_and_action_and_paged(trail: AuditTrail) -> None:
    for number in range(6):
        trail.write(access(number, actor="Chen" if number % 2 else "Li Wei"))
    assert [e.sequence for e in trail.entries(AuditQuery(actor="Chen"))] == [6, 4, 2]
    assert trail.entries(AuditQuery(action="nothing")) == ()
    assert [e.sequence for e in trail.entries(AuditQuery(before=3, limit=1))] == [2]


def test_a_write_that_fails_leaves_no_trace(trail: AuditTrail, store: Store) -> None:
    trail.write(access(1))
    tamper(
        store,
        "CREATE TRIGGER full BEFORE INSERT ON audit_entry "
        "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    )
    with pytest.raises(UnavailableError, match="no space"):
        trail.write(access(2))
    tamper(store, "DROP TRIGGER full")
    assert trail.verify().faults == ()
    assert trail.write(access(3)).sequence == 2


def test_a_database_of_the_first_version_is_brought_up_to_date(
    store: Store, trail: AuditTrail
) -> None:
    trail.write(access())
    tamper(store, "ALTER TABLE decision DROP COLUMN ruled_out_by")
    tamper(store, "UPDATE gateway_meta SET value = '1'")
    tamper(
        store,
        "INSERT INTO decision (link_id, linkage_id, verdict, reason, decided_by, decided_at)"
        " VALUES ('id', 'lk', 'rejected', 'why', 'Li Wei', '2026-11-20 08:30:00')",
    )
    with pytest.raises(PreconditionError, match="version 1"):
        store.require()
    store.migrate()
    store.require()
    (kept,) = Decisions(store).history("id")
    assert (kept.reason, kept.ruled_out_by) == ("why", None)
    assert trail.verify().entries == 1


def test_migrating_again_changes_nothing(store: Store, trail: AuditTrail) -> None:
    trail.write(access())
    store.migrate()
    assert trail.verify().entries == 1


def test_a_database_of_a_newer_build_is_refused(store: Store) -> None:
    tamper(store, "UPDATE gateway_meta SET value = '99'")
    with pytest.raises(PreconditionError, match="version 99"):
        store.migrate()


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "oracle://a", "sqlite3://x"])
def test_a_database_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        Store(url)


def test_a_database_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        Store(f"sqlite:///{tmp_path / 'missing' / 'gateway.db'}").migrate()
