"""Copies of the vault while it serves, and putting one back.

A backup is a vault of its own, of one state, sealed like the original: without the vault key it is
worth nothing, and the key is not in it. A restored vault starts a new feed, because what the linker
knows of the old one no longer continues, and takes over what must not be undone (`carried`).
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from kinlink_core.errors import ConflictError, InvalidInputError, PreconditionError, Reason

from kinlink_registry.carried import carry_over
from kinlink_registry.filled import FINGERPRINT
from kinlink_registry.migrations import MIGRATIONS, migrate, stored_version
from kinlink_registry.rewrite import copy, exchange, remove, synced
from kinlink_registry.session import Session
from kinlink_registry.vault import (
    FEED_ID,
    check_key,
    connect,
    new_feed_id,
    read_meta,
    vault_config,
    write_meta,
)

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_registry.node import Node

FILE_MODE = 0o600


def backup(node: Node, path: Path) -> int:
    """Write the vault's present state to a new file; returns its number of records.

    Raises:
        ConflictError: the file exists.
        QuotaError: the disk is full; no file is left behind.
    """
    if path.exists():
        raise ConflictError(Reason.FILE_UNREADABLE, f"{path} exists already: choose another name.")
    if not path.parent.is_dir():
        raise InvalidInputError(Reason.FILE_UNREADABLE, f"There is no directory {path.parent}.")
    draft = path.with_name(path.name + ".partial")
    remove(draft)
    try:
        with node.vault.reading() as session:
            records = copy(session, draft)
        draft.chmod(FILE_MODE)
        synced(draft)
        draft.replace(path)
    except OSError as error:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, f"{path} cannot be written: {error.strerror}."
        ) from error
    finally:
        remove(draft)
    node.audit.write("backup", "operator/local", records=records)
    node.instruments.registry.backup_succeeded.set_to_current_time()
    return records


def restore(node: Node, path: Path) -> int:
    """Put a backup in the vault's place; returns its number of records.

    It is checked first; only then are readers asked to leave, and the exchange is one rename.

    Raises:
        InvalidInputError: there is no such file.
        PreconditionError: it is no vault, too new, of another key or another schema.
    """
    if not path.is_file():
        raise InvalidInputError(Reason.FILE_UNREADABLE, f"There is no file {path}.")
    draft = node.home.vault.with_name(node.home.vault.name + ".restoring")
    remove(draft)
    try:
        shutil.copyfile(path, draft)
        draft.chmod(FILE_MODE)
        # Nothing is spent between the look at what was spent and the exchange.
        with node.vault.only_writer():
            records = _prepared(node, draft)
            synced(draft)
            node.vault.replaced(lambda: exchange(draft, node.home.vault))
    except OSError as error:
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, f"{path} cannot be copied: {error.strerror}."
        ) from error
    finally:
        remove(draft)
    node.forget()
    node.epochs.sync()
    node.audit.write("restore", "operator/local", records=records)
    return records


def _prepared(node: Node, draft: Path) -> int:
    """Check a copy, bring it to this version, and give it a feed of its own."""
    settings = node.settings.vault
    root = connect(draft, vault_config(settings.memory_limit, settings.threads))
    try:
        session = Session(root)
        if not session.value("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'meta'"):
            raise PreconditionError(Reason.STORE_VERSION, "The file is no vault.")
        if not stored_version(session):
            raise PreconditionError(Reason.STORE_VERSION, "The file is no vault.")
        migrate(session, MIGRATIONS)
        check_key(session, node.vault.cipher)
        if read_meta(session, FINGERPRINT) not in (None, node.schema.fingerprint()):
            raise PreconditionError(
                Reason.SCHEMA_DIFFERS, "The backup was made under another schema."
            )
        write_meta(session, FEED_ID, new_feed_id())
        # What partners said was about a younger state of our records: they are asked again.
        session.run("DELETE FROM decided_handle")
        with node.vault.reading() as replaced:
            carry_over(replaced, session, node.vault.cipher)
        session.run("CHECKPOINT")
        records: int = session.value("SELECT count(*) FROM record")
    finally:
        root.close()
    return records
