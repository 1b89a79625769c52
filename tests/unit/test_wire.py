"""Columns that a peer sent, and streams of them: what fits is read, the rest is refused by name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.type.v1 import stream_pb2
from kinlink_core import wire
from kinlink_core.encoding.schema import load_schema
from kinlink_core.encoding.seal import SAMPLE_BYTES, SealedBatch, SealedColumn
from kinlink_core.errors import BrokenStreamError, InvalidInputError, Reason
from kinlink_core.runtime.cards import Card
from kinlink_core.runtime.limits import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kinlink_core.encoding.schema import Schema

ROWS = 5
EVERY_KIND = [
    wire.TokenRows,
    wire.ProofRows,
    wire.RefinedRows,
    wire.IslandRows,
    wire.SieveAsk,
    wire.SieveRows,
    wire.TaggedSieveRows,
    wire.Shown,
    wire.PairAsk,
    wire.DiscloseAsk,
    wire.DisclosedRows,
]


def sample(kind: Any, rows: int = ROWS) -> Any:
    """Rows with numbers that count up, so that a swap of columns or bytes shows."""
    columns = {}
    for offset, (name, column) in enumerate(kind.KINDS.items()):
        numbers = np.arange(rows * column.width).reshape(rows, column.width) + offset
        array = numbers.astype(column.dtype)
        columns[name] = array[:, 0] if column.width == 1 else array
    if kind is wire.TokenRows:
        columns["event"] = np.ones(rows, np.uint8)
    if kind is wire.DisclosedRows:
        columns["sides"] = np.arange(rows, dtype=np.uint8) % len(wire.Side)
    return kind(**columns)


def malformed(caught: pytest.ExceptionInfo[InvalidInputError]) -> str:
    assert caught.value.reason is Reason.REQUEST_MALFORMED
    return caught.value.public


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("rows", [0, 1, ROWS])
def test_columns_survive_the_wire(kind: Any, rows: int) -> None:
    sent = sample(kind, rows)
    raw = sent.message().SerializeToString()
    got = kind.read(type(sent.message()).FromString(raw))
    assert got.rows == rows
    for name in kind.KINDS:
        np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_column_whose_length_does_not_fit_is_named(kind: Any) -> None:
    for name, column in kind.KINDS.items():
        if column.row_bytes == 1:
            continue
        message = sample(kind).message()
        setattr(message, name, getattr(message, name)[:-1])
        with pytest.raises(InvalidInputError) as caught:
            kind.read(message)
        assert malformed(caught) == f"{name} is not a multiple of {column.row_bytes} bytes long."


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_columns_of_different_lengths_are_refused(kind: Any) -> None:
    for name, column in kind.KINDS.items():
        message = sample(kind).message()
        setattr(message, name, getattr(message, name)[: -column.row_bytes])
        with pytest.raises(InvalidInputError, match="different numbers of rows"):
            kind.read(message)


@pytest.mark.parametrize("kind", EVERY_KIND)
@given(data=st.data())
def test_whatever_bytes_a_peer_sends_are_read_or_refused(kind: Any, data: st.DataObject) -> None:
    columns = {name: data.draw(st.binary(max_size=96)) for name in kind.KINDS}
    message = type(sample(kind, 1).message())(**columns)
    with suppress(InvalidInputError):
        assert kind.read(message).message() == message


def test_numbers_are_little_endian_on_every_machine() -> None:
    message = sample(wire.SieveRows, 1).message()
    message.word = bytes([1, 2, 0, 0, 0, 0, 0, 0])
    assert int(wire.SieveRows.read(message).word[0]) == 0x0201
    big_endian = np.array([0x0201], ">u8")
    assert wire.SieveRows(big_endian, np.zeros(1, np.uint8)).message().word[:2] == b"\x01\x02"


def test_a_frame_over_the_limit_is_refused() -> None:
    rows = wire.FRAME_BYTES_MAX // wire.SieveRows.row_bytes()
    assert wire.SieveRows.read(zeros(rows)).rows == rows
    with pytest.raises(InvalidInputError, match="A frame holds more than 1048576 bytes"):
        wire.SieveRows.read(zeros(rows + 1))


def test_words_with_their_tags_are_cut_into_frames_that_fit() -> None:
    rows = sample(wire.TaggedSieveRows, 5_000)
    rows = replace(rows, refusal=np.zeros(5_000, np.uint8))
    parts = [rows[part] for part in wire.frames(rows.rows, rows.row_bytes())]
    assert [part.rows for part in parts] == [3_530, 1_470]
    for part in parts:
        assert wire.TaggedSieveRows.read(part.message()).rows == part.rows


def zeros(rows: int) -> pb.SieveColumns:
    return pb.SieveColumns(word=bytes(8 * rows), refusal=bytes(rows))


@pytest.mark.parametrize("code", [0, 4, 255])
def test_an_event_nobody_knows_is_refused(code: int) -> None:
    message = sample(wire.TokenRows).message()
    message.event = bytes([1, 1, code, 1, 1])
    with pytest.raises(InvalidInputError, match="event holds an unknown code"):
        wire.TokenRows.read(message)


def test_a_refusal_nobody_knows_is_refused() -> None:
    for kind in (wire.SieveRows, wire.DisclosedRows):
        message = sample(kind).message()
        message.refusal = bytes([0, 1, 9, 10, 0])
        with pytest.raises(InvalidInputError, match="refusal holds an unknown code"):
            kind.read(message)


def test_a_side_nobody_knows_is_refused_and_none_may_be_said() -> None:
    message = sample(wire.DisclosedRows).message()
    message.sides = bytes([0, 1, 2, 3, 0])
    with pytest.raises(InvalidInputError, match="sides holds an unknown code"):
        wire.DisclosedRows.read(message)
    message.sides = b""
    assert not wire.DisclosedRows.read(message).sides.any()


@pytest.mark.parametrize("sequence", [[1, 1], [2, 1]])
def test_a_feed_that_does_not_go_forward_is_refused(sequence: list[int]) -> None:
    rows = replace(sample(wire.TokenRows, 2), sequence=np.array(sequence, np.uint64))
    with pytest.raises(InvalidInputError, match="sequence does not grow"):
        wire.TokenRows.read(rows.message())


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_is_refused(weight: float) -> None:
    rows = replace(sample(wire.DiscloseAsk, 1), weights=np.array([weight], np.float32))
    with pytest.raises(InvalidInputError, match="not finite"):
        wire.DiscloseAsk.read(rows.message())
    with pytest.raises(InvalidInputError, match="not finite"):
        wire.f32(rows.message().weights, "weights")


def test_an_index_outside_of_what_it_indexes_is_refused() -> None:
    wire.check_index("island_index", np.array([0, 2], np.uint32), 3)
    wire.check_index("island_index", np.array([], np.uint32), 0)
    with pytest.raises(InvalidInputError, match="island_index points outside"):
        wire.check_index("island_index", np.array([3], np.uint32), 3)


def test_a_sender_cannot_pack_columns_that_do_not_fit() -> None:
    rows = sample(wire.ProofRows)
    with pytest.raises(InvalidInputError, match="different numbers of rows"):
        replace(rows, counts=rows.counts[:-1]).message()
    with pytest.raises(ValueError, match="rows of shape"):
        replace(rows, proofs=rows.proofs[:, :-1]).message()


def test_arrays_that_were_read_cannot_be_written() -> None:
    got = wire.ProofRows.read(sample(wire.ProofRows).message())
    with pytest.raises(ValueError, match="read-only"):
        got.counts[0] = 1


def test_rows_go_into_a_request_beside_its_other_fields() -> None:
    ask, islands = sample(wire.SieveAsk), sample(wire.IslandRows)
    request = pb.StreamSieveRequest(epoch="e", islands=islands.message(), **ask.packed())
    np.testing.assert_array_equal(wire.SieveAsk.read(request).own_handles, ask.own_handles)
    np.testing.assert_array_equal(wire.IslandRows.read(request.islands).proof, islands.proof)


@given(total=st.integers(0, 5_000_000), row_bytes=st.integers(1, 5_000))
def test_frames_cover_all_rows_once_and_stay_within_the_limit(total: int, row_bytes: int) -> None:
    end = 0
    for part in wire.frames(total, row_bytes):
        assert part.start == end < part.stop
        assert (part.stop - part.start) * row_bytes <= wire.FRAME_BYTES_MAX
        end = part.stop
    assert end == total


@pytest.fixture(scope="module")
def schema() -> Schema:
    return load_schema(resources.files("kinlink_core.encoding") / "schemas" / "person.yaml")  # type: ignore[arg-type]


def sealed(schema: Schema, rows: int = ROWS) -> wire.SealedRows:
    random = np.random.default_rng(7)

    def column(width: int) -> Any:
        return random.integers(0, 256, (rows, width), np.uint8)

    columns = tuple(
        SealedColumn(
            column(2),
            column(SAMPLE_BYTES) if field.has_sketch else None,
            column(8 * len(field.tags)) if field.tags else None,
        )
        for field in schema.fields
    )
    return wire.SealedRows(SealedBatch(columns), np.zeros(rows, np.uint8))


@pytest.mark.parametrize("rows", [0, ROWS])
def test_sealed_pairs_survive_the_wire(schema: Schema, rows: int) -> None:
    sent = sealed(schema, rows)
    raw = sent.message().SerializeToString()
    got = wire.SealedRows.read(pb.SealedColumns.FromString(raw), schema)
    assert got.rows == rows
    for ours, theirs in zip(got.batch.fields, sent.batch.fields, strict=True):
        for name in ("presence", "sketch", "tags"):
            left, right = getattr(ours, name), getattr(theirs, name)
            assert (left is None) == (right is None)
            if left is not None:
                np.testing.assert_array_equal(left, right)


def test_a_frame_of_sealed_pairs_of_the_stated_row_size_fits_a_message(schema: Schema) -> None:
    row_bytes = wire.SealedRows.row_bytes(schema)
    part = next(wire.frames(10**6, row_bytes))
    message = sealed(schema, part.stop).message()
    assert wire.SealedRows.read(message, schema).rows == part.stop
    assert message.ByteSize() <= MESSAGE_BYTES_MAX


def drop_a_field(message: Any, schema: Schema) -> None:
    del schema
    del message.fields[0]


def shorten_presence(message: Any, schema: Schema) -> None:
    del schema
    message.fields[0].presence = message.fields[0].presence[:-1]


def drop_a_row_of_presence(message: Any, schema: Schema) -> None:
    del schema
    message.fields[0].presence = message.fields[0].presence[:-2]


def drop_sketches(message: Any, schema: Schema) -> None:
    index = [field.has_sketch for field in schema.fields].index(True)
    message.fields[index].sketch = b""


def add_a_sketch(message: Any, schema: Schema) -> None:
    index = [field.has_sketch for field in schema.fields].index(False)
    message.fields[index].sketch = bytes(32 * ROWS)


def add_tags(message: Any, schema: Schema) -> None:
    index = [bool(field.tags) for field in schema.fields].index(False)
    message.fields[index].tags = bytes(8 * ROWS)


def refuse_for_no_known_reason(message: Any, schema: Schema) -> None:
    del schema
    message.refusal = b"\xff" * ROWS


@pytest.mark.parametrize(
    "spoil",
    [
        drop_a_field,
        shorten_presence,
        drop_a_row_of_presence,
        drop_sketches,
        add_a_sketch,
        add_tags,
        refuse_for_no_known_reason,
    ],
)
def test_sealed_pairs_that_do_not_fit_the_schema_are_refused(
    schema: Schema, spoil: Callable[[Any, Schema], None]
) -> None:
    message = sealed(schema).message()
    spoil(message, schema)
    with pytest.raises(InvalidInputError) as caught:
        wire.SealedRows.read(message, schema)
    malformed(caught)


def stream_of(*parts: Any, rows: int = 2 * ROWS) -> list[Any]:
    header = stream_pb2.StreamHeader(epoch="2026-11", rows=rows)
    return list(wire.write_stream(pb.StreamSieveResponse, header, parts))


def read(responses: list[Any], **options: Any) -> int:
    stream = wire.read_stream(responses, wire.SieveRows.read, **options)
    return sum(part.rows for part in stream)


def test_a_whole_stream_is_read_with_its_counts() -> None:
    refused = replace(sample(wire.SieveRows), refusal=np.array([0, 1, 0, 3, 0], np.uint8))
    responses = stream_of(sample(wire.SieveRows), refused)
    stream = wire.read_stream(responses, wire.SieveRows.read, expected_rows=2 * ROWS)
    assert (stream.epoch, stream.rows) == ("2026-11", 2 * ROWS)
    assert [part.rows for part in stream] == [ROWS, ROWS]
    assert stream.refused == np.count_nonzero(refused.refusal) + np.count_nonzero(
        sample(wire.SieveRows).refusal
    )
    assert stream.bytes_received == sum(response.ByteSize() for response in responses)


def test_the_header_of_the_token_feed_holds_that_of_the_stream() -> None:
    header = pb.TokensHeader(stream=stream_pb2.StreamHeader(rows=ROWS), feed_id="f")
    parts = [sample(wire.TokenRows)]
    responses = wire.write_stream(pb.StreamTokensResponse, header, parts)
    stream = wire.read_stream(responses, wire.TokenRows.read)
    assert stream.header.feed_id == "f"
    assert [part.rows for part in stream] == [ROWS]


def test_an_empty_stream_has_a_header_and_a_trailer() -> None:
    responses = stream_of(rows=0)
    assert [response.WhichOneof("part") for response in responses] == ["header", "trailer"]
    assert read(responses) == 0


PART = sample(wire.SieveRows)


@pytest.mark.parametrize(
    ("responses", "detail"),
    [
        ([], "no header"),
        (stream_of(PART, PART)[1:], "no header"),
        (stream_of(PART, PART)[:-1], "no trailer"),
        (stream_of(PART, PART)[:1], "no trailer"),
        (stream_of(PART, rows=2 * ROWS), "rows differ"),
        (stream_of(PART, PART, PART), "more rows than its header"),
        ([*stream_of(PART, PART)[:2], *stream_of(PART, PART)[3:]], "rows differ"),
        ([*stream_of(PART, PART), *stream_of(PART, PART)[1:2]], "goes on after its trailer"),
        ([*stream_of(PART, PART)[:1], *stream_of(PART, PART)], "second header"),
        ([stream_of(PART)[0], pb.StreamSieveResponse()], "empty frame"),
    ],
)
def test_a_stream_that_was_cut_or_does_not_add_up_is_noticed(
    responses: list[Any], detail: str
) -> None:
    with pytest.raises(BrokenStreamError) as caught:
        read(responses)
    assert caught.value.reason is Reason.STREAM_CUT
    assert detail in caught.value.detail


def test_a_stream_of_another_length_than_asked_for_is_noticed() -> None:
    with pytest.raises(BrokenStreamError):
        read(stream_of(PART, PART), expected_rows=ROWS)


def test_a_sender_that_stops_early_does_not_write_a_trailer_that_hides_it() -> None:
    def parts() -> Iterator[Any]:
        yield PART

    header = stream_pb2.StreamHeader(rows=2 * ROWS)
    with pytest.raises(BrokenStreamError):
        read(list(wire.write_stream(pb.StreamSieveResponse, header, parts())))


def test_a_card_survives_the_wire() -> None:
    card = Card("sichuan", bytes(32), b"chain", b"signature")
    assert wire.read_card(wire.card_message(card)) == card
