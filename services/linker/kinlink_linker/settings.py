"""The linker's settings: `linker.toml` and `KINLINK_LINKER_*`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from kinlink_core.encoding.keys import MODE_KEY_SERVER
from kinlink_core.runtime.config import Address, ConfigPath, SecretFile, Settings, load_settings
from kinlink_core.runtime.identity import check_name
from kinlink_core.runtime.server import GRACE_SECONDS, WORKERS
from pydantic import AfterValidator, Field, field_validator, model_validator

from kinlink_linker.duck import MEMORY_LIMIT_DEFAULT, THREADS_DEFAULT, DuckLimits
from kinlink_linker.idle import IDLE_SECONDS
from kinlink_linker.spark_session import GUARDED

if TYPE_CHECKING:
    from typing import Self

ENV_PREFIX: Final = "KINLINK_LINKER"
SETTINGS_FILE: Final = "linker.toml"
AUDIT_FILE: Final = "audit.jsonl"
REGISTRIES_MIN: Final = 2
REGISTRIES_MAX: Final = 64
_SPARK_MASTER: Final = r"^spark://[^/ ]+$"
_MEMORY_LIMIT: Final = r"^[1-9][0-9]* ?(MB|GB|MiB|GiB)$"

FederationName = Annotated[str, AfterValidator(lambda name: check_name("federation", name))]
RegistryName = Annotated[str, AfterValidator(lambda name: check_name("registry", name))]


class RegistrySettings(Settings):
    """One `[[registries]]`: a registry to link, and where it listens."""

    name: RegistryName
    address: Address


class PolicySettings(Settings):
    """`[policy]`: what one linkage may use, and how often feeds are read."""

    # More candidate pairs than this end a linkage before anything is sealed.
    sealed_pairs_max: int = Field(default=20_000_000, ge=1)
    linkages_at_once: int = Field(default=2, ge=1, le=16)
    # Links of older linkages are kept for this many; those that stand are always kept.
    linkages_kept: int = Field(default=20, ge=1, le=10_000)
    # How often feeds are read between linkages: deletions take effect within this time.
    sync_seconds: float = Field(default=60.0, ge=0.5, le=86_400)
    # Between linkages feeds are followed, and the last linkage's links with them.
    standing: bool = False
    # A registry that sends nothing on an open stream for this long is lost.
    idle_seconds: float = Field(default=IDLE_SECONDS, ge=1, le=3_600)


class SparkSettings(Settings):
    """`[spark]`: the standalone cluster of `engine = "spark"`."""

    master: str = Field(pattern=_SPARK_MASTER)
    # A folder that the linker and every worker see under this path.
    store: ConfigPath
    # The secret that master, workers and linker share.
    secret_file: SecretFile
    conf: dict[str, str] | None = None

    @field_validator("conf")
    @classmethod
    def _leaves_the_guards(cls, conf: dict[str, str] | None) -> dict[str, str] | None:
        guarded = sorted(key for key in conf or () if key.startswith(GUARDED))
        if guarded:
            raise ValueError(f"{', '.join(guarded)} is not for the deployment to set")
        return conf


class LinkerSettings(Settings):
    """All settings of a linker."""

    federation: FederationName
    schema_path: ConfigPath = Field(alias="schema")
    # Of every registry; one of another mode is refused.
    mode: Literal["key-server", "plain"] = MODE_KEY_SERVER
    registries: tuple[RegistrySettings, ...] = Field(
        min_length=REGISTRIES_MIN, max_length=REGISTRIES_MAX
    )
    # Registries that are no longer asked, whether or not they still stand above.
    revoked: tuple[RegistryName, ...] = ()
    listen: Address = "127.0.0.1:7444"
    health_listen: Address = "127.0.0.1:7445"
    metrics_listen: Address = "127.0.0.1:7446"
    tls_dir: ConfigPath = Path("tls")
    workers: int = Field(default=WORKERS, ge=4, le=256)
    grace_seconds: float = Field(default=GRACE_SECONDS, ge=0, le=600)
    drain_seconds: float = Field(default=0.0, ge=0, le=600)
    memory_limit: str = Field(default=MEMORY_LIMIT_DEFAULT, pattern=_MEMORY_LIMIT)
    threads: int = Field(default=THREADS_DEFAULT, ge=1, le=256)
    engine: Literal["duckdb", "spark"] = "duckdb"
    spark: SparkSettings | None = None
    policy: PolicySettings = PolicySettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [each.name for each in self.registries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"registries: {', '.join(twice)} stands there twice")
        return self

    @model_validator(mode="after")
    def _spark_is_described(self) -> Self:
        if self.engine == "spark" and self.spark is None:
            raise ValueError('engine = "spark" needs the table [spark]')
        return self

    @property
    def addresses(self) -> dict[str, str]:
        """Where each registry listens that is asked."""
        return {
            each.name: each.address for each in self.registries if each.name not in self.revoked
        }

    @property
    def duck(self) -> DuckLimits:
        """What each of the linker's databases may use."""
        return DuckLimits(self.memory_limit, self.threads)


def read_settings(home: Path) -> LinkerSettings:
    """Read the settings of a home; `ConfigError` with every fault at once."""
    return load_settings(LinkerSettings, home / SETTINGS_FILE, ENV_PREFIX)
