"""A real `kinlink-keyserver` process with its home, and what a registry does at its door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result
from kinlink.keyserver.v1 import keyserver_pb2 as pb
from kinlink.keyserver.v1 import keyserver_pb2_grpc
from kinlink_core.encoding.schema import load_schema, packaged_schema
from kinlink_core.runtime.channel import open_channel
from kinlink_keyserver.cli import main
from voprf import ristretto

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from support.pki import Federation

COMMAND = (sys.executable, "-c", "from kinlink_keyserver.cli import main; main()")
NAME = "keyserver"
EPOCH = "2026-11"
PHONE = "phone"
SCHEMA = packaged_schema("person")
RECORDS = {"anhui": 100, "gansu": 50}
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0

Stub = keyserver_pb2_grpc.KeyServerServiceStub


def run(home: Path, *arguments: str | Path) -> Result:
    """One command of the key server, in this process."""
    return CliRunner().invoke(main, ["--home", str(home), *map(str, arguments)])


def must(home: Path, *arguments: str | Path) -> str:
    result = run(home, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def make_home(
    federation: Federation, home: Path, records: Mapping[str, int] = RECORDS, schema: Path = SCHEMA
) -> Path:
    """Enrol, install, init and make one epoch, as the body's officers do."""
    name = federation.authority.federation
    must(home, "enrol", "--federation", name, "--name", NAME, "--host", "127.0.0.1")
    request = (home / "tls/request.pem").read_bytes()
    answer = federation.authority.issue(request, "keyserver", NAME, ["127.0.0.1"])
    (home / "answer.pem").write_bytes(answer)
    (home / "authority.pem").write_bytes(federation.authority.cert_pem)
    must(home, "install-cert", home / "answer.pem", "--ca", home / "authority.pem")
    declared = [f"--registry={registry}={count}" for registry, count in records.items()]
    must(home, "init", "--schema", schema, "--listen", "127.0.0.1:0", *declared)
    settings = home / "keyserver.toml"
    settings.write_text(settings.read_text().replace(":7448", ":0").replace(":7449", ":0"))
    must(home, "epochs", "create", EPOCH)
    return home


@contextmanager
def serving(home: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`serve` in a process: the process, and its addresses once it is ready."""
    ready = home / "ready.json"
    ready.unlink(missing_ok=True)  # of one that was killed
    log = (home / "log.jsonl").open("a")
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    process = subprocess.Popen(
        [*COMMAND, "--home", str(home), "serve"], stderr=log, text=True, env=environment
    )
    try:
        until = time.monotonic() + READY_SECONDS_MAX
        while not ready.exists():
            assert process.poll() is None, (home / "log.jsonl").read_text()
            assert time.monotonic() < until, "the key server is not ready in time"
            time.sleep(0.02)
        yield process, json.loads(ready.read_text())
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECONDS_MAX)
        log.close()


@contextmanager
def calling(
    federation: Federation, addresses: Mapping[str, Any], name: str, role: str = "registry"
) -> Iterator[Stub]:
    """The key server as a peer of the federation reaches it."""
    tls = federation.tls(role, name)
    with open_channel(addresses["api"], tls, role="keyserver", name=NAME) as channel:
        yield Stub(channel)


def fingerprint(schema: Path = SCHEMA) -> str:
    return load_schema(schema).fingerprint()


def blind(values: Sequence[bytes]) -> tuple[list[ristretto.Client], bytes]:
    """Clients that can unblind, and the packed blinded elements."""
    pairs = [ristretto.Client.blind(value) for value in values]
    return [client for client, _ in pairs], b"".join(each.serialize() for _, each in pairs)


def order(blinded: bytes, pass_id: str = PHONE, epoch: str = EPOCH) -> pb.EvaluateRequest:
    return pb.EvaluateRequest(
        epoch=epoch, pass_id=pass_id, schema_fingerprint=fingerprint(), blinded=blinded
    )


def finalize(
    clients: list[ristretto.Client], answer: pb.EvaluateResponse, public_key: bytes
) -> list[bytes]:
    """Verify the proof and unblind; `ValueError` where the proof does not hold."""
    output = ristretto.VerifiableBatchOutput.deserialize(answer.proof + answer.evaluated)
    return ristretto.Client.finalize_batch(
        clients, output, ristretto.PublicKey.deserialize(public_key)
    )


def public_keys(stub: Stub, epoch: str = EPOCH) -> dict[str, bytes]:
    found = stub.GetKeyServer(pb.GetKeyServerRequest())
    (served,) = [each for each in found.epochs if each.epoch == epoch]
    return {each.pass_id: each.public_key for each in served.passes}
