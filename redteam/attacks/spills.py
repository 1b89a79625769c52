"""T8: a value, token, handle or score in a log, a metric, an error or a trace.

The attacker reads everything that processes write or serve for operators: logs at debug level,
metrics pages, audit files, reports of bad rows, what commands print, and the statuses of calls. A
federation of processes is given every reason to be talkative: files with bad rows, broken encodings
and wrong columns, queries that fail on a value, requests of random bytes, forged proofs and cards,
unknown epochs and handles, a registry that dies in the middle of a linkage.

Each search is also run on the same text with one thing of each kind planted, which it must find.
"""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.request import urlopen

import grpc
import numpy as np
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink_core.errors import KinlinkError
from kinlink_local.search import Seeker, searchable

from redteam.asker import meet
from redteam.live import live
from redteam.population import make
from redteam.registries import CommandFailed, rows_of
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redteam.asker import Asked, Asker
    from redteam.live import Live
    from redteam.population import Population
    from redteam.setting import Setting

PEOPLE: Final = 200
SERVICE: Final = "/kinlink.registry.v1.RegistryService/"
CALL_SECONDS: Final = 20.0
ID_LENGTH: Final = 12
SCORE_DIGITS: Final = 6


def run(setting: Setting) -> list[Result]:
    """Provoke, collect, search."""
    population = make(PEOPLE, 2, setting.seed, correlated=False, overlap=0.6)
    with live(population) as made:
        linkage = made.link()
        sought = _sought(made, population, made.weights(linkage))
        heard = [*_files(made, population), *_requests(made)]
        with suppress(CommandFailed, KinlinkError):
            victim = made.services[population.names[1]]
            victim.process.kill()
            made.link()
        heard += _pages(made)
        heard += _written(made)
    text = b"\n".join(heard)
    results = []
    for what, words in sought.items():
        found = Seeker(words).found_in(text)
        planted = min(words)
        caught = Seeker(words).found_in(text[:1000] + planted + text[1000:2000]) >= {planted}
        results.append(
            Result("T8", f"{what} in what is written or served", f"{len(text) >> 10} KiB of text",
                   setting.seed, "different ones found", float(len(found)), 0.0, float(caught), 1.0,
                   "number", f"{len(words)} looked for. Beside it: one that was planted.")
        )  # fmt: skip
    return results


def _sought(made: Live, population: Population, weights: Sequence[float]) -> dict[str, set[bytes]]:
    values = {value for column in population.values.values() for value in column if value}
    ids: set[bytes] = set()
    for name in made.lab.homes:
        asker = made.asker(name)
        feed = asker.feed()
        asker.channel.close()
        for column in ("token", "handle"):
            ids |= {row.tobytes() for row in feed.column(column)}
    texts = {_shown(each) for one in ids - {bytes(16)} for each in (one.hex(), one.hex().upper())}
    texts |= {_shown(base64.b64encode(one).decode()) for one in ids}
    scores = {f"{weight:.{SCORE_DIGITS}f}"[:-1].encode() for weight in weights}
    return {"values": searchable(values), "tokens and handles": texts, "scores": scores}


def _shown(text: str) -> bytes:
    """The beginning of an id's text: also what is cut short is found."""
    return text[:ID_LENGTH].encode()


def _files(made: Live, population: Population) -> Iterator[bytes]:
    """Loads that go wrong, each in its own way; what the officer's command says."""
    name = population.names[0]
    rows = rows_of(population, 0)[:20]
    folder = made.lab.homes[name]
    broken = [{**row, "dob": f"{row['name']} {row['dob']}99"} for row in rows]
    double = [{**row, "record_id": "same"} for row in rows]
    columns = [{f"{row['name']}": row["phone"], **row} for row in rows[:1]]
    for bad in (broken, double, columns):
        yield from _said(lambda bad=bad: made.lab.ingest(name, bad, file="bad.csv"))
    (folder / "bad.bin").write_bytes(b"\xff\xfe" + rows[0]["name"].encode("gbk") + os.urandom(99))
    (folder / "bad.parquet").write_bytes(b"PAR1" + rows[0]["name"].encode() + b"PAR1")
    for file in ("bad.bin", "bad.parquet", f"{rows[0]['record_id']}.csv"):
        yield from _said(lambda file=file: made.lab.command(name, "ingest", folder / file))
    for query in (
        f"SELECT '{rows[0]['name']}'::INTEGER AS record_id",
        f"SELECT * FROM '{folder}/bad.csv' WHERE dob = {rows[0]['dob']}::DATE",
        f"SELECT error(national_id) FROM (SELECT '{rows[0]['national_id']}' AS national_id)",
    ):
        yield from _said(lambda query=query: made.lab.command(name, "ingest", "--query", query))


def _said(call: Any) -> Iterator[bytes]:
    """Errors of a command; its own arguments are the officer's, so the text starts after them."""
    try:
        call()
    except CommandFailed as error:
        yield str(error).partition("): ")[2].encode()


def _requests(made: Live) -> Iterator[bytes]:
    """Calls that must fail: random bytes, forged proofs, unknown epochs; what the status says."""
    left, right = (made.asker(name) for name in made.lab.homes)
    methods = [each.name for each in pb.DESCRIPTOR.services_by_name["RegistryService"].methods]
    for method in methods:
        for body in (os.urandom(200), b"\x0a\xff", bytes(2 << 20)):
            yield from _status(left, method, body)
    asked = meet(left, right, left.schema.pass_index("name_birth")).to_left
    for forged in _forged(asked):
        for call in (left.seal, left.sieve):
            try:
                call(forged)
            except KinlinkError as error:
                yield f"{error} {error.public} {error.detail}".encode()
    left.epoch = asked.own[0].tobytes().hex()
    try:
        left.feed()
    except KinlinkError as error:
        yield error.public.encode()
    for asker in (left, right):
        asker.channel.close()


def _forged(asked: Asked) -> Iterator[Asked]:
    yield replace(asked, proofs=np.zeros_like(asked.proofs))
    yield replace(asked, own=asked.theirs)
    yield replace(asked, island=np.full(len(asked.own), 10_000))
    yield replace(asked, own=asked.own[:-1])


def _status(asker: Asker, method: str, body: bytes) -> Iterator[bytes]:
    call = asker.channel.unary_stream(SERVICE + method, None, None)
    try:
        list(call(body, timeout=CALL_SECONDS))
    except grpc.RpcError as error:
        yield f"{error.details()} {error.trailing_metadata()}".encode()


def _pages(made: Live) -> Iterator[bytes]:
    """What is served to operators without a certificate."""
    for service in made.services.values():
        if service.addresses is not None and service.process.poll() is None:
            for page in ("metrics", ""):
                with (
                    suppress(OSError),
                    urlopen(f"http://{service.addresses.metrics}/{page}") as got,
                ):
                    yield got.read()


def _written(made: Live) -> Iterator[bytes]:
    """Logs, audits and reports."""
    for path in sorted(made.lab.folder.rglob("*")):
        if path.suffix in {".log", ".jsonl"} or "reports" in path.parts:
            yield path.read_bytes() if path.is_file() else b""
