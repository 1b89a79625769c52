"""What a restore must not undo: what was spent, pinned, withdrawn, protected or denied since.

A backup is a state of the past. Were all of it put back, a linker could spend the same quota twice,
have chance pairs drawn anew, and ask for people who left meanwhile. So the restored vault takes
over from the one it replaces, epoch by epoch of the same secret:

* quotas and budgets: the larger of both, for each partner, linker and day;
* records sealed towards a partner: those of both;
* pinned chance pairs and public keys of the key server: the replaced vault's;
* withdrawn consent and protection: those of both, the stricter kind; approvals as decided last.

Numbers of records are never given again, so none of this falls on somebody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kinlink_registry import columns, encodings, subjects
from kinlink_registry.absence import ABSENT
from kinlink_registry.vault import NEXT_REF, read_meta, write_meta

if TYPE_CHECKING:
    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.session import Session

EPOCH_ID_MAX: Final = 32

# By table: the columns that one fact is about, beside the epoch; the replaced vault's fact stands.
_PINNED: Final = {
    "chance": ("partner", "round_rows"),
    "evaluation_key": ("pass_id",),
    "sealed_toward": ("partner", "ref", "handle"),
}
# By list of people: what it says of one; the lowest kind of protection is the strictest.
_LISTS: Final = {
    "withdrawn": "local_key",
    "protected": "local_key, min(kind)::UTINYINT AS kind",
}
# By table: what amounts are counted by.
_COUNTED: Final = {"usage": ("epoch_id", "partner", "day", "kind"), "spent": ("linker", "day")}


def carry_over(replaced: Session, restored: Session, cipher: VaultCipher) -> None:
    """Bring what must not be undone from the replaced vault into the restored one."""
    numbers = _same_epochs(replaced, restored)
    for table, keys in _COUNTED.items():
        _take_larger(restored, table, keys, _rows(replaced, table, numbers))
    for table, keys in _PINNED.items():
        _take_over(restored, table, ("epoch_id", *keys), _rows(replaced, table, numbers))
    _keep_out(replaced, restored, cipher)
    approvals = replaced.table("SELECT * FROM approval")
    _take_over(restored, "approval", ("local_key", "partner", "partner_record"), approvals)
    next_ref = max(int(read_meta(each, NEXT_REF) or 0) for each in (replaced, restored))
    write_meta(restored, NEXT_REF, str(next_ref))


def _same_epochs(replaced: Session, restored: Session) -> Any:
    """Pairs (old, epoch_id) of numbers in both vaults; an epoch the backup lacks is entered."""
    here = {
        (name, mark): number
        for number, name, mark in restored.rows("SELECT id, name, mark FROM epoch")
    }
    free = iter(sorted(set(range(1, EPOCH_ID_MAX)) - set(here.values())))
    names = {name for name, _ in here}
    pairs = []
    for number, name, mark in replaced.rows("SELECT id, name, mark FROM epoch ORDER BY name"):
        if (name, mark) not in here and name not in names:
            here[name, mark] = next(free)
            restored.run(
                "INSERT INTO epoch VALUES (?, ?, ?, false)", [here[name, mark], name, mark]
            )
            subjects.enter(restored, here[name, mark])
        if (name, mark) in here:
            pairs.append((number, here[name, mark]))
    return dict(pairs)


def _rows(replaced: Session, table: str, numbers: dict[int, int]) -> Any:
    """A table of the replaced vault, with epochs by their numbers in the restored one."""
    if "epoch_id" not in _columns(replaced, table):
        return replaced.table(f"SELECT * FROM {table}")
    renumbered = " ".join(f"WHEN {old} THEN {new}" for old, new in numbers.items())
    known = ", ".join(map(str, numbers)) or "NULL"
    return replaced.table(
        f"SELECT * REPLACE ((CASE epoch_id {renumbered or 'WHEN 0 THEN 0'} END)::SMALLINT"
        f" AS epoch_id) FROM {table} WHERE epoch_id IN ({known})"
    )


def _columns(session: Session, table: str) -> list[str]:
    return [
        name
        for (name,) in session.rows(
            "SELECT column_name FROM duckdb_columns() WHERE table_name = ?"
            " AND database_name = current_database()",
            [table],
        )
    ]


def _take_larger(restored: Session, table: str, keys: tuple[str, ...], known: Any) -> None:
    by = ", ".join(keys)
    larger = restored.table(
        f"SELECT {by}, max(total)::UBIGINT AS amount FROM ("
        f" SELECT {by}, sum(amount) AS total FROM known GROUP BY {by}"
        f" UNION ALL SELECT {by}, sum(amount) FROM {table} GROUP BY {by}) GROUP BY {by}",
        known=known,
    )
    restored.run(f"DELETE FROM {table}")
    restored.run(f"INSERT INTO {table} BY NAME SELECT * FROM larger", larger=larger)


def _take_over(restored: Session, table: str, keys: tuple[str, ...], known: Any) -> None:
    same = " AND ".join(f"{table}.{key} = known.{key}" for key in keys)
    restored.run(f"DELETE FROM {table} USING known WHERE {same}", known=known)
    restored.run(f"INSERT INTO {table} BY NAME SELECT * FROM known", known=known)


def _keep_out(replaced: Session, restored: Session, cipher: VaultCipher) -> None:
    for table, facts in _LISTS.items():
        merged = restored.table(
            f"SELECT {facts} FROM (SELECT * FROM known UNION ALL SELECT * FROM {table})"
            " GROUP BY local_key",
            known=replaced.table(f"SELECT * FROM {table}"),
        )
        restored.run(f"DELETE FROM {table}")
        restored.run(f"INSERT INTO {table} BY NAME SELECT * FROM merged", merged=merged)
    out = restored.table(
        f"SELECT ref FROM record SEMI JOIN {ABSENT} USING (local_key) SEMI JOIN (SELECT ref"
        " FROM sketch UNION SELECT ref FROM link UNION SELECT ref FROM subject) USING (ref)"
    )
    encodings.erase(restored, cipher, columns.numbers(out["ref"]))
