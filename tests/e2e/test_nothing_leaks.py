"""Nothing that belongs to a registry reaches the linker: not in a message, not on its disk.

Every message between the linker and the registries is read in the clear, and every file of the
linker in all its bytes and, where it is a database, table by table. Each search is run again on the
same places with something planted in them, to show that it would have found it.
"""

from __future__ import annotations

import base64
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pytest
from e2e.watched import DEMO_SCHEMA, Watched, watched_federation
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink_core.encoding.normalize import join_columns, normalize_column
from kinlink_core.encoding.record_tags import SEALED_TAG_BYTES
from kinlink_core.encoding.schema import VECTOR_SAMPLE_BITS, load_schema
from kinlink_core.encoding.seal import PRESENCE_TAG_BYTES, SAMPLE_BYTES
from kinlink_local.clerk import COLUMNS
from kinlink_local.federation import KEY_SERVER_NAME
from kinlink_local.running import link
from kinlink_local.search import Seeker, searchable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDS = 300
NEXT_EPOCH = "2999-01"
EPOCH_SECONDS_MAX = 60.0
TLS_RECORD_KINDS = frozenset({20, 21, 22, 23})
TLS_HANDSHAKE = 22
TLS_DATA = 23
RECORD_BYTES_MAX = (1 << 14) + 256
METHODS = {
    "GetRegistry",
    "StreamTokens",
    "ProveMembership",
    "StreamSieve",
    "ExchangeDecisions",
    "StreamSealedPairs",
    "StreamChancePairs",
    "DiscloseSubjects",
    "PublishLinks",
}


@dataclass(frozen=True)
class Scene:
    """What two linkages in two epochs left behind, after everything was stopped."""

    watched: Watched
    linker: Path  # the linker's home, untouched
    retired_tokens: set[bytes]
    live_tokens: set[bytes]

    @cached_property
    def values(self) -> set[bytes]:
        """Every value and record id of every registry, as written and as normalised."""
        schema = load_schema(DEMO_SCHEMA)
        texts: set[str] = set()
        for records in self.watched.population.records.values():
            texts.update(record.record_id for record in records)
            rows = [record.values.as_row() for record in records]
            columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
            for column in columns.values():
                texts.update(column)
            for field in schema.fields:
                canonical = normalize_column(field, join_columns(field, columns)).values
                texts.update(value for value in canonical if value)
        return searchable(texts) | self.faces

    @cached_property
    def faces(self) -> set[bytes]:
        """Every face as its cell has it, as the numbers in there, and as wider numbers."""
        found: set[bytes] = set()
        for cell in self.watched.faces:
            half = np.frombuffer(base64.b64decode(cell), "<f2")
            found.add(cell.encode())
            found |= {half.astype(kind).tobytes()[4:36] for kind in ("<f2", "<f4", "<f8")}
        return found


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("leaks")
    with watched_federation(folder, RECORDS, key_server=True) as watched:
        first = link(watched.client, watched.stopwatch, threshold=None, purpose="first-epoch")
        assert first.state == "SUCCEEDED"
        retired = tokens(watched)
        messages = len(watched.federation.record.messages)
        change_epoch(watched)
        second = link(watched.client, watched.stopwatch, threshold=None, purpose="second-epoch")
        assert second.state == "SUCCEEDED"
        live = tokens(watched, messages)
        wait_until_forgotten(watched.federation.home("linker"))
        watched.supervisor.stop()
        yield Scene(watched, watched.federation.home("linker"), retired, live)


def change_epoch(watched: Watched) -> None:
    """Give the registries a new secret, and destroy the old one everywhere."""
    federation, names = watched.federation, sorted(watched.population.records)
    old = federation.office(names[0]).run("keys", "list").split()[0]
    federation.office(KEY_SERVER_NAME).run("epochs", "create", NEXT_EPOCH)
    federation.share_secret(NEXT_EPOCH, names)
    deadline = time.monotonic() + EPOCH_SECONDS_MAX
    while not all(serves(watched, name) for name in names):
        assert time.monotonic() < deadline, "a registry does not serve the new epoch"
        time.sleep(0.5)
    for name in names:
        federation.office(name).run("keys", "retire", old, "--yes")


def wait_until_forgotten(linker: Path) -> None:
    """Wait for the linker's next round, in which it learns that the old epoch has retired."""
    deadline = time.monotonic() + EPOCH_SECONDS_MAX
    while len(list(linker.glob("tokens-*.duckdb"))) > 1:
        assert time.monotonic() < deadline, "the linker keeps the tokens of a retired epoch"
        time.sleep(0.2)


def serves(watched: Watched, name: str) -> bool:
    state = watched.federation.status(name)
    return any(each["epoch"] == NEXT_EPOCH and each["served"] for each in state["epochs"])


def tokens(watched: Watched, after: int = 0) -> set[bytes]:
    """Tokens that registries sent in their feeds."""
    found: set[bytes] = set()
    for message in watched.federation.record.messages[after:]:
        if message.method == "StreamTokens" and message.from_registry:
            columns = pb.StreamTokensResponse.FromString(message.content).columns
            found |= {columns.token[i : i + 16] for i in range(0, len(columns.token), 16)}
    return found - {bytes(16)}


def sealed_rows(watched: Watched) -> set[bytes]:
    """Sealed sketches, record tags, sieve words and their tags, as registries sent them."""
    record = watched.federation.record
    found: set[bytes] = set()
    for content in record.of("StreamSealedPairs"):
        columns = pb.StreamSealedPairsResponse.FromString(content).columns
        for packed in (field.sketch for field in columns.fields):
            # Of a sealed face 16 bytes tell it as well.
            found |= {packed[i : i + SAMPLE_BYTES] for i in range(0, len(packed), SAMPLE_BYTES)}
    for content in record.of("StreamSieve"):
        columns = pb.StreamSieveResponse.FromString(content).columns
        for packed, width in (
            (columns.word, 8),
            (columns.distance_tags, 32),
            (columns.record_tag, SEALED_TAG_BYTES),
        ):
            found |= {packed[i : i + width] for i in range(0, len(packed), width)}
    return found


def database_contents(folder: Path, scratch: Path) -> dict[str, bytes]:
    """Every table of every database below a folder: its texts and bytes, and its words by row."""
    contents = {}
    copies = shutil.copytree(folder, scratch / f"copy-{time.monotonic_ns()}")
    for path in sorted(copies.rglob("*.duckdb")):
        with duckdb.connect(str(path)) as connection:
            for (table,) in connection.execute(
                "select table_name from duckdb_tables() where not internal"
            ).fetchall():
                contents[f"{path.name}:{table}"] = _table_contents(connection, table)
    return contents


def _table_contents(connection: duckdb.DuckDBPyConnection, table: str) -> bytes:
    described = connection.execute(f'describe "{table}"').fetchall()
    words = [row[0] for row in described if row[1] == "UBIGINT"]
    rest = [row[0] for row in described if row[1] != "UBIGINT"]
    parts: list[bytes] = []
    if words:
        columns = connection.execute(f'select {", ".join(words)} from "{table}"').fetchnumpy()
        rows = np.column_stack([np.ma.filled(columns[name], 0) for name in words])
        parts.append(np.ascontiguousarray(rows.astype("<u8")).tobytes())
    for name in rest:
        for (value,) in connection.execute(f'select "{name}" from "{table}"').fetchall():
            parts.append(value if isinstance(value, bytes) else str(value).encode())
    return b"\n".join(parts)


def found_on_disk(folder: Path, scratch: Path, seeker: Seeker) -> dict[str, set[bytes]]:
    """Where in a linker's files, or in the tables of its databases, something was found."""
    found = {
        str(path.relative_to(folder)): values
        for path, values in seeker.files_that_hold(folder).items()
    }
    for name, content in database_contents(folder, scratch).items():
        values = seeker.found_in(content)
        if values:
            found[name] = values
    return found


def test_every_kind_of_message_was_seen(scene: Scene) -> None:
    record = scene.watched.federation.record
    assert {message.method for message in record.messages} >= METHODS
    assert {message.registry for message in record.messages} == set(
        scene.watched.population.records
    )
    assert len(scene.values) > 5 * RECORDS


def test_no_message_holds_a_value_or_a_record_id(scene: Scene) -> None:
    seeker = Seeker(scene.values)
    messages = scene.watched.federation.record.messages
    leaking = [each for each in messages if seeker.found_in(each.content)]
    assert not leaking, f"{leaking[0].registry} {leaking[0].method}"


def test_faces_were_sealed_and_are_among_what_is_looked_for(scene: Scene) -> None:
    sealed = [
        pb.StreamSealedPairsResponse.FromString(content).columns.fields
        for content in scene.watched.federation.record.of("StreamSealedPairs")
    ]
    widths = {
        len(fields[-1].sketch) // (len(fields[-1].presence) // PRESENCE_TAG_BYTES)
        for fields in sealed
        if fields and fields[-1].presence
    }
    assert widths == {VECTOR_SAMPLE_BITS // 8}
    assert len(scene.faces) == 4 * len(scene.watched.faces) > 4 * RECORDS


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8"])
def test_the_search_finds_a_face_that_is_planted(scene: Scene, kind: str) -> None:
    cell = scene.watched.faces[-1]
    numbers = np.frombuffer(base64.b64decode(cell), "<f2").astype(kind).tobytes()
    seeker = Seeker(scene.values)
    assert len(seeker.found_in(b"before" + numbers + cell.encode())) == 2


def test_the_search_of_messages_finds_what_is_planted(scene: Scene) -> None:
    seeker = Seeker(scene.values)
    value = "卓明川"
    assert value.encode() in scene.values
    for message in scene.watched.federation.record.messages[::50]:
        middle = len(message.content) // 2
        planted = message.content[:middle] + value.encode() + message.content[middle:]
        assert seeker.found_in(planted) == {value.encode()}
    # Also where a registry would put it: in a field of a message of the protocol.
    answer = pb.GetRegistryResponse(registry="sichuan", build=f"1.0 {value}")
    assert seeker.found_in(answer.SerializeToString()) == {value.encode()}


def test_the_linkers_disk_holds_no_value_and_nothing_sealed(scene: Scene, tmp_path: Path) -> None:
    assert found_on_disk(scene.linker, tmp_path, Seeker(scene.values)) == {}
    sealed = sealed_rows(scene.watched)
    assert len(sealed) > 1_000
    assert found_on_disk(scene.linker, tmp_path, Seeker(sealed)) == {}


def test_the_linkers_disk_holds_tokens_of_the_live_epoch_only(scene: Scene, tmp_path: Path) -> None:
    assert len(scene.retired_tokens) > RECORDS
    assert not scene.retired_tokens & scene.live_tokens
    assert found_on_disk(scene.linker, tmp_path, Seeker(scene.retired_tokens)) == {}
    # The same search does find the live ones, where they are meant to be.
    live = found_on_disk(scene.linker, tmp_path, Seeker(scene.live_tokens))
    assert {name.partition(":")[0] for name in live} == {f"tokens-{NEXT_EPOCH}.duckdb"}
    assert set().union(*live.values()) == scene.live_tokens


def test_the_key_servers_disk_and_log_hold_no_value_and_no_token(scene: Scene) -> None:
    home = scene.watched.federation.home(KEY_SERVER_NAME)
    log = home.with_suffix(".log").read_bytes()
    assert b"Evaluate" in log
    tokens = scene.live_tokens | scene.retired_tokens
    shown = {spelling for token in tokens for spelling in (token, token.hex().encode())}
    for seeker in (Seeker(scene.values), Seeker(shown)):
        assert seeker.files_that_hold(home) == {}
        assert not seeker.found_in(log)
    assert Seeker([b"2999-01"]).files_that_hold(home)


def test_the_search_of_the_disk_finds_what_is_planted(scene: Scene, tmp_path: Path) -> None:
    sealed = next(iter(sorted(sealed_rows(scene.watched), key=len, reverse=True)))
    retired = next(iter(scene.retired_tokens))
    for number, planted in enumerate(("卓明川".encode(), sealed, retired)):
        copy = shutil.copytree(scene.linker, tmp_path / f"planted-{number}")
        (copy / "left-over.bin").write_bytes(b"before" + planted + b"after")
        with (copy / "audit.jsonl").open("ab") as log:
            log.write(b'{"detail": "' + planted + b'"}\n')
        with duckdb.connect(str(copy / "linker.duckdb")) as connection:
            connection.execute("create table planted as select ?::blob as content", [planted])
        found = found_on_disk(copy, tmp_path, Seeker([planted]))
        assert {"left-over.bin", "audit.jsonl", "linker.duckdb:planted"} <= set(found)


def test_what_passes_on_the_wire_is_tls_and_holds_nothing_readable(scene: Scene) -> None:
    seeker = Seeker(scene.values)
    streams = [
        bytes(stream)
        for wire in scene.watched.federation.wires.values()
        for stream in wire.streams
        if stream
    ]
    assert len(streams) >= 2 * len(scene.watched.population.records)
    for stream in streams:
        kinds = list(tls_records(stream))
        assert kinds[0] == TLS_HANDSHAKE
        assert TLS_DATA in kinds
        assert not seeker.found_in(stream)
        assert b"kinlink.registry.v1" not in stream


def test_the_wires_check_would_notice_plain_bytes() -> None:
    with pytest.raises(AssertionError, match="no TLS"):
        list(tls_records(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100)))


def tls_records(stream: bytes) -> Iterator[int]:
    """Kinds of the TLS records that a stream is made of, to its end (RFC 8446, 5.1)."""
    place = 0
    while place + 5 <= len(stream):
        kind, major = stream[place], stream[place + 1]
        length = int.from_bytes(stream[place + 3 : place + 5], "big")
        assert kind in TLS_RECORD_KINDS, f"no TLS at byte {place}"
        assert major == 3, f"no TLS at byte {place}"
        assert length <= RECORD_BYTES_MAX, f"no TLS at byte {place}"
        yield kind
        place += 5 + length
