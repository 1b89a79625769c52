from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import duckdb
import pytest
from kinlink_core.errors import (
    KinlinkError,
    PreconditionError,
    QuotaError,
    Reason,
    UnavailableError,
)
from kinlink_registry.cipher import VaultCipher
from kinlink_registry.migrations import FIRST, MIGRATIONS, Migration, stored_version
from kinlink_registry.session import translated
from kinlink_registry.vault import Vault, read_meta, take_numbers, write_meta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_registry.session import Session

KEY = bytes(32)
# What a later version of Kinlink might do to the tables of version 1.
SECOND = Migration(
    2,
    (
        "ALTER TABLE link ADD COLUMN note VARCHAR",
        "INSERT INTO meta VALUES ('migrated', 'yes')",
    ),
)


def open_vault(path: Path, key: bytes, migrations: tuple[Migration, ...] = MIGRATIONS) -> Vault:
    return Vault(path, VaultCipher(key), memory_limit="200MB", threads=1, migrations=migrations)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    opened = open_vault(tmp_path / "vault.duckdb", KEY)
    yield opened
    opened.close()


def test_what_was_written_is_there_after_a_reopening(tmp_path: Path) -> None:
    path = tmp_path / "vault.duckdb"
    vault = open_vault(path, KEY)
    with vault.writing() as session:
        write_meta(session, "colour", "blue")
    vault.close()
    vault = open_vault(path, KEY)
    with vault.reading() as session:
        assert read_meta(session, "colour") == "blue"
    vault.close()


def test_another_vault_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.duckdb"
    open_vault(path, KEY).close()
    with pytest.raises(PreconditionError, match="another vault key") as caught:
        open_vault(path, b"x" * 32)
    assert caught.value.reason is Reason.KEY_MISSING
    open_vault(path, KEY).close()


def test_a_second_process_is_told_that_the_vault_is_busy(vault: Vault) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from kinlink_core.errors import UnavailableError\n"
        "from kinlink_registry.cipher import VaultCipher\n"
        "from kinlink_registry.vault import Vault\n"
        "try: Vault(Path(sys.argv[1]), VaultCipher(bytes(32)), memory_limit='200MB', threads=1)\n"
        "except UnavailableError as error: print(error.reason)\n"
    )
    command = [sys.executable, "-c", code, str(vault.path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == Reason.STORE_BUSY


def test_a_file_that_is_no_vault_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.duckdb"
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(PreconditionError, match=r"vault\.duckdb is damaged or is no vault"):
        open_vault(path, KEY)


def test_a_vault_of_version_1_migrates_forward(tmp_path: Path) -> None:
    path = tmp_path / "vault.duckdb"
    old = open_vault(path, KEY, migrations=(FIRST,))
    with old.writing() as session:
        session.run("INSERT INTO withdrawn VALUES (uuid())")
    old.close()
    new = open_vault(path, KEY, migrations=(FIRST, SECOND))
    with new.reading() as session:
        assert stored_version(session) == 2
        assert read_meta(session, "migrated") == "yes"
        assert session.value("SELECT count(*) FROM withdrawn") == 1
        assert session.value("SELECT count(note) FROM link") == 0
    new.close()
    with pytest.raises(PreconditionError, match="version 2, this Kinlink reads up to 1") as caught:
        open_vault(path, KEY, migrations=(FIRST,))
    assert caught.value.reason is Reason.STORE_VERSION


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path: Path) -> None:
    path = tmp_path / "vault.duckdb"
    open_vault(path, KEY, migrations=(FIRST,)).close()
    broken = Migration(2, (SECOND.statements[0], "SELECT nonsense"))
    with pytest.raises(duckdb.Error):
        open_vault(path, KEY, migrations=(FIRST, broken))
    vault = open_vault(path, KEY, migrations=(FIRST, SECOND))
    with vault.reading() as session:
        assert stored_version(session) == 2
    vault.close()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [each.version for each in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_a_change_that_fails_is_undone_as_a_whole(vault: Vault) -> None:
    generation = vault.generation

    def fail() -> None:
        with vault.writing() as session:
            write_meta(session, "colour", "blue")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with vault.reading() as session:
        assert read_meta(session, "colour") is None
    assert vault.generation == generation


def test_a_reader_sees_one_state_while_others_write(vault: Vault) -> None:
    with vault.reading() as session:
        before = session.value("SELECT count(*) FROM withdrawn")

        def write() -> None:
            with vault.writing() as writer:
                writer.run("INSERT INTO withdrawn VALUES (uuid())")

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        assert session.value("SELECT count(*) FROM withdrawn") == before
    with vault.reading() as session:
        assert session.value("SELECT count(*) FROM withdrawn") == before + 1


def test_many_threads_write_one_after_another(vault: Vault) -> None:
    def count() -> None:
        for _ in range(20):
            with vault.writing() as session:
                take_numbers(session, "counter", 3)

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with vault.reading() as session:
        assert read_meta(session, "counter") == str(6 * 20 * 3)


def test_a_replacement_waits_for_readers_and_keeps_newcomers_out(vault: Vault) -> None:
    inside, leave, seen = threading.Event(), threading.Event(), []

    def read() -> None:
        with vault.reading() as session:
            inside.set()
            leave.wait(10)
            session.value("SELECT count(*) FROM record")
            seen.append("reader done")

    reader = threading.Thread(target=read)
    reader.start()
    inside.wait(10)
    replacer = threading.Thread(target=lambda: vault.replaced(lambda: seen.append("replaced")))
    replacer.start()
    while not vault.closing:
        pass
    leave.set()
    reader.join()
    replacer.join()
    assert seen == ["reader done", "replaced"]
    with vault.reading() as session:
        assert session.value("SELECT count(*) FROM record") == 0


def test_memory_of_pages_is_given_back_while_others_read(vault: Vault) -> None:
    with vault.writing() as session:
        session.run("CREATE TABLE much AS SELECT hash(i) AS n FROM range(18_000_000) r(i)")
    with vault.reading() as session:
        total = session.rows("SELECT sum(n) FROM much")
        kept = pages(session)
        vault.release(above_bytes=2 * kept)
        assert pages(session) == kept
        vault.release(above_bytes=kept // 2)
        assert pages(session) < kept
        assert session.rows("SELECT sum(n) FROM much") == total
        assert session.value("SELECT current_setting('memory_limit')") == "190.7 MiB"


def test_nothing_is_given_back_while_somebody_writes(vault: Vault) -> None:
    with vault.writing() as session:
        session.run("CREATE TABLE much AS SELECT hash(i) AS n FROM range(2_000_000) r(i)")
        kept = pages(session)
        releasing = threading.Thread(target=vault.release, args=(1,))
        releasing.start()
        releasing.join()
        assert pages(session) >= kept
    with vault.reading() as session:
        vault.release(above_bytes=1)
        assert pages(session) < kept


def pages(session: Session) -> int:
    """Bytes that DuckDB keeps in memory."""
    kept: int = session.value("SELECT sum(memory_usage_bytes) FROM duckdb_memory()")
    return kept


def test_a_replacement_that_fails_leaves_the_vault_open(vault: Vault) -> None:
    with vault.writing() as session:
        write_meta(session, "colour", "blue")

    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        vault.replaced(fail)
    with vault.reading() as session:
        assert read_meta(session, "colour") == "blue"


def test_a_vault_that_a_failure_broke_is_opened_again(vault: Vault) -> None:
    # What DuckDB does after it could not write its log: every later statement fails.
    vault._root.close()
    with pytest.raises((UnavailableError, KinlinkError, duckdb.Error)), vault.writing():
        pass
    with vault.reading() as session:
        assert session.value("SELECT count(*) FROM record") == 0


@pytest.mark.parametrize(
    "error",
    [
        duckdb.OutOfMemoryException("failed to pin block"),
        duckdb.FatalException("Failed to create checkpoint because of error: Out of Memory Error"),
        duckdb.TransactionException("Failed to commit: could not allocate block of size 256 KiB"),
    ],
)
def test_want_of_memory_is_named_whatever_it_broke(error: duckdb.Error) -> None:
    with pytest.raises(QuotaError, match=r"vault\.memory_limit"), translated():
        raise error
