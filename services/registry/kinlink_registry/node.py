"""One registry: its vault, keys, epochs and policy, tied together."""

from __future__ import annotations

import math
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.chain import days_left
from kinlink_core.runtime.files import read_file
from kinlink_core.runtime.tls import TlsFiles

from kinlink_registry import absence, approvals, encodings, feed, quotas, rotation
from kinlink_registry.blocking_keys import BlockingKeys
from kinlink_registry.bookings import Bookings
from kinlink_registry.coding import Coder
from kinlink_registry.directory import Directory
from kinlink_registry.epochs import EpochBook
from kinlink_registry.key_client import KeyServerClient
from kinlink_registry.key_desk import KeyDesk
from kinlink_registry.keyring import Keyring, read_vault_key
from kinlink_registry.meetings import Meetings
from kinlink_registry.partners import Partners
from kinlink_registry.revocations import Revocations
from kinlink_registry.shelf import Shelf
from kinlink_registry.vault import Vault

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence
    from typing import Any

    from kinlink_core.encoding.schema import Pass, Schema
    from kinlink_core.runtime.metrics import RegistryMetrics, RuntimeMetrics

    from kinlink_registry.epochs import Epoch
    from kinlink_registry.home import Home
    from kinlink_registry.key_desk import Bought
    from kinlink_registry.policy import Policy, Rounds
    from kinlink_registry.session import Session
    from kinlink_registry.settings import RegistrySettings

CAP_REFUSES_ALL = 0
# Steps in which metrics show the use of a quota.
QUOTA_SHOWN_STEP = 0.05
ROUNDING = 1e-9


@dataclass(frozen=True)
class Instruments:
    """The metrics of a registry process."""

    runtime: RuntimeMetrics
    registry: RegistryMetrics


@dataclass(frozen=True)
class Node:
    """An open registry."""

    home: Home
    settings: RegistrySettings
    schema: Schema
    vault: Vault
    keyring: Keyring
    epochs: EpochBook
    directory: Directory
    blocking_keys: BlockingKeys
    shelf: Shelf
    bookings: Bookings
    meetings: Meetings
    audit: AuditLog
    instruments: Instruments

    @property
    def name(self) -> str:
        """The registry's name in its federation."""
        return self.settings.name

    @property
    def policy(self) -> Policy:
        """What this registry allows."""
        return self.settings.policy.policy()

    @property
    def rounds(self) -> Rounds:
        """When arrivals and changes may leave."""
        return self.settings.rounds.rounds()

    def cap(self, blocking_pass: Pass) -> int:
        """Largest island that this registry answers for in a pass."""
        return min(blocking_pass.cap, self.settings.policy.island_cap_max)

    def partners(self) -> Partners:
        """The door to other registries; needs the agreement key and the authority's certificate."""
        return Partners(
            own=self.name,
            federation=self.settings.federation,
            authority=self.settings.tls_dir / "ca.pem",
            agreement_key=self.keyring.agreement_key(),
            revocations=Revocations(self.home.revoked),
        )

    def keep_only(self, epochs: Sequence[Epoch]) -> None:
        """Forget what is in memory of all other epochs: they were retired."""
        for memory in (self.directory, self.blocking_keys, self.shelf, self.bookings):
            memory.keep_only(epochs)

    def open_records(self, session: Session) -> None:
        """Have in memory what a linkage asks for, before it does."""
        for epoch in self.epochs.encoded(session, complete_only=True):
            live = self.directory.live(session, epoch)
            self.blocking_keys.open(session, self.vault.cipher, epoch, live)
            self.shelf.fetch(session, epoch, np.empty(0, np.int32))

    def forget(self) -> None:
        """Forget what is in memory of the vault; after another took its place."""
        for memory in (self.directory, self.blocking_keys, self.shelf, self.bookings):
            memory.clear()
        self.meetings.clear()

    @contextmanager
    def booking(self) -> Iterator[Session]:
        """A session that writes and books; what it booked is forgotten if it fails."""
        with self.vault.only_writer():
            try:
                with self.vault.writing() as session:
                    yield session
            except BaseException:
                self.bookings.clear()
                raise

    def close(self) -> None:
        """Release the vault."""
        self.vault.close()


def open_node(
    home: Home, settings: RegistrySettings, schema: Schema, instruments: Instruments
) -> Node:
    """Open the vault and bring it in step with the keyring.

    Raises:
        KinlinkError: `STORE_BUSY`, `STORE_VERSION`, `KEY_MISSING` or `SCHEMA_DIFFERS`.
    """
    cipher = read_vault_key(settings.vault_key)
    vault = Vault(
        home.vault, cipher, memory_limit=settings.vault.memory_limit, threads=settings.vault.threads
    )
    try:
        keyring = Keyring(home, settings.federation, cipher)
        audit = AuditLog(
            home.audit, lambda action: instruments.runtime.audit_writes.labels(action).inc()
        )
        desk = _key_desk(settings, schema, vault, audit, instruments)
        coder, leave = Coder(schema, cipher, desk), settings.rounds.rounds()
        epochs = EpochBook(schema, settings.federation, keyring, vault, coder, leave=leave)
        epochs.sync(buying=False)
        if desk:
            epochs.sweep()
    except BaseException:
        vault.close()
        raise
    return Node(
        home=home,
        settings=settings,
        schema=schema,
        vault=vault,
        keyring=keyring,
        epochs=epochs,
        directory=Directory(),
        blocking_keys=BlockingKeys(),
        shelf=Shelf(schema, cipher, settings.vault.open_records_mb << 20, vault.release),
        bookings=Bookings(),
        meetings=Meetings(),
        audit=audit,
        instruments=instruments,
    )


def _key_desk(
    settings: RegistrySettings,
    schema: Schema,
    vault: Vault,
    audit: AuditLog,
    instruments: Instruments,
) -> KeyDesk | None:
    """What deals with the key server; None in plain mode."""
    own = settings.key_server
    if own is None:
        return None
    tls = TlsFiles.in_dir(settings.tls_dir)

    def account(bought: Bought) -> None:
        audit.write(
            "evaluate",
            f"registry/{settings.name}",
            epoch=bought.epoch,
            pass_id=bought.pass_id,
            count=bought.count,
        )
        metrics = instruments.registry
        metrics.evaluations.labels(bought.pass_id).inc(bought.count)
        metrics.evaluation_seconds.labels(bought.pass_id).inc(bought.seconds)

    return KeyDesk(
        schema,
        settings.federation,
        vault,
        lambda: KeyServerClient(own.address, tls, name=own.name, metrics=instruments.runtime),
        retry_seconds=own.retry_seconds,
        on_bought=account,
    )


def status(node: Node) -> dict[str, Any]:
    """The state of a registry as JSON; counts and names, no value of anyone."""
    with node.vault.reading() as session:
        position = feed.position(session)
        epochs = node.epochs.encoded(session)
        complete = {epoch.name for epoch in node.epochs.encoded(session, complete_only=True)}
        handles = dict(
            session.rows("SELECT epoch_id, count(*) FROM handle WHERE level = 0 GROUP BY epoch_id")
        )
        encoded = dict(session.rows("SELECT epoch_id, count(*) FROM sketch GROUP BY epoch_id"))
        unencoded = {each.id: encodings.count_not_encoded(session, each.id) for each in epochs}
        by_pass = session.rows(
            "SELECT pass_index, count(*) FROM handle WHERE level = 0 GROUP BY pass_index ORDER BY 1"
        )
        used = quotas.used(session, epochs, node.policy)
        budgets = quotas.budgets(session, epochs, node.policy)
        records = absence.counts(session)
        approval = {
            "records": absence.needing_approval(session),
            "waiting": approvals.waiting(session),
        }
        links = session.value("SELECT count(*) FROM link")
        linked = rotation.last_linked(session)
        version = session.value("SELECT value FROM meta WHERE name = 'store_version'")
    return {
        "federation": node.settings.federation,
        "registry": node.name,
        "schema": {"name": node.schema.name, "fingerprint": node.schema.fingerprint()},
        "records": records,
        "approval": approval,
        "epochs": [
            {
                "epoch": epoch.name,
                "served": epoch.name in complete,
                "records": encoded.get(epoch.id, 0),
                "unencoded": unencoded[epoch.id],
                "handles": handles.get(epoch.id, 0),
                "canary": node.epochs.canary(epoch).hex()[:8],
                "kept_at": node.keyring.kept_at(epoch.name).isoformat(timespec="seconds"),
                "linked_at": _moment(linked.get(epoch.id)),
            }
            for epoch in epochs
        ],
        "mode": node.epochs.coder.mode,
        "key_server": _key_server(node),
        "handles_by_pass": {node.schema.passes[index].id: count for index, count in by_pass},
        "feed": {"id": position.feed_id, "last_sequence": position.last_sequence},
        "links": links,
        "quotas": {
            partner: {
                "sealed": round(use.sealed_share, 4),
                "disclosed": round(use.disclosed_share, 4),
            }
            for partner, use in sorted(used.items())
        },
        "budgets": {name: round(share, 4) for name, share in budgets.items()},
        "vault": {
            "version": int(version),
            "bytes": node.home.vault.stat().st_size,
            "disk_free_bytes": shutil.disk_usage(node.home.root).free,
        },
        "certificate_days_left": _certificate_days(node),
    }


def _key_server(node: Node) -> dict[str, Any] | None:
    """The key server, and why it did not evaluate when it was last asked; None in plain mode."""
    own = node.settings.key_server
    if own is None:
        return None
    problem = node.epochs.coder.problem
    return {
        "name": own.name,
        "address": own.address,
        "problem": problem
        and {
            "reason": problem.reason.value,
            "text": problem.text,
            "since": problem.since.isoformat(timespec="seconds"),
        },
    }


def _coarse(share: float) -> float:
    """A share in steps: an exact one would tell whoever scrapes it what each request added."""
    return math.floor(share / QUOTA_SHOWN_STEP + ROUNDING) * QUOTA_SHOWN_STEP


def _moment(moment: dt.datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _certificate_days(node: Node) -> float | None:
    certificate = node.settings.tls_dir / "cert.pem"
    return round(days_left(read_file(certificate)), 1) if certificate.exists() else None


def measure(node: Node) -> None:
    """Set the gauges that follow from the vault's state."""
    state = status(node)
    metrics = node.instruments.registry
    for kind, count in state["records"].items():
        metrics.records.labels(kind).set(count)
    for pass_id, count in state["handles_by_pass"].items():
        metrics.tokens.labels(pass_id).set(count)
    metrics.feed_sequence.set(state["feed"]["last_sequence"])
    metrics.links.set(state["links"])
    metrics.vault_bytes.set(state["vault"]["bytes"])
    metrics.disk_free_bytes.set(state["vault"]["disk_free_bytes"])
    for partner, use in state["quotas"].items():
        for quota, share in use.items():
            metrics.quota_used.labels(partner, quota).set(_coarse(share))
    for budget, share in state["budgets"].items():
        metrics.budget_used.labels(budget).set(share)
    metrics.approvals_waiting.set(state["approval"]["waiting"])
    metrics.unencoded_records.clear()
    trouble = (state["key_server"] or {}).get("problem")
    for epoch in state["epochs"]:
        if epoch["unencoded"]:
            reason = trouble["reason"] if trouble else ""
            metrics.unencoded_records.labels(epoch["epoch"], reason).set(epoch["unencoded"])
    node.instruments.runtime.key_epoch.clear()
    for index, epoch in enumerate(state["epochs"]):
        label = "overlap" if index else "current"
        node.instruments.runtime.key_epoch.labels(epoch["epoch"], label).set(1)
