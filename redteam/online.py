"""A registry's guesses at a real key server: what its budget still buys after its own records.

Everything here is real: the key server's process, its budgets, the registries that load their
records through it, the blinding and the proofs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
from click.testing import CliRunner
from kinlink_core.encoding import keys
from kinlink_core.encoding.schema import packaged_schema
from kinlink_core.runtime.files import write_file
from kinlink_core.runtime.tls import TlsFiles
from kinlink_keyserver.cli import main as key_server_main
from kinlink_registry.key_client import Batch, KeyServerClient

from redteam.asker import EPOCH
from redteam.population import make
from redteam.registries import FEDERATION, HOSTS, CommandFailed, Laboratory, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redteam.asker import Asker
    from redteam.population import Population
    from redteam.setting import Setting

PEOPLE: Final = 240
NAME: Final = "keyserver"
COMMAND: Final = (sys.executable, "-c", "from kinlink_keyserver.cli import main; main()")
READY_SECONDS_MAX: Final = 60.0
COLLUDER: Final = 0


def bought(setting: Setting) -> tuple[float, int]:
    """Share of others' feed rows that a registry's left budget opens, and how many people."""
    population = make(PEOPLE, 3, setting.seed, correlated=False)
    counts = Counter(population.registry.tolist())
    declared = {name: counts[code] for code, name in enumerate(population.names)}
    with TemporaryDirectory(prefix="kinlink-redteam-") as folder:
        lab = Laboratory(Path(folder), packaged_schema("person"))
        with key_server(lab, declared) as address:
            for name in population.names:
                lab.found(name, key_server=address)
            lab.share()
            for code, name in enumerate(population.names):
                lab.ingest(name, rows_of(population, code))
            with lab.serving() as askers:
                tokens = [_rows(askers[name]) for name in population.names]
                colluder = askers[population.names[COLLUDER]]
                found = _spend(colluder, population, address)
    theirs = [token for code, rows in enumerate(tokens) if code != COLLUDER for token in rows]
    return float(np.mean([token in found for token in theirs])), PEOPLE


def _rows(asker: Asker) -> list[bytes]:
    return [
        token
        for index in range(len(asker.schema.passes))
        for token, handles in asker.feed().held(index).items()
        for _ in handles
    ]


def _spend(colluder: Asker, population: Population, address: str) -> set[bytes]:
    """Tokens of people on the list, as many as the key server evaluates."""
    node = colluder.node
    with node.vault.reading() as session:
        epoch = node.epochs.served(session, EPOCH)
    tls = TlsFiles.in_dir(node.settings.tls_dir)
    found: set[bytes] = set()
    with KeyServerClient(address, tls, name=NAME) as client:
        terms = client.terms()
        for each in epoch.encoder.blocking_inputs(population.people):
            offered = terms.epochs[EPOCH][each.pass_id]
            chosen = each.inputs[: offered.budget_left]
            batch = Batch(EPOCH, each.pass_id, terms.schema_fingerprint, offered.public_key, chosen)
            answered = client.evaluate(batch, terms.elements_a_call).found
            inputs = list(answered)
            blocking = epoch.schedule.blocking_keys(inputs, [answered[x] for x in inputs])
            found |= {keys.token(key) for key in blocking}
    return found


@contextmanager
def key_server(lab: Laboratory, declared: dict[str, int]) -> Iterator[str]:
    """A key server in a process of its own; its address."""
    home = lab.folder / NAME
    _found(lab, home, declared)
    log = (home / "log.jsonl").open("a")
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, "--home", str(home), "serve"],
        stderr=log,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )
    try:
        yield _address(home, process)
    finally:
        process.terminate()
        process.wait(READY_SECONDS_MAX)
        log.close()


def _found(lab: Laboratory, home: Path, declared: dict[str, int]) -> None:
    _command(home, "enrol", "--federation", FEDERATION, "--name", NAME, "--host", HOSTS[0])
    request = (home / "tls/request.pem").read_bytes()
    write_file(home / "answer.pem", lab.authority.issue(request, "keyserver", NAME, HOSTS, 30))
    _command(home, "install-cert", home / "answer.pem", "--ca", lab.folder / "ca.pem")
    registries = [f"--registry={name}={records}" for name, records in declared.items()]
    _command(home, "init", "--schema", lab.schema_path, "--listen", f"{HOSTS[0]}:0", *registries)
    settings = home / "keyserver.toml"
    settings.write_text(settings.read_text().replace(":7448", ":0").replace(":7449", ":0"))
    _command(home, "epochs", "create", EPOCH)


def _command(home: Path, *arguments: str | Path) -> None:
    result = CliRunner().invoke(key_server_main, ["--home", str(home), *map(str, arguments)])
    if result.exit_code:
        raise CommandFailed(f"{arguments}: {result.output}")


def _address(home: Path, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + READY_SECONDS_MAX
    ready = home / "ready.json"
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise CommandFailed((home / "log.jsonl").read_text())
        time.sleep(0.02)
    address: str = json.loads(ready.read_text())["api"]
    return address
