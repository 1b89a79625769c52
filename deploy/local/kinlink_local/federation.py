"""A federation on this machine: its authority, key server, registries, a linker and a gateway.

It is founded as a real one is. Each registry makes its own key and asks the authority for a
certificate; one registry creates the epoch's secret and seals it to the cards of the others; every
service is a process of its own, and they talk over mutual TLS. All of it goes through the same
commands that an office would type.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kinlink_core.runtime.files import write_file, write_secret_file
from kinlink_core.runtime.identity import Role
from kinlink_core.runtime.pki import CertificateAuthority, make_ca, make_csr, make_key
from kinlink_core.runtime.tls import TlsFiles

from kinlink_local import settings
from kinlink_local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from kinlink_local.processes import Office, Service, Supervisor

KEY_SERVER: Final = "kinlink_keyserver.cli"
REGISTRY: Final = "kinlink_registry.cli"
LINKER: Final = "kinlink_linker.cli"
GATEWAY: Final = "kinlink_gateway.cli"
KEY_SERVER_NAME: Final = "keyserver"
HOSTS: Final = ("127.0.0.1", "localhost")
OPERATOR_NAME: Final = "demo"
ANALYST_NAME: Final = "demo analyst"
WORKERS_MAX: Final = 8
# A socket's address is at most 107 bytes long, and a registry's stands in its home.
SOCKET_PATH_BYTES_MAX: Final = 107

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ingested:
    """What a registry took in."""

    added: int
    rejected: int
    report_path: str


class Federation:
    """Founds and starts the parts of one federation below one folder."""

    def __init__(
        self,
        root: Path,
        name: str,
        schema: Path,
        supervisor: Supervisor,
        sides: Mapping[str, str] | None = None,
        *,
        standing: bool = False,
    ) -> None:
        """`standing`: the linker follows the registries' feeds after a linkage."""
        self.name = name
        self.root = root
        self.schema = schema.resolve()
        self._supervisor = supervisor
        self._sides = sides or {}
        self._standing = standing
        self._offices: dict[str, Office] = {}
        self._ca: CertificateAuthority = make_ca(name)
        self._ca_path = root / "ca.pem"
        root.mkdir(parents=True, exist_ok=True)
        write_file(self._ca_path, self._ca.cert_pem)

    def home(self, name: str) -> Path:
        """Folder of a registry, the linker, the gateway or the operator."""
        return self.root / name

    def check_paths(self, registries: Iterable[str]) -> None:
        """Refuse a folder whose path is too long for the registries' local sockets."""
        for name in registries:
            path = self.home(name) / "registry.sock"
            if len(bytes(path.absolute())) > SOCKET_PATH_BYTES_MAX:
                raise LocalError(
                    f"{path} is too long for a socket ({SOCKET_PATH_BYTES_MAX} bytes at most); "
                    "choose a folder with a shorter path."
                )

    def start_key_server(self, records: Mapping[str, int], epoch: str) -> Service:
        """Found the key server, with what the registries declare to it, and start it."""
        name, home = KEY_SERVER_NAME, self.home(KEY_SERVER_NAME)
        office = self._enrol(KEY_SERVER, Role.KEYSERVER, name)
        own = settings.key_server(self.name, self.schema, records)
        write_file(home / "keyserver.toml", settings.as_toml(own).encode())
        office.run("init")
        office.run("epochs", "create", epoch)
        return self._supervisor.start(name, KEY_SERVER, home, "serve")

    def found_registry(self, name: str, key_server: Callable[[], str | None]) -> None:
        """Enrol a registry, issue and install its certificate, make its vault, keys and card.

        `key_server` gives the key server's address once it serves, or None for plain mode.
        """
        home = self.home(name)
        office = self._enrol(REGISTRY, Role.REGISTRY, name)
        own = settings.registry(
            self.name, name, self.schema, key_server(), self._sides.get(name, "")
        )
        write_file(home / "registry.toml", settings.as_toml(own).encode())
        office.run("init")
        office.run("keys", "card", "--out", str(self._card(name)))

    def share_secret(self, epoch: str, registries: Sequence[str]) -> None:
        """The key ceremony: the first registry makes the secret, the others import it sealed."""
        first, *others = registries
        giver = self._offices[first]
        giver.run("keys", "create", epoch)
        for name in others:
            envelope = str(self.root / f"{name}.{epoch}.sealed.json")
            giver.run("keys", "seal", epoch, "--to", str(self._card(name)), "--out", envelope)
            self._offices[name].run("keys", "import", envelope)

    def everywhere(
        self, work: Callable[[str], Result], registries: Iterable[str]
    ) -> dict[str, Result]:
        """Do the same for registries side by side; the first failure ends all that was started."""
        with ThreadPoolExecutor(WORKERS_MAX) as pool:
            waiting = {name: pool.submit(work, name) for name in registries}
            try:
                return {name: each.result() for name, each in waiting.items()}
            except BaseException:
                self._supervisor.stop()
                raise

    def office(self, name: str) -> Office:
        """A registry's own commands, in its officer's session."""
        return self._offices[name]

    def status(self, name: str) -> dict[str, Any]:
        """A registry's state, as `kinlink-registry status` tells it."""
        state: dict[str, Any] = json.loads(self._offices[name].run("status", "--json"))
        return state

    def start_registry(self, name: str) -> Service:
        """Start a registry; returns at once."""
        return self._supervisor.start(name, REGISTRY, self.home(name), "serve")

    def ingest(self, name: str, file: Path, id_column: str) -> Ingested:
        """Load a file through the registry's own command, while it serves."""
        told = self._offices[name].run(
            "ingest", str(file.resolve()), "--id-column", id_column, "--json"
        )
        outcome: dict[str, Any] = json.loads(told)
        return Ingested(outcome["added"], outcome["rejected"], outcome["report_path"])

    def links_of(self, name: str, local_id: str = "") -> list[dict[str, Any]]:
        """What a registry's officer sees: links by the office's own ids, of one person or all."""
        person = ["--id", local_id] if local_id else []
        told = self._offices[name].run("links", *person, "--json")
        found: list[dict[str, Any]] = json.loads(told)
        return found

    def start_linker(self, addresses: Mapping[str, str], *, mode: str) -> Service:
        """Start the linker with the registries' addresses; returns at once."""
        home = self.home("linker")
        self._certify(home / "tls", Role.LINKER, "linker")
        own = settings.linker(self.name, self.schema, addresses, mode=mode, standing=self._standing)
        write_file(home / "linker.toml", settings.as_toml(own).encode())
        return self._supervisor.start("linker", LINKER, home, "serve")

    def start_gateway(self, linker_address: str) -> Service:
        """Start the gateway; returns at once."""
        home = self.home("gateway")
        self._certify(home / "tls", Role.GATEWAY, "gateway")
        own = settings.gateway(self.name, linker_address)
        write_file(home / "gateway.toml", settings.as_toml(own).encode())
        return self._supervisor.start("gateway", GATEWAY, home, "serve")

    def make_analyst(self) -> str:
        """A fresh analyst's token for the gateway's pages."""
        office = self._supervisor.open_office(GATEWAY, self.home("gateway"))
        return office.run("tokens", "create", "--role", "analyst", "--name", ANALYST_NAME).strip()

    def make_operator(self) -> TlsFiles:
        """Certificate of an operator, where the linker's own commands look for it."""
        folder = self.home("linker") / "operator"
        self._certify(folder, Role.OPERATOR, OPERATOR_NAME)
        return TlsFiles.in_dir(folder)

    def _enrol(self, module: str, role: Role, name: str) -> Office:
        """Open an office, have it ask the authority for a certificate, and install the answer."""
        home = self.home(name)
        home.mkdir(mode=0o700)
        office = self._offices[name] = self._supervisor.open_office(module, home)
        hosts = [word for host in HOSTS for word in ("--host", host)]
        office.run("enrol", "--federation", self.name, "--name", name, *hosts)
        request = (home / "tls" / "request.pem").read_bytes()
        answer = self.root / f"{name}.cert.pem"
        write_file(answer, self._ca.issue(request, role, name, hosts=HOSTS))
        office.run("install-cert", str(answer), "--ca", str(self._ca_path))
        return office

    def _certify(self, folder: Path, role: Role, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True)
        key = make_key()
        request = make_csr(key, self.name, role, name, hosts=HOSTS)
        write_secret_file(folder / "key.pem", key)
        write_file(folder / "cert.pem", self._ca.issue(request, role, name, hosts=HOSTS))
        write_file(folder / "ca.pem", self._ca.cert_pem)

    def _card(self, name: str) -> Path:
        return self.root / f"{name}.card.json"
