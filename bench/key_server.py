"""What the key server costs: one registry, real mutual TLS, proofs verified, as an ingest does it.

The served process, its evaluators and the registry's side share this machine's cores, so the
processor seconds of each say more than the wall clock.

    python bench/key_server.py [--evaluations N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness import environment, write_json
from kinlink_core.encoding.keys import blocking_input
from kinlink_core.encoding.schema import load_schema, packaged_schema
from kinlink_core.runtime.enrolment import Enrolment
from kinlink_core.runtime.identity import Identity, Role
from kinlink_core.runtime.pki import CertificateAuthority, make_ca
from kinlink_core.runtime.tls import TlsFiles
from kinlink_registry.key_client import Batch, KeyServerClient

if TYPE_CHECKING:
    from collections.abc import Iterator

FEDERATION, EPOCH, PASS = "bench", "2026-11", "phone"
SCHEMA = packaged_schema("person")
EVALUATIONS_DEFAULT = 65_536
READY_SECONDS_MAX = 60
MILLION = 1_000_000


def enrol(authority: CertificateAuthority, folder: Path, role: Role, name: str) -> TlsFiles:
    """Give a process its certificate."""
    identity, files = Identity(FEDERATION, role, name), Enrolment(folder / "tls", role)
    files.enrol(identity, ["127.0.0.1"])
    answer = authority.issue(files.request.read_bytes(), role, name, ["127.0.0.1"])
    files.install(identity, answer, authority.cert_pem)
    return TlsFiles.in_dir(files.directory)


@contextmanager
def key_server(home: Path, records: int) -> Iterator[tuple[str, int]]:
    """A key server that serves: its address and its process id."""
    command = [sys.executable, "-c", "from kinlink_keyserver.cli import main; main()"]
    command += ["--home", str(home)]
    declared = ["--schema", str(SCHEMA), "--registry", f"anhui={records}"]
    for step in (["init", *declared, "--listen", "127.0.0.1:0"], ["epochs", "create", EPOCH]):
        subprocess.run([*command, *step], check=True, stdout=subprocess.DEVNULL)
    settings = home / "keyserver.toml"
    settings.write_text(settings.read_text().replace(":7448", ":0").replace(":7449", ":0"))
    with (home / "log").open("w") as log, subprocess.Popen([*command, "serve"], stderr=log) as run:
        try:
            until = time.monotonic() + READY_SECONDS_MAX
            while not (home / "ready.json").exists() and time.monotonic() < until:
                time.sleep(0.05)
            yield json.loads((home / "ready.json").read_text())["api"], run.pid
        finally:
            run.terminate()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def evaluators(pid: int) -> list[int]:
    """Processes that a key server spawned."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def measure(count: int) -> dict[str, float]:
    """Have `count` distinct values evaluated; wall and processor seconds."""
    with tempfile.TemporaryDirectory(prefix="kinlink-key-server-") as scratch:
        folder, authority = Path(scratch), make_ca(FEDERATION)
        tls = enrol(authority, folder / "anhui", Role.REGISTRY, "anhui")
        enrol(authority, folder / "keys", Role.KEYSERVER, "keyserver")
        with key_server(folder / "keys", count) as (address, pid):
            workers = evaluators(pid)
            inputs = [blocking_input(PASS, 0, (n.to_bytes(8, "big"),)) for n in range(count)]
            with KeyServerClient(address, tls, name="keyserver") as client:
                terms = client.terms()
                batch = Batch(
                    EPOCH,
                    PASS,
                    load_schema(SCHEMA).fingerprint(),
                    terms.epochs[EPOCH][PASS].public_key,
                    inputs,
                )
                before = [cpu_seconds(pid), sum(map(cpu_seconds, workers)), time.process_time()]
                started = time.monotonic()
                answered = client.evaluate(batch, terms.elements_a_call)
                wall = time.monotonic() - started
                after = [cpu_seconds(pid), sum(map(cpu_seconds, workers)), time.process_time()]
    if answered.error is not None or len(answered.found) != count:
        raise SystemExit(f"not everything was evaluated: {answered.error}")
    serving, evaluating, registry = (b - a for a, b in zip(before, after, strict=True))
    return {"wall": wall, "serving": serving, "evaluating": evaluating, "registry": registry}


def main() -> int:
    """Run the bench and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS_DEFAULT)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    seconds = measure(options.evaluations)
    scale = MILLION / options.evaluations
    per_million = {f"{part}_seconds": value * scale for part, value in seconds.items()}
    result = {
        "bench": "key_server",
        **environment(),
        "evaluations": options.evaluations,
        "evaluations_a_second": options.evaluations / seconds["wall"],
        "load": os.getloadavg()[0],
        "per_million": per_million,
    }
    write_json(options.json, result)
    print(f"Key server: {result['evaluations_a_second']:.0f} evaluations a second, one registry")
    print(f"  per million, wall:                       {per_million['wall_seconds']:6.0f} s")
    print(f"  processor, evaluators of the key server: {per_million['evaluating_seconds']:6.0f} s")
    print(f"  processor, its serving process:          {per_million['serving_seconds']:6.0f} s")
    print(f"  processor, blind and verify in registry: {per_million['registry_seconds']:6.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
