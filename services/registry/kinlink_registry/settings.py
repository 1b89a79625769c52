"""The registry's settings: `registry.toml` and `KINLINK_REGISTRY_*`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from kinlink_core.runtime.config import Address, ConfigPath, Settings, load_settings
from kinlink_core.runtime.identity import check_name
from kinlink_core.runtime.server import GRACE_SECONDS, WORKERS
from pydantic import AfterValidator, Field

from kinlink_registry.policy import Policy

if TYPE_CHECKING:
    from kinlink_registry.home import Home

ENV_PREFIX = "KINLINK_REGISTRY"
MEMORY_LIMIT_DEFAULT = "1GB"
THREADS_DEFAULT = 2
OPEN_RECORDS_MB_DEFAULT = 512
_MEMORY_LIMIT = r"^[1-9][0-9]* ?(MB|GB|MiB|GiB)$"

FederationName = Annotated[str, AfterValidator(lambda name: check_name("federation", name))]
RegistryName = Annotated[str, AfterValidator(lambda name: check_name("registry", name))]


class VaultSettings(Settings):
    """`[vault]`: memory and threads of DuckDB, the vault key."""

    memory_limit: str = Field(default=MEMORY_LIMIT_DEFAULT, pattern=_MEMORY_LIMIT)
    threads: int = Field(default=THREADS_DEFAULT, ge=1, le=256)
    # Below this an epoch's records are all kept open in memory while they are sealed.
    open_records_mb: int = Field(default=OPEN_RECORDS_MB_DEFAULT, ge=0)
    key_file: ConfigPath = Path("vault.key")


class PolicySettings(Settings):
    """`[policy]`: what this registry lets go towards others.

    The defaults suit a rehearsal; a real registry lowers `partner_share_max` to what follows from
    the overlap the federation declares, and the two counts to what its linkages need.
    """

    partner_share_max: float = Field(default=1.0, ge=0, le=1)
    sealed_pairs_per_epoch_max: int = Field(default=1_000_000_000, ge=0)
    disclosures_per_day_max: int = Field(default=10_000_000, ge=0)
    # Match weight in bits; pairs below are withheld whatever the linker's floor is.
    disclosure_weight_min: float = -20.0
    # The schema's caps hold up to this one.
    island_cap_max: int = Field(default=64, ge=2)

    def policy(self) -> Policy:
        """The settings as the domain's policy."""
        return Policy(**self.model_dump())


class RegistrySettings(Settings):
    """All settings of a registry."""

    federation: FederationName
    name: RegistryName
    schema_path: ConfigPath = Field(alias="schema")
    listen: Address = "127.0.0.1:7441"
    health_listen: Address = "127.0.0.1:7442"
    metrics_listen: Address = "127.0.0.1:7443"
    tls_dir: ConfigPath = Path("tls")
    workers: int = Field(default=WORKERS, ge=2, le=256)
    grace_seconds: float = Field(default=GRACE_SECONDS, ge=0, le=600)
    drain_seconds: float = Field(default=0.0, ge=0, le=600)
    # How often a serving registry looks for new or retired epoch secrets.
    epoch_poll_seconds: float = Field(default=5.0, gt=0, le=3600)
    vault: VaultSettings = Field(default_factory=VaultSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)


def read_settings(home: Home) -> RegistrySettings:
    """Read the settings of a home; `ConfigError` with every fault at once."""
    return load_settings(RegistrySettings, home.settings, ENV_PREFIX)


TEMPLATE = """\
# Settings of a Kinlink registry; every key is described in docs/reference/registry.md.
federation = "{federation}"
name = "{name}"
# What is compared and how; the same for the whole federation.
schema = "{schema}"

listen = "{listen}"
health_listen = "127.0.0.1:7442"
metrics_listen = "127.0.0.1:7443"

[vault]
memory_limit = "1GB"
threads = 2

[policy]
# Share of our records that may be sealed towards one partner in an epoch.
partner_share_max = 1.0
"""
