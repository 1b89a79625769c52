"""The registry's settings: `registry.toml` and `KINLINK_REGISTRY_*`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from kinlink_core.encoding.keys import MODE_KEY_SERVER, MODE_PLAIN
from kinlink_core.runtime.config import Address, ConfigPath, Settings, load_settings
from kinlink_core.runtime.identity import check_name
from kinlink_core.runtime.key_settings import KeySourceSettings
from kinlink_core.runtime.purpose import check_purpose
from kinlink_core.runtime.server import GRACE_SECONDS, WORKERS
from pydantic import AfterValidator, Field, model_validator

from kinlink_registry.policy import Policy, Rounds

if TYPE_CHECKING:
    from typing import Self

    from kinlink_core.runtime.key_source import KeySource

    from kinlink_registry.home import Home

ENV_PREFIX = "KINLINK_REGISTRY"
MEMORY_LIMIT_DEFAULT = "1GB"
THREADS_DEFAULT = 2
OPEN_RECORDS_MB_DEFAULT = 1024
RETRY_SECONDS_DEFAULT = 60.0
_HOUR_SECONDS = 3600
_MEMORY_LIMIT = r"^[1-9][0-9]* ?(MB|GB|MiB|GiB)$"

FederationName = Annotated[str, AfterValidator(lambda name: check_name("federation", name))]
RegistryName = Annotated[str, AfterValidator(lambda name: check_name("registry", name))]
Purpose = Annotated[str, AfterValidator(check_purpose)]
KeyServerName = Annotated[str, AfterValidator(lambda name: check_name("key server", name))]


class VaultSettings(KeySourceSettings):
    """`[vault]`: memory and threads of DuckDB, where the vault key comes from."""

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
    # Purposes of linkages that are answered; empty allows any.
    purposes: tuple[Purpose, ...] = ()

    def policy(self) -> Policy:
        """The settings as the domain's policy."""
        return Policy(**self.model_dump())


class KeyServerSettings(Settings):
    """`[key_server]`: the body that evaluates blocking values; its presence is key-server mode."""

    address: Address
    # In the key server's certificate.
    name: KeyServerName = "keyserver"
    # How long to leave it alone after it failed, or its budget was spent.
    retry_seconds: float = Field(default=RETRY_SECONDS_DEFAULT, gt=0, le=86_400)


class RoundsSettings(Settings):
    """`[rounds]`: when new and changed records leave; see `rounds`."""

    # A record's passes leave at random moments within; 0 lets everything leave at once.
    spread_hours: float = Field(default=24.0, ge=0, le=24 * 31)
    # A round of fewer records waits for more, but no longer than so.
    records_min: int = Field(default=256, ge=1)
    wait_hours: float = Field(default=6.0, ge=0, le=24 * 31)
    # An ingest of so many records, or the first one, leaves at once.
    bulk_records: int = Field(default=2_000, ge=1)

    def rounds(self) -> Rounds:
        """The settings as the domain's rule."""
        return Rounds(
            spread_seconds=self.spread_hours * _HOUR_SECONDS,
            wait_seconds=self.wait_hours * _HOUR_SECONDS,
            records_min=self.records_min,
            bulk_records=self.bulk_records,
        )


class RegistrySettings(Settings):
    """All settings of a registry."""

    federation: FederationName
    name: RegistryName
    schema_path: ConfigPath = Field(alias="schema")
    # Said where there is no key server, so that its absence is nobody's oversight.
    mode: Literal["plain", "key-server"] | None = None
    key_server: KeyServerSettings | None = None
    listen: Address = "127.0.0.1:7441"
    health_listen: Address = "127.0.0.1:7442"
    metrics_listen: Address = "127.0.0.1:7443"
    # Code of the only side of a two-sided schema that this registry takes; empty for both.
    side: str = Field(default="", max_length=40)
    tls_dir: ConfigPath = Path("tls")
    workers: int = Field(default=WORKERS, ge=2, le=256)
    grace_seconds: float = Field(default=GRACE_SECONDS, ge=0, le=600)
    drain_seconds: float = Field(default=0.0, ge=0, le=600)
    # How often a serving registry looks for new or retired epoch secrets.
    epoch_poll_seconds: float = Field(default=5.0, gt=0, le=3600)
    # An epoch lasts so long: after that `keys status` asks for the next one.
    epoch_days_max: float = Field(default=35.0, gt=0, le=3_650)
    vault: VaultSettings = Field(default_factory=VaultSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    rounds: RoundsSettings = Field(default_factory=RoundsSettings)

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if self.mode == MODE_PLAIN and self.key_server:
            raise ValueError("mode: plain mode has no [key_server]; take one of them out")
        if self.mode == MODE_KEY_SERVER and not self.key_server:
            raise ValueError("mode: key-server mode needs a [key_server] with its address")
        return self

    @property
    def vault_key_name(self) -> str:
        """Whose key the vault key is; shares and wrapped files are bound to it."""
        return f"vault key of registry {self.name} of federation {self.federation}"

    @property
    def vault_key(self) -> KeySource:
        """Where the vault key comes from."""
        return self.vault.source(self.vault_key_name)


def read_settings(home: Home) -> RegistrySettings:
    """Read the settings of a home; `ConfigError` with every fault at once."""
    return load_settings(RegistrySettings, home.settings, ENV_PREFIX)


TEMPLATE = """\
# Settings of a Kinlink registry; every key is described in docs/reference/settings.md.
federation = "{federation}"
name = "{name}"
# What is compared and how; the same for the whole federation.
schema = "{schema}"
{mode}
listen = "{listen}"
health_listen = "127.0.0.1:7442"
metrics_listen = "127.0.0.1:7443"

[vault]
memory_limit = "1GB"
threads = 2
{key_server}
[policy]
# Share of our records that may be sealed towards one partner in an epoch.
partner_share_max = 1.0

[rounds]
# A new or changed record's passes leave at random moments within so many hours.
spread_hours = 24
"""
PLAIN_MODE = """\
# No key server: a registry that works with the linker can test guesses of values offline.
mode = "plain"
"""
KEY_SERVER = """
[key_server]
# The independent body without which no guess of a value can be tested.
address = "{address}"
"""
