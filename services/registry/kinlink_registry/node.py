"""One registry: its vault, keys, epochs and policy, tied together."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.chain import days_left
from kinlink_core.runtime.files import read_file

from kinlink_registry import feed, quotas
from kinlink_registry.epochs import EpochBook
from kinlink_registry.keyring import Keyring, read_vault_key
from kinlink_registry.partners import Partners
from kinlink_registry.shelf import Shelf
from kinlink_registry.vault import Vault

if TYPE_CHECKING:
    from typing import Any

    from kinlink_core.encoding.schema import Pass, Schema
    from kinlink_core.runtime.metrics import RegistryMetrics, RuntimeMetrics

    from kinlink_registry.home import Home
    from kinlink_registry.policy import Policy
    from kinlink_registry.settings import RegistrySettings

CAP_REFUSES_ALL = 0


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
    shelf: Shelf
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
        )

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
    cipher = read_vault_key(settings.vault.key_file)
    vault = Vault(
        home.vault, cipher, memory_limit=settings.vault.memory_limit, threads=settings.vault.threads
    )
    try:
        keyring = Keyring(home, settings.federation, cipher)
        epochs = EpochBook(schema, settings.federation, keyring, vault)
        epochs.sync()
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
        shelf=Shelf(schema, cipher, settings.vault.open_records_mb << 20),
        audit=AuditLog(
            home.audit, lambda action: instruments.runtime.audit_writes.labels(action).inc()
        ),
        instruments=instruments,
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
        by_pass = session.rows(
            "SELECT pass_index, count(*) FROM handle WHERE level = 0 GROUP BY pass_index ORDER BY 1"
        )
        used = quotas.used(session, epochs, node.policy)
        records = session.value("SELECT count(*) FROM record")
        withdrawn = session.value(
            "SELECT count(*) FROM record SEMI JOIN withdrawn USING (local_key)"
        )
        links = session.value("SELECT count(*) FROM link")
        version = session.value("SELECT value FROM meta WHERE name = 'store_version'")
    return {
        "federation": node.settings.federation,
        "registry": node.name,
        "schema": {"name": node.schema.name, "fingerprint": node.schema.fingerprint()},
        "records": {"live": records - withdrawn, "withdrawn": withdrawn},
        "epochs": [
            {
                "epoch": epoch.name,
                "served": epoch.name in complete,
                "records": encoded.get(epoch.id, 0),
                "handles": handles.get(epoch.id, 0),
                "canary": node.epochs.canary(epoch).hex()[:8],
            }
            for epoch in epochs
        ],
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
        "vault": {
            "version": int(version),
            "bytes": node.home.vault.stat().st_size,
            "disk_free_bytes": shutil.disk_usage(node.home.root).free,
        },
        "certificate_days_left": _certificate_days(node),
    }


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
            metrics.quota_used.labels(partner, quota).set(share)
    node.instruments.runtime.key_epoch.clear()
    for index, epoch in enumerate(state["epochs"]):
        label = "overlap" if index else "current"
        node.instruments.runtime.key_epoch.labels(epoch["epoch"], label).set(1)
