"""The `kinlink-gateway` command as an operator meets it: a real process, real sockets."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import ssl
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest
from click.testing import CliRunner
from kinlink_core.runtime.files import write_file, write_secret_file
from kinlink_gateway.cli import main
from support.pki import Federation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

COMMAND = (sys.executable, "-c", "from kinlink_gateway.cli import main; main()")
READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
SETTINGS = """
federation = "test-federation"
listen = "127.0.0.1:0"
metrics_listen = "127.0.0.1:0"
forget_seconds = 0.2
[linker]
address = "127.0.0.1:1"
"""


@dataclass
class Home:
    """A gateway's home directory and its command."""

    path: Path
    federation: Federation

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "--home", str(self.path), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS_MAX,
        )

    def run_here(self, *arguments: str) -> Result:
        """As `run`, in this process: quicker, for what ends at once."""
        root = logging.getLogger()
        handlers = root.handlers[:]
        try:
            return CliRunner().invoke(main, ["--home", str(self.path), *arguments])
        finally:
            root.handlers[:] = handlers

    def start(self) -> tuple[subprocess.Popen[str], dict[str, str]]:
        with (self.path / "log").open("w") as log:
            process = subprocess.Popen(
                [*COMMAND, "--home", str(self.path), "serve"], stderr=log, text=True
            )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not (self.path / "ready.json").exists():
            assert process.poll() is None, (self.path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process, json.loads((self.path / "ready.json").read_text())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    federation = Federation(tmp_path / "pki")
    (tmp_path / "pki").mkdir()
    path = tmp_path / "gateway"
    path.mkdir()
    (path / "gateway.toml").write_text(SETTINGS, "utf-8")
    federation.tls("gateway", "gateway")
    (tmp_path / "pki" / "gateway-gateway").rename(path / "tls")
    return Home(path, federation)


@pytest.fixture
def served(home: Home) -> Iterator[tuple[Home, subprocess.Popen[str], dict[str, str]]]:
    process, ready = home.start()
    yield home, process, ready
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_gateway_serves_lets_in_audits_and_stops_gracefully(
    served: tuple[Home, subprocess.Popen[str], dict[str, str]],
) -> None:
    home, process, ready = served
    assert ready["pid"] == process.pid
    made = home.run("tokens", "create", "--role", "operator", "--name", "Chen")
    assert made.returncode == 0
    token = made.stdout.strip()
    base = f"http://{ready['api']}"
    headers = {"Authorization": f"Bearer {token}"}
    me = httpx.get(f"{base}/api/v1/me", headers=headers)
    assert (me.status_code, me.json()["role"]) == (200, "operator")
    assert "server" not in me.headers
    away = httpx.get(f"{base}/api/v1/registries", headers=headers)
    assert (away.status_code, away.json()["reason"]) == (503, "UNREACHABLE")
    metrics = httpx.get(f"http://{ready['metrics']}/metrics").text
    assert (
        'kinlink_gateway_http_requests_total{method="GET",route="/api/v1/me",status="200"}'
        in metrics
    )
    assert "kinlink_certificate_days_left" in metrics
    assert httpx.get(f"http://{ready['health']}/readyz").status_code == 200
    assert httpx.get(f"{base}/metrics").status_code == 404
    home.run("tokens", "revoke", "Chen")
    assert httpx.get(f"{base}/api/v1/me", headers=headers).status_code == 401
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_SECONDS_MAX) == 0
    assert not (home.path / "ready.json").exists()
    log = (home.path / "log").read_text()
    assert token not in log
    assert all(json.loads(line)["service"] == "gateway" for line in log.splitlines())
    verified = home.run("audit", "verify")
    assert verified.returncode == 0
    # Two readings, one refusal, one token made and revoked.
    assert re.fullmatch(r"5:[0-9a-f]{64}\n", verified.stdout)
    assert stat.S_IMODE((home.path / "gateway.db").stat().st_mode) == 0o600
    assert home.run("audit", "verify", "--anchor", verified.stdout.strip()).returncode == 0
    wrong = home.run("audit", "verify", "--anchor", "1:" + "0" * 64)
    assert (wrong.returncode, "anchor" in wrong.stderr) == (1, True)


def test_a_signal_ends_followers_and_leaves_at_once(
    served: tuple[Home, subprocess.Popen[str], dict[str, str]],
) -> None:
    _, process, _ = served
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_SECONDS_MAX) == 0


def test_https_is_served_and_a_rotated_certificate_is_picked_up(home: Home) -> None:
    https = home.path / "https"
    https.mkdir()
    files = home.federation.tls("operator", "web")

    def install() -> None:
        write_secret_file(https / "key.pem", files.key.read_bytes())
        write_file(https / "cert.pem", files.cert.read_bytes())

    install()
    with (home.path / "gateway.toml").open("a") as settings:
        settings.write('[https]\ncert = "https/cert.pem"\nkey = "https/key.pem"\n')
    process, ready = home.start()
    try:
        context = ssl.create_default_context(cafile=str(files.ca))
        answer = httpx.get(f"https://{ready['api']}/sign-in", verify=context)
        assert answer.status_code == 200
        assert "max-age" in answer.headers["strict-transport-security"]
        host, port = ready["api"].rsplit(":", 1)
        first = ssl.get_server_certificate((host, int(port)))
        home.federation.issue_into(files, "operator", "web")
        install()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while ssl.get_server_certificate((host, int(port))) == first:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.terminate()
        assert process.wait(STOP_SECONDS_MAX) == 0


def test_the_token_alone_goes_to_standard_output(home: Home) -> None:
    made = home.run_here(
        "tokens", "create", "--role", "province", "--name", "四川", "--registry", "sichuan"
    )
    assert re.fullmatch(r"kinlink_[A-Za-z0-9_-]{43}\n", made.stdout)
    assert "shown this once" in made.stderr
    listed = home.run_here("tokens", "list").stdout.rstrip("\n").split("\t")
    assert listed[:3] == ["四川", "province", "sichuan"]


def test_making_and_revoking_tokens_is_audited(home: Home) -> None:
    home.run_here("tokens", "create", "--role", "analyst", "--name", "a")
    home.run_here("tokens", "revoke", "a")
    verified = home.run_here("audit", "verify")
    assert verified.exit_code == 0
    assert verified.stdout.startswith("2:")


def test_a_database_of_something_else_is_not_verified(home: Home) -> None:
    (home.path / "gateway.db").touch()
    result = home.run_here("audit", "verify")
    assert result.exit_code == 1
    assert "not made by a gateway" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("tokens", "create", "--role", "province", "--name", "a"), 2, "--registry"),
        (("tokens", "create", "--role", "king", "--name", "a"), 2, "king"),
        (("tokens", "create", "--role", "analyst", "--name", "a/b"), 2, "A name has"),
        (("tokens", "revoke", "nobody"), 1, "No token is named nobody"),
        (("audit", "verify", "--anchor", "x"), 2, "NUMBER:HASH"),
        (("audit", "verify"), 1, "gateway.db does not exist"),
        (("nothing",), 2, "nothing"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    home: Home, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = home.run_here(*arguments)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda home: (home / "gateway.toml").unlink(), "gateway.toml"),
        (lambda home: (home / "gateway.toml").write_text("x ="), "is not TOML"),
        (lambda home: (home / "tls" / "key.pem").chmod(0o644), "0600"),
        (lambda home: (home / "tls" / "cert.pem").unlink(), "cert.pem"),
        (lambda home: (home / "gateway.db").write_bytes(b"not a database at all" * 99), "database"),
    ],
)
def test_a_home_that_cannot_be_served_says_why(home: Home, spoil: object, said: str) -> None:
    spoil(home.path)  # type: ignore[operator]
    result = home.run_here("serve")
    assert result.exit_code in {1, 2}
    assert said in result.stderr
    assert isinstance(result.exception, SystemExit)
    assert not (home.path / "ready.json").exists()


def test_a_port_that_is_taken_is_named(
    served: tuple[Home, subprocess.Popen[str], dict[str, str]],
) -> None:
    home, _, ready = served
    environment = {**os.environ, "KINLINK_GATEWAY_LISTEN": ready["api"]}
    result = subprocess.run(
        [*COMMAND, "--home", str(home.path), "serve"],
        check=False,
        capture_output=True,
        text=True,
        timeout=READY_SECONDS_MAX,
        env=environment,
    )
    assert result.returncode == 2
    assert f"Cannot listen on {ready['api']}" in result.stderr
