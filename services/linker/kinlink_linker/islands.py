"""Islands: tokens that at least two registries hold, no larger than the cap of their pass.

Everything here is set-wise SQL over opaque words; nothing sees a sealed field. An island's size is
the sum over all registries of the linkage, which is what the cap of the schema bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from kinlink_linker import duck
from kinlink_linker.domain import no_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from kinlink_linker.domain import I64, U8, U16, U32, Bools, Ids
    from kinlink_linker.tokens import TokenFile


@dataclass(frozen=True)
class TokenRows:
    """Token rows of several registries, from a feed or from a refinement."""

    registry: U8
    pass_index: U16
    handle: Ids
    token: Ids

    @staticmethod
    def concatenate(parts: Sequence[TokenRows]) -> TokenRows:
        """All rows of all parts."""
        return TokenRows(
            np.concatenate([np.empty(0, np.uint8), *(each.registry for each in parts)]),
            np.concatenate([np.empty(0, np.uint16), *(each.pass_index for each in parts)]),
            np.concatenate([no_ids(), *(each.handle for each in parts)]),
            np.concatenate([no_ids(), *(each.token for each in parts)]),
        )


@dataclass(frozen=True)
class IslandSet:
    """k islands with their m members, members sorted by island and then by registry."""

    pass_index: U16  # (k,)
    token: Ids  # (k, 2)
    island: U32  # (m,) index of the member's island
    registry: U8  # (m,) code of the member's registry
    handle: Ids  # (m, 2)

    @property
    def count(self) -> int:
        """How many islands there are."""
        return len(self.pass_index)

    def holders(self, registries: int) -> I64:
        """Members of each island by registry code, (k, registries)."""
        flat = self.island.astype(np.int64) * registries + self.registry
        counts: I64 = np.bincount(flat, minlength=self.count * registries)
        return counts.reshape(self.count, registries)


@dataclass(frozen=True)
class Crowded:
    """Tokens whose island is above its cap, and which registries hold them."""

    pass_index: U16  # (k,)
    token: Ids  # (k, 2)
    holders: I64  # (k, registries) records under the token by registry code

    @property
    def count(self) -> int:
        """How many tokens there are."""
        return len(self.pass_index)

    def only(self, which: Bools | I64) -> Crowded:
        """The tokens of a mask, or at some positions."""
        return Crowded(self.pass_index[which], self.token[which], self.holders[which])


@dataclass(frozen=True)
class Split:
    """What a set of token rows falls into."""

    islands: IslandSet
    crowded: Crowded
    tokens_by_pass: I64  # (passes,) token rows seen


class Splitter(Protocol):
    """Finds the islands among the rows of a token file, wherever it computes."""

    def __call__(self, file: TokenFile, linking: Sequence[int], caps: Sequence[int]) -> Split:
        """As `split_file`."""


# `shared` numbers the tokens that two registries hold; `crowded` says which are above their cap.
_SHARED = """
CREATE OR REPLACE TEMP TABLE shared AS
WITH held AS (
  SELECT pass_index, token_a, token_b, count(*) AS size
  FROM {source}
  WHERE registry IN (SELECT code FROM linking)
  GROUP BY pass_index, token_a, token_b
  HAVING min(registry) <> max(registry)
)
SELECT row_number() OVER (ORDER BY pass_index, size > cap, token_a, token_b) - 1 AS island,
       pass_index, token_a, token_b, size > cap AS crowded
FROM held JOIN caps USING (pass_index)
"""
_ISLANDS = """
SELECT pass_index, token_a, token_b, crowded FROM shared ORDER BY island
"""
_MEMBERS = """
SELECT shared.island, source.registry, source.handle_a, source.handle_b
FROM {source} AS source JOIN shared USING (pass_index, token_a, token_b)
WHERE source.registry IN (SELECT code FROM linking) AND NOT shared.crowded
ORDER BY shared.island, source.registry, source.handle_a
"""
_HOLDERS = """
SELECT shared.island, source.registry, count(*) AS records
FROM {source} AS source JOIN shared USING (pass_index, token_a, token_b)
WHERE source.registry IN (SELECT code FROM linking) AND shared.crowded
GROUP BY shared.island, source.registry
"""
_TOKENS = """
SELECT pass_index, count(*) AS tokens FROM {source}
WHERE registry IN (SELECT code FROM linking) GROUP BY pass_index
"""


def split_file(file: TokenFile, linking: Sequence[int], caps: Sequence[int]) -> Split:
    """Find the islands among the rows of a token file, in one snapshot of it.

    Args:
        file: the tokens.
        linking: codes of the registries that link.
        caps: the cap of each pass, by pass index.
    """
    with file.cursor() as cursor, duck.transaction(cursor):
        return _split(cursor, "token", linking, caps)


def split_rows(
    rows: TokenRows, limits: duck.DuckLimits, linking: Sequence[int], caps: Sequence[int]
) -> Split:
    """Find the islands among rows held in memory: refined tokens."""
    connection = duck.open_memory(limits)
    try:
        table = {
            "registry": rows.registry,
            "pass_index": rows.pass_index,
            "handle_a": rows.handle[:, 0],
            "handle_b": rows.handle[:, 1],
            "token_a": rows.token[:, 0],
            "token_b": rows.token[:, 1],
        }
        connection.register("refined", pa.table(table))
        return _split(connection, "refined", linking, caps)
    finally:
        connection.close()


def _split(
    cursor: duckdb.DuckDBPyConnection, source: str, linking: Sequence[int], caps: Sequence[int]
) -> Split:
    linking_table = pa.table({"code": np.asarray(linking, np.uint8)})
    caps_table = pa.table(
        {"pass_index": np.arange(len(caps), dtype=np.uint16), "cap": np.asarray(caps, np.int64)}
    )
    cursor.register("linking", linking_table)
    cursor.register("caps", caps_table)
    cursor.execute(_SHARED.format(source=source))
    shared = cursor.execute(_ISLANDS).fetchnumpy()
    members = cursor.execute(_MEMBERS.format(source=source)).fetchnumpy()
    holders = cursor.execute(_HOLDERS.format(source=source)).fetchnumpy()
    tokens = cursor.execute(_TOKENS.format(source=source)).fetchnumpy()
    cursor.execute("DROP TABLE shared")
    cursor.unregister("linking")
    cursor.unregister("caps")

    by_pass = np.zeros(len(caps), np.int64)
    by_pass[tokens["pass_index"]] = tokens["tokens"]
    crowded = shared["crowded"].astype(bool)
    token = np.column_stack([shared["token_a"], shared["token_b"]])
    # Islands are numbered over crowded ones too; both get dense numbers of their own.
    dense = np.cumsum(~crowded) - 1
    dense_crowded = np.cumsum(crowded) - 1
    registries = max(linking, default=0) + 1
    records = np.zeros((int(crowded.sum()), registries), np.int64)
    records[dense_crowded[holders["island"]], holders["registry"]] = holders["records"]
    return Split(
        islands=IslandSet(
            pass_index=shared["pass_index"][~crowded],
            token=token[~crowded],
            island=dense[members["island"]].astype(np.uint32),
            registry=members["registry"],
            handle=np.column_stack([members["handle_a"], members["handle_b"]]),
        ),
        crowded=Crowded(shared["pass_index"][crowded], token[crowded], records),
        tokens_by_pass=by_pass,
    )


def joined(sets: Sequence[IslandSet]) -> IslandSet:
    """Put island sets one after another, renumbering the islands."""
    offsets = np.cumsum([0, *(each.count for each in sets)])
    numbered = [
        (each.island.astype(np.int64) + offset).astype(np.uint32)
        for each, offset in zip(sets, offsets, strict=False)
    ]
    return IslandSet(
        pass_index=np.concatenate([each.pass_index for each in sets]),
        token=np.concatenate([each.token for each in sets]),
        island=np.concatenate(numbered),
        registry=np.concatenate([each.registry for each in sets]),
        handle=np.concatenate([each.handle for each in sets]),
    )
