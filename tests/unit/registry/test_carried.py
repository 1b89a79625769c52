"""A restore takes over what must not be undone, whatever numbers either vault gave its epochs."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

import duckdb
import pytest
from kinlink_registry.carried import carry_over
from kinlink_registry.cipher import VaultCipher
from kinlink_registry.migrations import MIGRATIONS, migrate
from kinlink_registry.session import Session
from kinlink_registry.vault import check_key, read_meta, write_meta

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = dt.date(2026, 11, 21)
ANN, BOB, CARL = (uuid.UUID(int=number) for number in (1, 2, 3))
CIPHER = VaultCipher(bytes(range(32)))


def insert(session: Session, table: str, *rows: tuple[object, ...]) -> None:
    for row in rows:
        marks = ", ".join("?" for _ in row)
        session.run(f"INSERT INTO {table} VALUES ({marks})", row)


@pytest.fixture
def vaults() -> Iterator[tuple[Session, Session]]:
    """The vault that is replaced, and an older state of it under other numbers."""
    connections = [
        duckdb.connect(":memory:", config={"arrow_lossless_conversion": True}) for _ in "ab"
    ]
    sessions = [Session(each) for each in connections]
    for session in sessions:
        migrate(session, MIGRATIONS)
        check_key(session, CIPHER)
    replaced, restored = sessions
    insert(replaced, "epoch", (1, "2026-11", "m11", True), (2, "2026-12", "m12", True))
    insert(restored, "epoch", (2, "2026-11", "m11", True), (3, "2026-10", "m10", True))
    yield replaced, restored
    for each in connections:
        each.close()


def test_the_larger_of_both_amounts_stands(vaults: tuple[Session, Session]) -> None:
    replaced, restored = vaults
    insert(
        replaced, "usage",
        (1, "henan", DAY, "sealed_pairs", 30), (1, "henan", DAY, "sealed_pairs", 12),
        (2, "henan", DAY, "sealed_pairs", 5),
    )  # fmt: skip
    insert(
        restored, "usage",
        (2, "henan", DAY, "sealed_pairs", 40), (2, "hunan", DAY, "sealed_pairs", 7),
        (3, "henan", DAY, "sealed_pairs", 1),
    )  # fmt: skip
    insert(replaced, "spent", ("linker", DAY, 3))
    insert(restored, "spent", ("linker", DAY, 2), ("other", DAY, 9))
    carry_over(replaced, restored, CIPHER)
    epochs = dict(restored.rows("SELECT name, id FROM epoch"))
    assert set(epochs) == {"2026-10", "2026-11", "2026-12"}
    used = restored.rows("SELECT epoch_id, partner, amount FROM usage ORDER BY ALL")
    assert set(used) == {
        (epochs["2026-11"], "henan", 42),
        (epochs["2026-11"], "hunan", 7),
        (epochs["2026-12"], "henan", 5),
        (epochs["2026-10"], "henan", 1),
    }
    spent = restored.rows("SELECT linker, amount FROM spent ORDER BY ALL")
    assert spent == [("linker", 3), ("other", 9)]


def test_an_epoch_of_the_same_name_and_another_secret_carries_nothing(
    vaults: tuple[Session, Session],
) -> None:
    replaced, restored = vaults
    restored.run("UPDATE epoch SET mark = 'another' WHERE name = '2026-11'")
    insert(replaced, "usage", (1, "henan", DAY, "sealed_pairs", 30))
    carry_over(replaced, restored, CIPHER)
    assert restored.rows("SELECT * FROM usage") == []


def test_pins_of_the_replaced_vault_stand_and_the_others_stay(
    vaults: tuple[Session, Session],
) -> None:
    replaced, restored = vaults
    insert(replaced, "chance", (1, "henan", 8, 0, 11, 1), (1, "henan", 8, 1, 12, 1))
    insert(restored, "chance", (2, "henan", 8, 0, 99, 1), (2, "henan", 4, 0, 98, 1))
    insert(replaced, "sealed_toward", (1, "henan", 11, ANN), (1, "henan", 12, ANN))
    insert(restored, "sealed_toward", (2, "henan", 11, ANN), (2, "henan", 13, ANN))
    insert(replaced, "evaluation_key", (1, "birth", b"new"))
    insert(restored, "evaluation_key", (2, "birth", b"old"), (2, "name", b"old"))
    carry_over(replaced, restored, CIPHER)
    drawn = restored.rows("SELECT round_rows, position, ref FROM chance ORDER BY ALL")
    assert drawn == [(4, 0, 98), (8, 0, 11), (8, 1, 12)]
    assert restored.rows("SELECT ref FROM sealed_toward ORDER BY ref") == [(11,), (12,), (13,)]
    keys = restored.rows("SELECT pass_id, public_key FROM evaluation_key ORDER BY ALL")
    assert [(name, bytes(key)) for name, key in keys] == [("birth", b"new"), ("name", b"old")]


def test_whoever_is_out_in_either_vault_is_out_and_the_stricter_protection_holds(
    vaults: tuple[Session, Session],
) -> None:
    replaced, restored = vaults
    insert(replaced, "withdrawn", (ANN,))
    insert(restored, "withdrawn", (BOB,))
    insert(replaced, "protected", (ANN, 2), (BOB, 1), (CARL, 1))
    insert(restored, "protected", (ANN, 1), (CARL, 2))
    insert(restored, "record", (7, CARL, 1, ANN, b""))
    insert(restored, "subject", (2, 7, ANN))
    insert(restored, "sketch", (2, 7, 1, b""))
    insert(restored, "handle", (1, 2, 0, 0, BOB, CARL, ANN, 7, True))
    carry_over(replaced, restored, CIPHER)
    assert restored.rows("SELECT local_key FROM withdrawn ORDER BY ALL") == [(ANN,), (BOB,)]
    kinds = restored.rows("SELECT local_key, kind FROM protected ORDER BY ALL")
    assert kinds == [(ANN, 1), (BOB, 1), (CARL, 1)]
    # Carl was in the backup's feed: he leaves it, and his subject is told as gone.
    assert restored.rows("SELECT * FROM handle") == restored.rows("SELECT * FROM subject") == []
    assert restored.rows("SELECT id FROM tombstone WHERE event = 3 AND sequence > 0") == [(ANN,)]


def test_numbers_of_records_are_not_given_again(vaults: tuple[Session, Session]) -> None:
    replaced, restored = vaults
    write_meta(replaced, "next_ref", "50")
    write_meta(restored, "next_ref", "20")
    carry_over(replaced, restored, CIPHER)
    assert read_meta(restored, "next_ref") == "50"
