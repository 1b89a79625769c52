"""The key server's settings: `keyserver.toml` and `KINLINK_KEYSERVER_*`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from kinlink_core.runtime.config import Address, ConfigPath, Settings, load_settings
from kinlink_core.runtime.identity import check_name
from kinlink_core.runtime.key_settings import KeySourceSettings
from kinlink_core.runtime.server import GRACE_SECONDS, WORKERS
from pydantic import AfterValidator, Field, model_validator

if TYPE_CHECKING:
    from typing import Self

    from kinlink_core.runtime.key_source import KeySource

    from kinlink_keyserver.home import Home

ENV_PREFIX: Final = "KINLINK_KEYSERVER"
REGISTRIES_MAX: Final = 64
RECORDS_MAX: Final = 2_000_000_000
GROWTH_DEFAULT: Final = 1.1
EVALUATORS_DEFAULT: Final = 1

FederationName = Annotated[str, AfterValidator(lambda name: check_name("federation", name))]
KeyServerName = Annotated[str, AfterValidator(lambda name: check_name("key server", name))]
RegistryName = Annotated[str, AfterValidator(lambda name: check_name("registry", name))]


class RegistrySettings(Settings):
    """One `[[registries]]`: who may ask, and how many records it declared to this body."""

    name: RegistryName
    records: int = Field(ge=1, le=RECORDS_MAX)


class PassSettings(Settings):
    """One `[[passes]]`: where the schema's own bound of a pass does not suit."""

    id: str
    # Blocking values of one record, over all refinement levels.
    rows_per_record: float = Field(gt=0, le=1_000)


class KeyServerSettings(KeySourceSettings):
    """All settings of a key server."""

    federation: FederationName
    name: KeyServerName = "keyserver"
    schema_path: ConfigPath = Field(alias="schema")
    registries: tuple[RegistrySettings, ...] = Field(min_length=1, max_length=REGISTRIES_MAX)
    # Of new and changed records within an epoch.
    growth_factor: float = Field(default=GROWTH_DEFAULT, ge=1, le=100)
    passes: tuple[PassSettings, ...] = ()
    listen: Address = "127.0.0.1:7447"
    health_listen: Address = "127.0.0.1:7448"
    metrics_listen: Address = "127.0.0.1:7449"
    tls_dir: ConfigPath = Path("tls")
    key_file: ConfigPath = Path("keyserver.key")
    workers: int = Field(default=WORKERS, ge=2, le=256)
    # Processes that evaluate, one processor each.
    evaluators: int = Field(default=EVALUATORS_DEFAULT, ge=1, le=256)
    grace_seconds: float = Field(default=GRACE_SECONDS, ge=0, le=600)
    drain_seconds: float = Field(default=0.0, ge=0, le=600)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _refuse_twice("registries", [each.name for each in self.registries])
        _refuse_twice("passes", [each.id for each in self.passes])
        return self

    @property
    def sealing_key(self) -> KeySource:
        """Where the key that seals the epochs' seeds comes from."""
        return self.source(f"key of key server {self.name} of federation {self.federation}")

    @property
    def records(self) -> dict[str, int]:
        """Declared records by registry."""
        return {each.name: each.records for each in self.registries}

    @property
    def rows_per_record(self) -> dict[str, float]:
        """Rows a record by pass, where they are not the schema's."""
        return {each.id: each.rows_per_record for each in self.passes}


def _refuse_twice(table: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{table}: {', '.join(twice)} stands there twice")


def read_settings(home: Home) -> KeyServerSettings:
    """Read the settings of a home; `ConfigError` with every fault at once."""
    return load_settings(KeyServerSettings, home.settings, ENV_PREFIX)


TEMPLATE: Final = """\
# Settings of a Kinlink key server; every key is described in docs/reference/settings.md.
federation = "{federation}"
name = "{name}"
# The same for the whole federation: passes and budgets follow from it.
schema = "{schema}"

listen = "{listen}"
health_listen = "127.0.0.1:7448"
metrics_listen = "127.0.0.1:7449"

# Processes that evaluate, one processor each.
evaluators = 1

# A registry may have records x rows a record x growth_factor values evaluated, in each epoch and
# pass. The figures are agreed with this body's officers, never told by the registry's process.
growth_factor = 1.1
"""
REGISTRY_TEMPLATE: Final = """
[[registries]]
name = "{name}"
records = {records}
"""
