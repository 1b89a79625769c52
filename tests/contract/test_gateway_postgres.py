"""The gateway's database on a real PostgreSQL: same store, same chain, several writers."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import UnavailableError
from kinlink_gateway.audit import Access, AuditTrail
from kinlink_gateway.store import Store
from sqlalchemy import text
from unit.gateway.office import Office, open_office
from unit.gateway.test_audit_chain import WRITER

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_postgres

START_SECONDS_MAX = 60
UNPRIVILEGED = "nobody"


class Server:
    """A throwaway server in a directory of its own, reachable by its socket only."""

    def __init__(self, home: Path) -> None:
        self.home = home
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        self._bin = binaries[-1] if binaries else Path(str(shutil.which("initdb"))).parent
        # PostgreSQL refuses to run as root.
        self._as = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://kinlink@/postgres?host={self.home}"

    def start(self) -> None:
        if self._as:
            os.chown(self.home, self._as.pw_uid, self._as.pw_gid)
        data = str(self.home / "data")
        self._run("initdb", "-D", data, "-U", "kinlink", "-A", "trust", "--no-sync")
        options = f"-k {self.home} -c listen_addresses= -c fsync=off"
        self._run("pg_ctl", "-D", data, "-o", options, "-l", str(self.home / "log"), "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.home / "data"), "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=START_SECONDS_MAX,
            cwd=self.home,
            user=self._as.pw_uid if self._as else None,
            group=self._as.pw_gid if self._as else None,
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Not pytest's own directory: its parents are closed to the unprivileged user.
    home = Path(tempfile.mkdtemp(prefix="kinlink-pg-"))
    server = Server(home)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    yield server.url
    store = Store(server.url)
    with store.write() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    store.close()


@pytest.fixture
def office(tmp_path: Path, url: str) -> Iterator[Office]:
    office = open_office(tmp_path, database_url=url)
    yield office
    office.close()


def access() -> Access:
    return Access("Li Wei", "analyst", "link.read", "link-1", 200, "")


def test_processes_write_one_unbroken_chain(url: str) -> None:
    store = Store(url)
    store.migrate()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, f"p{number}", "40"])
        for number in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = AuditTrail(store).verify()
    assert (found.entries, found.faults) == (120, ())
    store.close()


def test_gateways_that_start_together_make_one_database(url: str) -> None:
    script = "import sys; from kinlink_gateway.store import Store; Store(sys.argv[1]).migrate()"
    starters = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(3)]
    assert [starter.wait(60) for starter in starters] == [0, 0, 0]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_entry SET actor = 'x'", "DELETE FROM audit_entry", "TRUNCATE audit_entry"],
)
def test_the_database_refuses_to_change_the_audit(url: str, statement: str) -> None:
    store = Store(url)
    store.migrate()
    trail = AuditTrail(store)
    trail.write(access())
    with pytest.raises(UnavailableError) as caught, store.write() as connection:
        connection.execute(text(statement))
    assert "append-only" in caught.value.detail
    assert trail.verify().entries == 1
    store.close()


def test_the_whole_gateway_works_on_it(office: Office) -> None:
    link = office.link()
    api = office.api("Li Wei")
    for verdict in ("unsure", "confirmed"):
        answer = api.post(f"/api/v1/links/{link.id}/verdict", json={"verdict": verdict})
        assert answer.status_code == 200, answer.text
    decisions = api.get(f"/api/v1/links/{link.id}").json()["decisions"]
    assert [decision["verdict"] for decision in decisions] == ["confirmed", "unsure"]
    assert decisions[0]["decided_at"] == "2026-11-21T09:00:00Z"
    browser = office.browser("Chen")
    assert browser.get("/audit").status_code == 200
    assert (
        browser.post("/sign-out", data={"form_token": office.form_token(browser)}).status_code
        == 303
    )
    assert office.gateway.audit.verify().faults == ()
    assert office.nobody().get("/readyz").status_code == 200


def test_a_server_that_is_away_is_told_as_such(server: Server) -> None:
    store = Store(server.url.replace(str(server.home), "/nonexistent"))
    with pytest.raises(UnavailableError, match="database cannot be used"):
        store.migrate()
    store.close()
