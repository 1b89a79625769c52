"""A registry as a process: served, interrupted, killed, and out of disk."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink.registry.v1 import registry_pb2_grpc
from kinlink_core.runtime.channel import open_channel
from kinlink_core.wire import TokenRows, read_stream
from unit.registry.rig import EPOCH, HEADER, Rig, must, people, person, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-c", "from kinlink_registry.cli import main; main()")
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
TMPFS_MIB = 24


def start(home: Path, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    command = [*COMMAND, "--home", str(home), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def finished(home: Path, *arguments: str | Path) -> tuple[int, str, str]:
    with start(home, *arguments) as process:
        output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def serving(home: Path) -> Iterator[subprocess.Popen[str]]:
    log = (home / "log.jsonl").open("w")
    process = start(home, "serve")
    process_log = threading.Thread(target=lambda: log.write(process.stderr.read()))  # type: ignore[union-attr]
    process_log.start()
    try:
        wait_for(home / "ready.json", process)
        yield process
    finally:
        process.terminate()
        assert process.wait(STOP_SECONDS_MAX) is not None
        process_log.join()
        log.close()
        process.stdout.close()  # type: ignore[union-attr]
        process.stderr.close()  # type: ignore[union-attr]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    home = made.registry("anhui")
    must(home, "keys", "create", EPOCH)
    made.fill(home, people(*range(50)))
    return made


@contextmanager
def linker(rig: Rig, home: Path) -> Iterator[registry_pb2_grpc.RegistryServiceStub]:
    address = json.loads((home / "ready.json").read_text())["api"]
    tls = rig.federation.tls("linker", "linker")
    with open_channel(address, tls, role="registry", name=home.name) as channel:
        yield registry_pb2_grpc.RegistryServiceStub(channel)


def status(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(must(home, "status", "--json"))
    return found


def feed_rows(stub: registry_pb2_grpc.RegistryServiceStub) -> int:
    request = pb.StreamTokensRequest(epoch=EPOCH)
    return sum(rows.rows for rows in read_stream(stub.StreamTokens(request), TokenRows.read))


def test_commands_reach_the_serving_process_while_the_linker_reads(rig: Rig) -> None:
    home = rig.homes["anhui"]
    with serving(home), linker(rig, home) as stub:
        assert (home / "registry.sock").stat().st_mode & 0o777 == 0o600
        reading, counts, faults = threading.Event(), [], []

        def read() -> None:
            try:
                while not reading.is_set():
                    counts.append(feed_rows(stub))
                    stub.GetRegistry(pb.GetRegistryRequest())
            except Exception as error:  # noqa: BLE001 - carried to the assertion
                faults.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        rig.fill(home, people(*range(40, 90)))
        assert status(home)["records"]["live"] == 90
        must(home, "ingest", "--delete", write_csv(home / "gone.csv", people(*range(20))))
        must(home, "consent", "withdraw", "p30", "p31")
        assert status(home)["records"] == {"live": 68, "withdrawn": 2, "hidden": 0}
        reading.set()
        thread.join()
        assert not faults
        assert counts[0] >= 100
        assert stub.GetRegistry(pb.GetRegistryRequest()).records == 68
    assert status(home)["records"]["live"] == 68


def test_a_second_process_cannot_open_a_served_vault(rig: Rig) -> None:
    home = rig.homes["anhui"]
    with serving(home):
        (home / "registry.sock").rename(home / "hidden.sock")
        code, _, errors = finished(home, "status")
        (home / "hidden.sock").rename(home / "registry.sock")
        assert code == 1
        assert "Another process has the vault open" in errors
        code, _, errors = finished(home, "serve")
        assert code == 1
        assert "open" in errors or "serves" in errors
        must(home, "status")


def test_sigterm_ends_it_cleanly_and_leaves_nothing_behind(rig: Rig) -> None:
    home = rig.homes["anhui"]
    with serving(home) as process:
        pass
    assert process.returncode == 0
    assert not (home / "ready.json").exists()
    assert not (home / "registry.sock").exists()
    assert not (home / "vault.duckdb.wal").exists()


def test_a_socket_that_a_crash_left_is_in_nobodys_way(rig: Rig) -> None:
    home = rig.homes["anhui"]
    with serving(home) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(STOP_SECONDS_MAX)
        assert (home / "registry.sock").exists()
        assert status(home)["records"]["live"] == 50
    (home / "ready.json").unlink()
    with serving(home):
        assert status(home)["records"]["live"] == 50


def test_a_kill_during_an_ingest_leaves_whole_batches(rig: Rig) -> None:
    home = rig.homes["anhui"]
    batch = 200
    code = (
        "import kinlink_registry.coding as c; c.PLAIN_ROWS = 200\n"
        "from kinlink_registry.cli import main; main()"
    )
    path = write_csv(home / "many.csv", people(*range(100, 6100)))
    log = home / "audit.jsonl"
    command = [sys.executable, "-c", code, "--home", str(home), "ingest", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    vault = home / "vault.duckdb"
    size = vault.stat().st_size
    deadline = time.monotonic() + START_SECONDS_MAX
    while _size(vault) < size + (1 << 20) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert log.exists()
    kept = status(home)["records"]["live"] - 50
    epoch = status(home)["epochs"][0]
    assert kept % batch == 0
    assert 0 < kept < 6000
    assert epoch["records"] == kept + 50
    done = json.loads(must(home, "ingest", path, "--json"))
    assert (done["added"], done["unchanged"]) == (6000 - kept, kept)
    assert status(home)["epochs"][0]["records"] == 6050


def _size(path: Path) -> int:
    """Bytes of a DuckDB file and its log."""
    found = 0
    for each in (path, path.with_name(path.name + ".wal")):
        with suppress(FileNotFoundError):
            found += each.stat().st_size
    return found


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of a few MiB; the test is skipped where none may be mounted."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m,mode=0700", "tmpfs", str(directory)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not permitted")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.parametrize("served", [False, True])
def test_a_full_disk_is_named_and_the_vault_is_unharmed(tmp_path: Path, served: bool) -> None:  # noqa: FBT001
    with small_disk(tmp_path / "disk") as disk:
        rig = Rig(disk)
        home = rig.registry("anhui")
        must(home, "keys", "create", EPOCH)
        rig.fill(home, people(*range(20)))
        many = write_csv(tmp_path / "many.csv", people(*range(100, 20_000)))
        with serving(home) if served else nullcontext():
            code, _, errors = finished(home, "ingest", many)
            assert code == 1
            assert "disk" in errors
            assert "is full" in errors or "no space" in errors.lower()
            _free(disk)
            state = status(home)
            assert state["records"]["live"] >= 20
            assert state["epochs"][0]["records"] == state["records"]["live"]
            before = state["records"]["live"]
            must(home, "ingest", write_csv(disk / "few.csv", people(*range(30_000, 30_010))))
            assert status(home)["records"]["live"] == before + 10


def _free(disk: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={TMPFS_MIB * 4}m", str(disk)], check=True)


def test_a_backup_while_records_come_in_is_of_one_state(rig: Rig, tmp_path: Path) -> None:
    home = rig.homes["anhui"]
    with serving(home):
        ingest = start(home, "ingest", write_csv(home / "many.csv", people(*range(100, 3000))))
        must(home, "backup", tmp_path / "copy.duckdb")
        ingest.communicate(timeout=120)
        assert status(home)["records"]["live"] == 2950
        must(home, "restore", tmp_path / "copy.duckdb", "--yes")
        state = status(home)
        assert state["records"]["live"] in {50, 2950}
        assert state["epochs"][0]["records"] == state["records"]["live"]


def test_a_restore_while_serving_starts_a_new_feed(rig: Rig, tmp_path: Path) -> None:
    home = rig.homes["anhui"]
    with serving(home), linker(rig, home) as stub:
        must(home, "backup", tmp_path / "copy.duckdb")
        before = stub.GetRegistry(pb.GetRegistryRequest())
        rig.fill(home, people(100))
        must(home, "restore", tmp_path / "copy.duckdb", "--yes")
        after = stub.GetRegistry(pb.GetRegistryRequest())
        assert after.feed_id != before.feed_id
        assert after.records == before.records
        assert feed_rows(stub) == 100


def test_a_new_epoch_is_served_without_a_restart(rig: Rig) -> None:
    home = rig.homes["anhui"]
    settings = home / "registry.toml"
    settings.write_text("epoch_poll_seconds = 0.2\n" + settings.read_text())
    with serving(home), linker(rig, home) as stub:
        must(home, "keys", "create", "2026-12")
        deadline = time.monotonic() + START_SECONDS_MAX
        names: list[str] = []
        while names != ["2026-12", EPOCH]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
            names = [p.epoch for p in stub.GetRegistry(pb.GetRegistryRequest()).profiles]
        must(home, "keys", "retire", EPOCH, "--yes")
        while names != ["2026-12"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
            names = [p.epoch for p in stub.GetRegistry(pb.GetRegistryRequest()).profiles]


def test_metrics_tell_records_tokens_feed_and_epoch(rig: Rig) -> None:
    import urllib.request

    home = rig.homes["anhui"]
    with serving(home):
        rig.fill(home, people(60))
        address = json.loads((home / "ready.json").read_text())["metrics"]
        deadline = time.monotonic() + START_SECONDS_MAX
        text = ""
        while 'kinlink_registry_records{state="live"} 51.0' not in text:
            assert time.monotonic() < deadline, text
            time.sleep(0.2)
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        for line in (
            'kinlink_registry_tokens{pass_id="name_birth"} 51.0',
            f'kinlink_key_epoch_info{{epoch="{EPOCH}",state="current"}} 1.0',
            'kinlink_registry_ingest_rows_total{outcome="added"} 1.0',
            "kinlink_certificate_days_left 29.",
            "kinlink_registry_vault_bytes ",
        ):
            assert line in text, line


def test_the_log_of_a_serving_registry_shows_no_value(rig: Rig) -> None:
    home = rig.homes["anhui"]
    with serving(home), linker(rig, home) as stub:
        rig.fill(home, [*people(60, 61), {**person(62), "dob": "nonsense-1"}])
        feed_rows(stub)
        with suppress(grpc.RpcError):
            stub.StreamTokens(pb.StreamTokensRequest(epoch="none")).next()
        must(home, "links", "--id", "p60")
    log = (home / "log.jsonl").read_text()
    assert '"call"' in log
    for row in people(60, 61):
        assert not any(row[name] in log for name in HEADER[1:] if len(row[name]) > 4)
    assert "nonsense-1" not in log
    assert "p60" not in log


def test_a_socket_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    rig = Rig(tmp_path / ("x" * 80))
    home = rig.registry("anhui")
    code, _, errors = finished(home, "serve")
    assert code in {1, 2}
    assert "socket" in errors


def test_an_address_that_is_taken_is_named(rig: Rig) -> None:
    home = rig.homes["anhui"]
    settings = home / "registry.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = settings.read_text().replace(
            '\nlisten = "127.0.0.1:0"', f'\nlisten = "127.0.0.1:{port}"'
        )
        settings.write_text(text)
        code, _, errors = finished(home, "serve")
    assert code == 1
    assert "kinlink-registry:" in errors
    assert not (home / "registry.sock").exists()
