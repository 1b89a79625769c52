"""Rows of a token file: looked up by token, deleted by handle, and told as changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kinlink_linker import duck

if TYPE_CHECKING:
    import duckdb

    from kinlink_linker.domain import U8, U16, Bools, Ids
    from kinlink_linker.peer import FeedRows

# So many tokens or handles are looked up one by one, in an index; more are joined.
LOOKED_UP_MAX: Final = 64

_COLUMNS: Final = ("registry", "pass_index", "handle_a", "handle_b", "token_a", "token_b")


@dataclass(frozen=True)
class Changes:
    """Token rows of one registry that came or went in one transaction."""

    registry: str
    pass_index: U16
    handle: Ids
    token: Ids
    added: Bools

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.pass_index)

    def part(self, rows: slice) -> Changes:
        """Some rows."""
        return Changes(
            self.registry,
            self.pass_index[rows],
            self.handle[rows],
            self.token[rows],
            self.added[rows],
        )


@dataclass(frozen=True)
class Held:
    """Token rows as the file has them; `registry` is a code."""

    registry: U8
    pass_index: U16
    handle: Ids
    token: Ids


def rows_under(cursor: duckdb.DuckDBPyConnection, pass_index: U16, token: Ids) -> Held:
    """All rows that stand under some tokens, one (pass, token) a row of the arguments."""
    wanted = {
        (int(index), int(a), int(b))
        for index, (a, b) in zip(pass_index.tolist(), token.tolist(), strict=True)
    }
    rows = _with_first_words(cursor, sorted({a for _, a, _ in wanted}))
    named = zip(
        rows["pass_index"].tolist(), rows["token_a"].tolist(), rows["token_b"].tolist(),
        strict=True,
    )  # fmt: skip
    kept = np.array([each in wanted for each in named], bool)
    return Held(
        rows["registry"][kept],
        rows["pass_index"][kept],
        np.column_stack([rows["handle_a"], rows["handle_b"]])[kept],
        np.column_stack([rows["token_a"], rows["token_b"]])[kept],
    )


def _with_first_words(
    cursor: duckdb.DuckDBPyConnection, words: list[int]
) -> dict[str, npt.NDArray[Any]]:
    select = f"SELECT {', '.join(_COLUMNS)} FROM token"
    if len(words) > LOOKED_UP_MAX:
        cursor.register("asked", pa.table({"token_a": np.array(words, np.uint64)}))
        rows = cursor.execute(f"{select} SEMI JOIN asked USING (token_a)").fetchnumpy()
        cursor.unregister("asked")
        return dict(rows)
    # A condition on one column alone is what DuckDB looks up in an index.
    found = [cursor.execute(f"{select} WHERE token_a = {word:d}").fetchnumpy() for word in words]
    return {name: np.concatenate([each[name] for each in found]) for name in _COLUMNS}


def delete_handles(
    cursor: duckdb.DuckDBPyConnection, code: int, retired: Ids
) -> list[tuple[int, ...]]:
    """Delete the rows of some handles; (pass, handle, token) of those there were, as words."""
    told = "RETURNING pass_index, handle_a, handle_b, token_a, token_b"
    if len(retired) <= LOOKED_UP_MAX:
        found = [
            duck.rows(cursor, f"SELECT handle_b FROM token WHERE handle_a = {a:d}")
            and duck.rows(
                cursor,
                "DELETE FROM token WHERE handle_a = ? AND handle_b = ? AND registry = ? " + told,
                [a, b, code],
            )
            for a, b in retired.tolist()
        ]
        return [row for rows in found for row in rows]
    cursor.register("retired", pa.table({"a": retired[:, 0], "b": retired[:, 1]}))
    gone: list[tuple[int, ...]] = duck.rows(
        cursor,
        "DELETE FROM token USING retired "
        "WHERE registry = ? AND handle_a = retired.a AND handle_b = retired.b " + told,
        [code],
    )
    cursor.unregister("retired")
    return gone


def changes_of(
    registry: str, batch: FeedRows, fresh: Bools, gone: list[tuple[int, ...]]
) -> Changes:
    """What a batch of the feed changed: rows that are new, and rows that were deleted."""
    words = np.array([row[1:] for row in gone], np.uint64).reshape(-1, 4)
    return Changes(
        registry,
        np.concatenate([batch.pass_index[fresh], np.array([row[0] for row in gone], np.uint16)]),
        np.concatenate([batch.handle[fresh], words[:, :2]]),
        np.concatenate([batch.token[fresh], words[:, 2:]]),
        np.repeat([True, False], [int(fresh.sum()), len(gone)]),
    )
