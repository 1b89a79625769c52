"""Tables on their way to Spark: Parquet files whose only content is AES-256-GCM chunks.

A table is rows of a fixed number of bytes. Some thousands of rows are one chunk, sealed under a key
that is made for the session, with the table's name and the chunk's number as associated data; Spark
opens chunks with its own `aes_decrypt`, so a worker needs nothing but Spark. The key reaches the
workers as a table of one row, over Spark's encrypted calls: as a literal it would stand in every
query plan.

Parquet's own modular encryption would need a Java class of ours on every worker (docs/adr/0024).
Not guaranteed: that all chunks of a table are there. Who can delete files in the store can take
rows away.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

KEY_BYTES = 32
NONCE_BYTES = 12
CHUNK_BYTES = 256 * 1024
CHUNKS_A_ROW_GROUP = 32
_PREFIX = "kinlink-"
# Workers read as the store's group.
_FOLDER_MODE = 0o750
_FILE_MODE = 0o640

Rows = npt.NDArray[np.uint8]

_OPENED = """
SELECT substring(plain, number * {width} + 1, {width}) AS row
FROM (
  SELECT /*+ BROADCAST(session_key) */
    aes_decrypt(sealed, key, 'GCM', 'DEFAULT', associated) AS plain
  FROM {{chunks}} CROSS JOIN {{session_key}} AS session_key
) LATERAL VIEW explode(sequence(0, length(plain) div {width} - 1)) AS number
"""


@dataclass(frozen=True)
class SparkStore:
    """The folder of one session and its key."""

    folder: Path
    key: bytes = field(repr=False)

    @classmethod
    def create(cls, parent: Path) -> SparkStore:
        """A new folder with a new key."""
        folder = parent / f"{_PREFIX}{secrets.token_hex(8)}"
        folder.mkdir(parents=True)
        folder.chmod(_FOLDER_MODE)
        return cls(folder, secrets.token_bytes(KEY_BYTES))

    def write(self, name: str, batches: Iterable[Rows]) -> int:
        """Write a table of (n, width) batches; the number of rows."""
        path = self.folder / f"{name}.parquet"
        schema = pa.schema({"associated": pa.binary(), "sealed": pa.binary()})
        cipher = AESGCM(self.key)
        total = number = 0
        with pq.ParquetWriter(path, schema, compression="NONE") as writer:
            path.chmod(_FILE_MODE)
            for batch in batches:
                total += len(batch)
                rows = max(1, CHUNK_BYTES // batch.shape[1])
                sealed: list[tuple[bytes, bytes]] = []
                for start in range(0, len(batch), rows):
                    associated = f"{name}/{number}".encode()
                    nonce = secrets.token_bytes(NONCE_BYTES)
                    plain = batch[start : start + rows].tobytes()
                    sealed.append((associated, nonce + cipher.encrypt(nonce, plain, associated)))
                    number += 1
                table = pa.table(list(map(list, zip(*sealed, strict=True))), schema=schema)
                writer.write_table(table, row_group_size=CHUNKS_A_ROW_GROUP)
        return total

    def read(self, spark: SparkSession, name: str, width: int) -> DataFrame:
        """A table as Spark sees it: one binary column `row` of `width` bytes."""
        path = f"file://{self.folder.absolute()}/{name}.parquet"
        chunks = spark.read.schema("associated binary, sealed binary").parquet(path)
        key = spark.createDataFrame(pa.table({"key": [self.key]}))
        return spark.sql(_OPENED.format(width=width), chunks=chunks, session_key=key)

    def drop(self, name: str) -> None:
        """Delete a table before the session ends."""
        (self.folder / f"{name}.parquet").unlink()


def forget_all(parent: Path) -> None:
    """Delete what an earlier process left behind when it was killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        shutil.rmtree(folder)
