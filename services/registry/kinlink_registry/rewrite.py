"""One vault file copied into another: for backups, and to leave nothing of what was destroyed.

DuckDB keeps deleted rows on its pages until they are overwritten, so when an epoch retires what
stays is copied into a new file that takes the old one's place. Not guaranteed: a file system or a
disk may keep blocks of the old file; whoever fears that encrypts the disk.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from kinlink_registry.vault import read_meta, write_meta

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_registry.session import Session
    from kinlink_registry.vault import Vault

# Set in the transaction that forgets an epoch, until nothing of it is left in the file.
REWRITE_DUE = "rewrite_due"
# The new file lies beside the old one for a moment; DuckDB packs it about as tightly.
FREE_SHARE_MIN = 1.25

_log = structlog.get_logger(__name__)


def ask_for_rewrite(session: Session) -> None:
    """Have the file rewritten as soon as this transaction is through."""
    write_meta(session, REWRITE_DUE, "1")


def rewrite_if_due(vault: Vault) -> bool:
    """Rewrite the vault's file if something was destroyed in it; whether that is done.

    A disk too full for the second file leaves it for later.
    """
    with vault.only_writer():
        with vault.reading() as session:
            if not read_meta(session, REWRITE_DUE):
                return True
        size = vault.path.stat().st_size
        if shutil.disk_usage(vault.path.parent).free < FREE_SHARE_MIN * size:
            _log.warning("rewrite_waits", reason="the disk has no room for a second file")
            return False
        draft = vault.path.with_name(vault.path.name + ".rewriting")
        remove(draft)
        try:
            with vault.reading() as session:
                copy(session, draft)
            draft.chmod(vault.path.stat().st_mode)
            synced(draft)
            vault.replaced(lambda: exchange(draft, vault.path))
        finally:
            remove(draft)
        with vault.writing() as session:
            session.run("DELETE FROM meta WHERE name = ?", [REWRITE_DUE])
    return True


def copy(session: Session, draft: Path) -> int:
    """Copy all that a session sees into a new file; returns its number of records."""
    # Sealed random bytes spill nowhere: the copy is a statement per table inside one snapshot.
    name = f"copied_{secrets.token_hex(4)}"
    session.run(f"ATTACH '{_quoted(draft)}' AS {name}")
    try:
        for (definition,) in session.rows(
            "SELECT sql FROM duckdb_tables() WHERE database_name = current_database()"
        ):
            session.run(definition.replace("CREATE TABLE ", f"CREATE TABLE {name}.", 1))
        for (table,) in session.rows(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
        ):
            session.run(f'INSERT INTO {name}."{table}" SELECT * FROM main."{table}"')
        session.run("COMMIT")
        session.run(f"CHECKPOINT {name}")
        records: int = session.value(f"SELECT count(*) FROM {name}.record")
    finally:
        with suppress(Exception):
            session.run("ROLLBACK")
        session.run(f"DETACH {name}")
    return records


def exchange(draft: Path, vault: Path) -> None:
    """Put a closed file in the place of another."""
    _wal(vault).unlink(missing_ok=True)
    draft.replace(vault)


def remove(path: Path) -> None:
    """Delete a file and its log, where there are any."""
    path.unlink(missing_ok=True)
    _wal(path).unlink(missing_ok=True)


def synced(path: Path) -> None:
    """Have a file on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
