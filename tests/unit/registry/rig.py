"""Small registries made by the command line, and a linker's side of every call."""

from __future__ import annotations

import csv
import dataclasses
import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from click.testing import CliRunner
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.registry.v1 import registry_pb2_grpc
from kinlink_core.encoding.record_tags import SEALED_TAG_BYTES
from kinlink_core.encoding.schema import Schema, load_schema
from kinlink_core.encoding.sieve import prove_distances
from kinlink_core.errors import KinlinkError
from kinlink_core.runtime.channel import open_channel, translated
from kinlink_core.runtime.files import write_file
from kinlink_core.wire import (
    DisclosedRows,
    ProofRows,
    RefinedRows,
    SealedRows,
    Shown,
    SieveRows,
    TaggedSieveRows,
    TokenRows,
    read_stream,
)
from kinlink_registry import app
from kinlink_registry.cli import main
from kinlink_registry.home import Home
from support.pki import Federation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import grpc
    from click.testing import Result
    from kinlink_registry.node import Node

EPOCH = "2026-11"
SCHEMA = """\
name: small
fields:
  - {name: given, kind: name, entropy_bits: 9}
  - {name: family, kind: name, entropy_bits: 10}
  - {name: dob, kind: date, entropy_bits: 14, optional: true}
  - {name: postcode, kind: code, entropy_bits: 8, optional: true}
passes:
  - id: name_birth
    parts: {family: exact, dob: exact}
    cap: 4
    refine: {given: exact}
  - id: given_birth
    parts: {given: exact, dob: exact}
    cap: 4
"""
HEADER = ("record_id", "given", "family", "dob", "postcode")
GIVEN = ("ann", "bob", "carl", "dora", "eve", "frank", "gina", "hugo")
FAMILY = ("adams", "brown", "clark", "davis", "evans", "frost", "green", "hill")

Row = dict[str, str]


def person(number: int) -> Row:
    """A made-up person; the same number is the same person in every registry."""
    chance = random.Random(number)
    return {
        "record_id": f"p{number}",
        "given": f"{chance.choice(GIVEN)} {chance.choice(GIVEN)}",
        "family": chance.choice(FAMILY) + chance.choice(FAMILY),
        "dob": f"{chance.randint(1950, 2005)}-{_two(chance, 12)}-{_two(chance, 28)}",
        "postcode": str(chance.randint(1000, 9999)),
    }


def _two(chance: random.Random, most: int) -> str:
    return f"{chance.randint(1, most):02d}"


def people(*numbers: int) -> list[Row]:
    return [person(number) for number in numbers]


def write_csv(path: Path, rows: Sequence[Row], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
    return path


def run(home: Path, *arguments: str | Path) -> Result:
    """One command; its output, its exit code."""
    return CliRunner().invoke(
        main, ["--home", str(home), *map(str, arguments)], prog_name="kinlink-registry"
    )


def must(home: Path, *arguments: str | Path) -> str:
    """One command that has to succeed; what it printed."""
    result = run(home, *arguments)
    assert result.exit_code == 0, result.output + result.stderr + repr(result.exception)
    return result.output


@dataclass
class Rig:
    """A federation in a directory."""

    directory: Path
    schema_text: str = SCHEMA
    federation: Federation = field(init=False)
    homes: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.federation = Federation(self.directory / "pki")
        self.schema_path = self.directory / "schema.yaml"
        self.schema_path.write_text(self.schema_text)

    @property
    def schema(self) -> Schema:
        return load_schema(self.schema_path)

    def registry(self, name: str, *, toml: str = "", key_server: str = "") -> Path:
        """A home that is enrolled and initialised; its settings end with `toml`."""
        home = self.directory / name
        authority = self.federation.authority
        federation = authority.federation
        must(home, "enrol", "--federation", federation, "--name", name, "--host", "127.0.0.1")
        request = Home(home).enrolment.request.read_bytes()
        certificate = self.directory / f"{name}.pem"
        write_file(certificate, authority.issue(request, "registry", name, ["127.0.0.1"], 30))
        ca = self.directory / "ca.pem"
        write_file(ca, authority.cert_pem)
        must(home, "install-cert", certificate, "--ca", ca)
        mode = ("--key-server", key_server) if key_server else ("--plain",)
        must(home, "init", "--schema", self.schema_path, "--listen", "127.0.0.1:0", *mode)
        settings = Home(home).settings
        text = settings.read_text().replace("127.0.0.1:7442", "127.0.0.1:0")
        text = text.replace("127.0.0.1:7443", "127.0.0.1:0")
        at_once = "" if "[rounds]" in toml else "[rounds]\nspread_hours = 0\n"
        settings.write_text(text[: text.index("[policy]")] + at_once + toml)
        self.homes[name] = home
        return home

    def pair(self, *, toml: str = "") -> tuple[Path, Path]:
        """Two registries that share an epoch."""
        left, right = self.registry("anhui", toml=toml), self.registry("sichuan", toml=toml)
        self.share(left, right)
        return left, right

    def share(self, maker: Path, *others: Path, epoch: str = EPOCH) -> None:
        """Make an epoch's secret in one home and carry it to the others."""
        must(maker, "keys", "create", epoch)
        for other in others:
            card, sealed = other / "card.json", other / "sealed.json"
            must(other, "keys", "card", "--out", card)
            must(maker, "keys", "seal", epoch, "--to", card, "--out", sealed)
            must(other, "keys", "import", sealed)

    def fill(self, home: Path, rows: Sequence[Row]) -> None:
        must(home, "ingest", write_csv(home / "input.csv", rows))

    @contextmanager
    def linker(self, home: Path, role: str = "linker", name: str = "linker") -> Iterator[Linker]:
        """Serve a home, and call it as a peer of some role."""
        with app.opened(Home(home)) as node, app.serving(node) as running:
            tls = self.federation.tls(role, name)
            channel = open_channel(
                f"127.0.0.1:{running.api_port}", tls, role="registry", name=node.name
            )
            try:
                yield Linker(node, channel, self.schema)
            finally:
                channel.close()


@dataclass
class Linker:
    """One registry as the linker sees it."""

    node: Node
    channel: grpc.Channel
    schema: Schema
    epoch: str = EPOCH
    purpose: str = ""

    def __post_init__(self) -> None:
        self.stub = registry_pb2_grpc.RegistryServiceStub(self.channel)

    def profile(self) -> pb.GetRegistryResponse:
        with translated("registry"):
            return self.stub.GetRegistry(pb.GetRegistryRequest(purpose=self.purpose))

    @property
    def card(self) -> Any:
        return self.profile().card

    def feed(self, feed_id: str = "", after: int = 0) -> Feed:
        request = pb.StreamTokensRequest(epoch=self.epoch, feed_id=feed_id, after_sequence=after)
        with translated("registry"):
            stream = read_stream(self.stub.StreamTokens(request), TokenRows.read)
            return Feed(stream.header, list(stream))

    def prove(self, tokens: np.ndarray, pass_index: int, card: Any) -> ProofRows:
        request = pb.ProveMembershipRequest(
            epoch=self.epoch, partner_card=card, pass_index=pass_index, tokens=tokens.tobytes()
        )
        with translated("registry"):
            return ProofRows.read(self.stub.ProveMembership(request))

    def refine(self, tokens: np.ndarray, pass_index: int, level: int = 1) -> list[RefinedRows]:
        request = pb.RefineTokensRequest(
            epoch=self.epoch, pass_index=pass_index, level=level, tokens=tokens.tobytes()
        )
        with translated("registry"):
            return list(read_stream(self.stub.RefineTokens(request), RefinedRows.read))

    def sieve(self, asked: Asked, *, tags: bool = False) -> SieveRows:
        request = pb.StreamSieveRequest(
            linkage_id="linkage",
            purpose=self.purpose,
            epoch=self.epoch,
            partner=asked.card,
            pass_index=asked.pass_index,
            islands=asked.islands(),
            own_handles=asked.own.tobytes(),
            partner_handles=asked.theirs.tobytes(),
            island_index=asked.index().tobytes(),
            tags=tags,
        )
        read = TaggedSieveRows.read if tags else SieveRows.read
        with translated("registry"):
            (rows,) = read_stream(self.stub.StreamSieve(request), read)
        return rows

    def proven(self, asked: Asked) -> Asked:
        """The same pairs with what is shown of them; with false things where one is refused."""
        try:
            own = self.sieve(asked, tags=True).word
            theirs = asked.partner.sieve(asked.mirrored(self), tags=True)
            assert isinstance(theirs, TaggedSieveRows)
        except KinlinkError:
            proven = nothing_shown(len(asked.own))
        else:
            distances = np.bitwise_count(own ^ theirs.word)
            proven = Shown(distances, prove_distances(own, theirs.distance_tags), theirs.record_tag)
        return dataclasses.replace(asked, proven=proven)

    def seal(self, asked: Asked, linkage_id: str = "linkage") -> SealedRows:
        """One side of pairs; their distances are proven first, unless the request has proofs."""
        if asked.proven is None:
            asked = self.proven(asked)
        assert asked.proven is not None
        request = pb.StreamSealedPairsRequest(
            linkage_id=linkage_id,
            purpose=self.purpose,
            epoch=self.epoch,
            partner=asked.card,
            pass_index=asked.pass_index,
            islands=asked.islands(),
            own_handles=asked.own.tobytes(),
            partner_handles=asked.theirs.tobytes(),
            island_index=asked.index().tobytes(),
            **asked.proven.packed(),
        )
        with translated("registry"):
            stream = read_stream(
                self.stub.StreamSealedPairs(request), lambda m: SealedRows.read(m, self.schema)
            )
            (rows,) = stream
        return rows

    def exchange(
        self, card: Any, question: bytes = b"", answer: bytes = b""
    ) -> pb.ExchangeDecisionsResponse:
        request = pb.ExchangeDecisionsRequest(
            linkage_id="linkage", epoch=self.epoch, partner=card, question=question, answer=answer
        )
        with translated("registry"):
            return self.stub.ExchangeDecisions(request)

    def chance(self, card: Any, records: int) -> list[SealedRows]:
        request = pb.StreamChancePairsRequest(
            epoch=self.epoch, partner=card, partner_records=records, purpose=self.purpose
        )
        with translated("registry"):
            return list(
                read_stream(
                    self.stub.StreamChancePairs(request),
                    lambda m: SealedRows.read(m, self.schema),
                )
            )

    def disclose(
        self, card: Any, own: np.ndarray, theirs: np.ndarray, tags: np.ndarray, weight: float = 9.0
    ) -> DisclosedRows:
        request = pb.DiscloseSubjectsRequest(
            linkage_id="linkage",
            purpose=self.purpose,
            epoch=self.epoch,
            partner=card,
            own_handles=own.tobytes(),
            partner_handles=theirs.tobytes(),
            partner_tags=tags.tobytes(),
            weights=np.full(len(own), weight, np.float32).tobytes(),
        )
        with translated("registry"):
            return DisclosedRows.read(self.stub.DiscloseSubjects(request))

    def publish(
        self, *links: pb.PublishedLink, linkage_id: str = "linkage", missing: Sequence[str] = ()
    ) -> pb.PublishLinksResponse:
        request = pb.PublishLinksRequest(
            linkage_id=linkage_id, epoch=self.epoch, links=links, missing_registries=missing
        )
        with translated("registry"):
            return self.stub.PublishLinks(request)


@dataclass
class Feed:
    """A feed as it was read."""

    header: pb.TokensHeader
    pages: list[TokenRows]

    def column(self, name: str) -> np.ndarray:
        width = (0, 16) if name in {"handle", "token"} else (0,)
        return np.concatenate([np.empty(width, np.uint8), *(getattr(p, name) for p in self.pages)])

    def handles(self, event: int = 1) -> set[bytes]:
        chosen = self.column("handle")[self.column("event") == event]
        return {row.tobytes() for row in chosen}

    def added(self, pass_index: int) -> dict[bytes, list[bytes]]:
        """Handles of a pass by token."""
        found: dict[bytes, list[bytes]] = {}
        keep = (self.column("event") == 1) & (self.column("pass_index") == pass_index)
        for token, handle in zip(
            self.column("token")[keep], self.column("handle")[keep], strict=True
        ):
            found.setdefault(token.tobytes(), []).append(handle.tobytes())
        return found


def nothing_shown(rows: int) -> Shown:
    """What proves nothing."""
    return Shown.read(
        pb.StreamSealedPairsRequest(
            distances=bytes(rows),
            distance_proofs=bytes(4 * rows),
            partner_tags=bytes(SEALED_TAG_BYTES * rows),
        )
    )


@dataclass
class Asked:
    """Pairs of one pass, one island each, as they are put to one registry."""

    card: Any
    pass_index: int
    tokens: np.ndarray
    counts: np.ndarray
    proofs: np.ndarray
    own: np.ndarray
    theirs: np.ndarray
    partner: Linker
    island: np.ndarray | None = None
    proven: Shown | None = None

    def only(self, rows: np.ndarray) -> Asked:
        """Some pairs, in the islands of before."""
        return dataclasses.replace(
            self, own=self.own[rows], theirs=self.theirs[rows], island=self.index()[rows]
        )

    def mirrored(self, asker: Linker) -> Asked:
        """The same pairs as the partner is asked for them, with today's proofs of the asker's."""
        by_us = asker.prove(self.tokens, self.pass_index, self.card)
        return dataclasses.replace(
            self, card=asker.card, counts=by_us.counts, proofs=by_us.proofs, own=self.theirs,
            theirs=self.own, partner=asker,
        )  # fmt: skip

    def index(self) -> np.ndarray:
        if self.island is not None:
            return self.island.astype("<u4")
        return np.arange(len(self.own), dtype="<u4")

    def islands(self) -> pb.IslandColumns:
        return pb.IslandColumns(
            token=self.tokens.tobytes(),
            partner_count=self.counts.astype("<u4").tobytes(),
            proof=self.proofs.tobytes(),
        )


def ids(items: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(items), np.uint8).reshape(-1, 16)


@dataclass
class Meeting:
    """Two registries whose shared tokens of one pass are known, with each other's proofs."""

    left: Linker
    right: Linker
    tokens: list[bytes]
    left_handles: list[bytes]
    right_handles: list[bytes]
    to_left: Asked
    to_right: Asked


def meet(left: Linker, right: Linker, pass_index: int = 0) -> Meeting:
    """Find islands of one record a side, and the proofs that both registries ask for."""
    ours, theirs = left.feed().added(pass_index), right.feed().added(pass_index)
    shared = sorted(ours.keys() & theirs.keys())
    shared = [t for t in shared if len(ours[t]) == len(theirs[t]) == 1]
    tokens = ids(shared)
    left_handles = [ours[token][0] for token in shared]
    right_handles = [theirs[token][0] for token in shared]
    by_left = left.prove(tokens, pass_index, right.card)
    by_right = right.prove(tokens, pass_index, left.card)
    return Meeting(
        left,
        right,
        shared,
        left_handles,
        right_handles,
        Asked(
            right.card, pass_index, tokens, by_right.counts, by_right.proofs,
            ids(left_handles), ids(right_handles), right,
        ),
        Asked(
            left.card, pass_index, tokens, by_left.counts, by_left.proofs,
            ids(right_handles), ids(left_handles), left,
        ),
    )  # fmt: skip
