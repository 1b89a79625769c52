"""Packed columns of protobuf messages as NumPy arrays, and back: only here are lengths checked.

A column is a `bytes` field of fixed-width little-endian values, one a row. Everything read here
came from a peer: a length that is no multiple of its width, columns of different lengths, a code or
an index out of range, a frame above `FRAME_BYTES_MAX` raise `InvalidInputError`
(`REQUEST_MALFORMED`) naming the column. Arrays that are read are read-only views of the message.

    rows = TokenRows.read(response.columns)              # protobuf to arrays, checked
    pb.StreamTokensResponse(columns=rows.message())      # and back
    yield from write_stream(pb.StreamSieveResponse, header, parts)
    for rows in read_stream(stub.StreamSieve(request), SieveRows.read): ...
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.type.v1 import profile_pb2

from kinlink_core._packed import (
    F32,
    FLOAT32,
    ID,
    U8,
    U16,
    U32,
    U64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Kind,
    Rows,
    check_codes,
    check_equal_rows,
    check_index,
    f32,
    fixed16,
    malformed,
    u8,
    u16,
    u32,
    u64,
)
from kinlink_core._streams import frames, read_stream, write_stream
from kinlink_core.encoding.record_tags import SEALED_TAG_BYTES
from kinlink_core.encoding.seal import (
    PRESENCE_TAG_BYTES,
    TAG_BYTES,
    SealedBatch,
    SealedColumn,
)
from kinlink_core.encoding.sieve import SIEVE_BITS
from kinlink_core.runtime.cards import Card
from kinlink_core.runtime.limits import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kinlink_core.encoding.schema import Field, Schema

__all__ = [
    "FRAME_BYTES_MAX",
    "DiscloseAsk",
    "DisclosedRows",
    "FeedEvent",
    "IslandRows",
    "PairAsk",
    "ProofRows",
    "RefinedRows",
    "Refusal",
    "SealedRows",
    "Shown",
    "Side",
    "SieveAsk",
    "SieveRows",
    "TaggedSieveRows",
    "TokenRows",
    "card_message",
    "check_equal_rows",
    "check_index",
    "f32",
    "fixed16",
    "frames",
    "read_card",
    "read_stream",
    "u8",
    "u16",
    "u32",
    "u64",
    "write_stream",
]

SEALED_TAG: Final = Kind("u1", SEALED_TAG_BYTES)
PRESENCE: Final = Kind("u1", PRESENCE_TAG_BYTES)
DISTANCE_TAGS: Final = Kind("<u4", SIEVE_BITS)


class FeedEvent(IntEnum):
    """What a row of the token feed says."""

    TOKEN_ADDED = 1
    HANDLE_RETIRED = 2
    SUBJECT_RETIRED = 3


class Side(IntEnum):
    """Of a two-sided schema, which side a record is of."""

    UNSAID = 0
    WANTS = 1
    SHOWS = 2


class Refusal(IntEnum):
    """Why a row of a request was not answered."""

    ANSWERED = 0
    UNKNOWN_HANDLE = 1
    RETIRED_HANDLE = 2
    PROOF_REFUSED = 3
    DECIDED = 4
    OVER_QUOTA = 5
    WITHHELD = 6
    SUPERSEDED = 7
    ABOVE_CAP = 8
    SIEVE_REFUSED = 9


@dataclass(frozen=True)
class TokenRows(Rows):
    """Events of the token feed (`TokenColumns`)."""

    sequence: U64
    event: U8
    pass_index: U16
    handle: U8
    token: U8

    MESSAGE = pb.TokenColumns
    KINDS: ClassVar[Mapping[str, Kind]] = {
        "sequence": UINT64,
        "event": UINT8,
        "pass_index": UINT16,
        "handle": ID,
        "token": ID,
    }

    def check(self) -> None:
        """Refuse unknown events and a sequence that does not grow."""
        check_codes("event", self.event, FeedEvent)
        if np.any(self.sequence[1:] <= self.sequence[:-1]):
            raise malformed("sequence does not grow.")


@dataclass(frozen=True)
class ProofRows(Rows):
    """Counts and membership proofs (`ProveMembershipResponse`)."""

    counts: U32
    proofs: U8

    MESSAGE = pb.ProveMembershipResponse
    KINDS: ClassVar[Mapping[str, Kind]] = {"counts": UINT32, "proofs": ID}


@dataclass(frozen=True)
class RefinedRows(Rows):
    """Finer tokens (`RefinedColumns`)."""

    parent_index: U32
    handle: U8
    token: U8

    MESSAGE = pb.RefinedColumns
    KINDS: ClassVar[Mapping[str, Kind]] = {"parent_index": UINT32, "handle": ID, "token": ID}


@dataclass(frozen=True)
class IslandRows(Rows):
    """Islands with the partner's proofs (`IslandColumns`)."""

    token: U8
    partner_count: U32
    proof: U8

    MESSAGE = pb.IslandColumns
    KINDS: ClassVar[Mapping[str, Kind]] = {"token": ID, "partner_count": UINT32, "proof": ID}


@dataclass(frozen=True)
class SieveAsk(Rows):
    """The pairs of a `StreamSieveRequest`; `island_index` points into its islands."""

    own_handles: U8
    partner_handles: U8
    island_index: U32

    MESSAGE: ClassVar[Any] = pb.StreamSieveRequest
    KINDS: ClassVar[Mapping[str, Kind]] = {
        "own_handles": ID,
        "partner_handles": ID,
        "island_index": UINT32,
    }


@dataclass(frozen=True)
class SieveRows(Rows):
    """Sieve words (`SieveColumns`)."""

    word: U64
    refusal: U8

    MESSAGE = pb.SieveColumns
    KINDS: ClassVar[Mapping[str, Kind]] = {"word": UINT64, "refusal": UINT8}

    def check(self) -> None:
        """Refuse unknown refusals."""
        check_codes("refusal", self.refusal, Refusal)


@dataclass(frozen=True)
class TaggedSieveRows(SieveRows):
    """Sieve words with the tags of their bits and records (`SieveColumns`, if tags were asked)."""

    distance_tags: U32  # (n, 64)
    record_tag: U8  # (n, 32)

    KINDS: ClassVar[Mapping[str, Kind]] = {
        **SieveRows.KINDS,
        "distance_tags": DISTANCE_TAGS,
        "record_tag": SEALED_TAG,
    }


@dataclass(frozen=True)
class Shown(Rows):
    """What a registry is shown of pairs before it seals them (`StreamSealedPairsRequest`)."""

    distances: U8
    distance_proofs: U32
    partner_tags: U8  # (n, 32)

    MESSAGE: ClassVar[Any] = pb.StreamSealedPairsRequest
    KINDS: ClassVar[Mapping[str, Kind]] = {
        "distances": UINT8,
        "distance_proofs": UINT32,
        "partner_tags": SEALED_TAG,
    }


@dataclass(frozen=True)
class PairAsk(Shown, SieveAsk):
    """The pairs of a `StreamSealedPairsRequest`, and what is shown of them."""

    KINDS: ClassVar[Mapping[str, Kind]] = {**SieveAsk.KINDS, **Shown.KINDS}


@dataclass(frozen=True)
class DiscloseAsk(Rows):
    """The rows of a `DiscloseSubjectsRequest`, best score first."""

    own_handles: U8
    partner_handles: U8
    partner_tags: U8
    weights: F32

    MESSAGE = pb.DiscloseSubjectsRequest
    KINDS: ClassVar[Mapping[str, Kind]] = {
        "own_handles": ID,
        "partner_handles": ID,
        "partner_tags": SEALED_TAG,
        "weights": FLOAT32,
    }

    def check(self) -> None:
        """Refuse weights that are not finite."""
        if not np.isfinite(self.weights).all():
            raise malformed("weights holds a number that is not finite.")


@dataclass(frozen=True)
class DisclosedRows(Rows):
    """Subject ids, and of which side each is (`DiscloseSubjectsResponse`)."""

    subjects: U8
    refusal: U8
    sides: U8

    MESSAGE = pb.DiscloseSubjectsResponse
    KINDS: ClassVar[Mapping[str, Kind]] = {"subjects": ID, "refusal": UINT8, "sides": UINT8}

    @classmethod
    def read(cls, message: Any) -> Self:
        """Read and check the columns; no side is said where the column is empty."""
        if not message.sides:
            unsaid = pb.DiscloseSubjectsResponse(sides=bytes(len(message.refusal)))
            unsaid.MergeFrom(message)
            message = unsaid
        return super().read(message)

    def check(self) -> None:
        """Refuse unknown refusals and sides."""
        check_codes("refusal", self.refusal, Refusal)
        check_codes("sides", self.sides, Side)


@dataclass(frozen=True)
class SealedRows:
    """One side of sealed pairs (`SealedColumns`)."""

    batch: SealedBatch
    refusal: U8

    @property
    def rows(self) -> int:
        """Number of pairs."""
        return len(self.refusal)

    @staticmethod
    def row_bytes(schema: Schema) -> int:
        """Bytes of one pair's side, for `frames`."""
        kinds = [kind for field in schema.fields for kind in _sealed_kinds(field).values()]
        return sum(kind.row_bytes for kind in kinds) + UINT8.row_bytes

    @classmethod
    def read(cls, message: Any, schema: Schema) -> Self:
        """Read and check sealed columns: exactly the schema's fields, each with what it has."""
        if len(message.fields) != len(schema.fields):
            raise malformed("fields differ in number from the schema.")
        refusal = u8(message.refusal, "refusal")
        check_codes("refusal", refusal, Refusal)
        columns = {
            f"{field.name}.{name}": kind.read(getattr(sealed, name), f"{field.name}.{name}")
            for field, sealed in zip(schema.fields, message.fields, strict=True)
            for name, kind in _sealed_kinds(field).items()
        }
        if any(
            getattr(sealed, name) and name not in _sealed_kinds(field)
            for field, sealed in zip(schema.fields, message.fields, strict=True)
            for name in ("sketch", "tags")
        ):
            raise malformed("a field carries a column that the schema does not give it.")
        check_equal_rows(refusal=refusal, **columns)
        if sum(column.nbytes for column in columns.values()) > FRAME_BYTES_MAX:
            raise malformed(f"A frame holds more than {FRAME_BYTES_MAX} bytes.")
        sealed_columns = tuple(
            SealedColumn(
                columns[f"{field.name}.presence"],
                columns.get(f"{field.name}.sketch"),
                columns.get(f"{field.name}.tags"),
            )
            for field in schema.fields
        )
        return cls(SealedBatch(sealed_columns), refusal)

    def message(self) -> Any:
        """The pairs as their protobuf message."""
        columns = [
            pb.SealedField(
                presence=column.presence.tobytes(),
                sketch=b"" if column.sketch is None else column.sketch.tobytes(),
                tags=b"" if column.tags is None else column.tags.tobytes(),
            )
            for column in self.batch.fields
        ]
        return pb.SealedColumns(fields=columns, refusal=UINT8.write(self.refusal, "refusal"))


def _sealed_kinds(field: Field) -> dict[str, Kind]:
    """The columns that a sealed field has."""
    kinds = {"presence": PRESENCE}
    if field.sample_bytes:
        kinds["sketch"] = Kind("u1", field.sample_bytes)
    if field.tags:
        kinds["tags"] = Kind("u1", TAG_BYTES * len(field.tags))
    return kinds


def read_card(message: Any) -> Card:
    """A relayed card out of protobuf; `pki.verify_card` says whether it holds."""
    return Card(
        message.registry,
        message.agreement_public_key,
        message.certificate_chain,
        message.signature,
    )


def card_message(card: Card) -> profile_pb2.RegistryCard:
    """A card as its protobuf message."""
    return profile_pb2.RegistryCard(
        registry=card.registry,
        agreement_public_key=card.agreement_public_key,
        certificate_chain=card.certificate_chain,
        signature=card.signature,
    )
