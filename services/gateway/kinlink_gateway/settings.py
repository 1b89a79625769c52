"""`gateway.toml`: what a gateway is told. Read by `app` alone."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kinlink_core.runtime.address import host_and_port
from kinlink_core.runtime.config import Address, ConfigPath, Settings
from pydantic import Field, SecretStr, field_validator, model_validator

from kinlink_gateway.limits import (
    EXPORT_ROWS_MAX,
    PERSON_REQUESTS_BURST,
    PERSON_REQUESTS_PER_SECOND,
)

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
FORGET_SECONDS_DEFAULT = 60.0


class LinkerSettings(Settings):
    """Where the linker is. Its certificate must carry this name."""

    address: Address
    name: str = "linker"


class HttpsSettings(Settings):
    """Certificate and key that browsers see."""

    cert: ConfigPath
    key: ConfigPath


class LimitSettings(Settings):
    """What one person, and one export, may take."""

    requests_per_second: float = Field(default=PERSON_REQUESTS_PER_SECOND, gt=0)
    requests_burst: int = Field(default=PERSON_REQUESTS_BURST, ge=1)
    export_rows: int = Field(default=EXPORT_ROWS_MAX, ge=1)


class GatewaySettings(Settings):
    """A whole `gateway.toml`; relative paths are relative to it."""

    federation: str = Field(min_length=1)
    linker: LinkerSettings
    listen: Address = "127.0.0.1:8443"
    metrics_listen: Address = "127.0.0.1:9443"
    tls_dir: ConfigPath = Path("tls")
    tokens_file: ConfigPath = Path("tokens.json")
    # Empty: gateway.db in the home directory.
    database_url: SecretStr = SecretStr("")
    https: HttpsSettings | None = None
    # Plain HTTP beyond loopback, for a TLS proxy on the same trusted network.
    plain_http: bool = False
    # None: as HTTPS is. True behind a proxy that speaks HTTPS.
    cookie_secure: bool | None = None
    trusted_proxies: tuple[str, ...] = ()
    time_zone: str = "UTC"
    limits: LimitSettings = LimitSettings()
    forget_seconds: float = Field(default=FORGET_SECONDS_DEFAULT, gt=0)

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("is not a time zone of the IANA database") from error
        return name

    @model_validator(mode="after")
    def _no_open_plain_http(self) -> GatewaySettings:
        host, _ = host_and_port(self.listen)
        if host not in LOOPBACK_HOSTS and self.https is None and not self.plain_http:
            raise ValueError(
                "listen is not a loopback address: set [https], "
                "or plain_http = true behind a proxy that speaks HTTPS"
            )
        return self

    @property
    def cookies_are_secure(self) -> bool:
        """Whether browsers may send our cookies over HTTPS only."""
        return self.https is not None if self.cookie_secure is None else self.cookie_secure
