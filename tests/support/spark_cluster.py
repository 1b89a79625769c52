"""A real standalone Spark cluster on loopback: one master, two workers, ended by pid."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20
MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"


# Small enough for a machine that also runs everything else; all on loopback.
CONF = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "600m",
    "spark.executor.memory": "600m",
    "spark.sql.shuffle.partitions": "2",
}


@dataclass(frozen=True)
class Cluster:
    """Where a running cluster is reached, and what it logged."""

    master: str
    secret_file: Path
    folder: Path
    workers: tuple[int, ...]  # process ids

    def work_files(self) -> list[Path]:
        """Whatever the workers hold on their disks now."""
        return [path for path in (self.folder / "local").rglob("*") if path.is_file()]


@contextmanager
def cluster(folder: Path, workers: int = 2, worker_memory: str = "1g") -> Iterator[Cluster]:
    """Run a master and workers that share a secret, for as long as the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    secret_file = folder / "secret"
    secret_file.write_text(secrets.token_hex(32))
    secret_file.chmod(0o600)
    properties = folder / "spark.conf"
    properties.write_text(
        f"spark.authenticate true\nspark.authenticate.secret {secret_file.read_text()}\n"
        "spark.network.crypto.enabled true\nspark.network.crypto.cipher AES/GCM/NoPadding\n"
    )
    properties.chmod(0o600)
    port = _free_port()
    master = f"spark://127.0.0.1:{port}"
    with ExitStack() as stack:
        stack.enter_context(
            _daemon(
                folder, "master", properties, MASTER, "--host", "127.0.0.1", "--port", str(port)
            )
        )
        _wait(folder / "master.log", "I have been elected leader")
        pids = []
        for number in range(workers):
            name = f"worker{number}"
            pid = stack.enter_context(
                _daemon(
                    folder,
                    name,
                    properties,
                    WORKER,
                    "--host",
                    f"127.0.0.{2 + number}",
                    "--cores",
                    "1",
                    "--memory",
                    worker_memory,
                    "--work-dir",
                    str(folder / "work" / name),
                    master,
                )
            )
            pids.append(pid)
        for number in range(workers):
            _wait(folder / f"worker{number}.log", "Successfully registered with master")
        yield Cluster(master, secret_file, folder, tuple(pids))


@contextmanager
def _daemon(folder: Path, name: str, properties: Path, main: str, *arguments: str) -> Iterator[int]:
    import pyspark

    home = Path(pyspark.__file__).parent
    local = folder / "local" / name
    local.mkdir(parents=True)
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_LOCAL_DIRS": str(local),
    }
    command = [
        home / "bin/spark-class", main, "--webui-port", "0",
        "--properties-file", str(properties), *arguments,
    ]  # fmt: skip
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(log: Path, told: str) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if told in log.read_text(errors="replace"):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{log.name} never said: {told}\n{log.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
