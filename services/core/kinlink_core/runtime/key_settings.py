"""The settings by which a service names the source of its long-lived key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, model_validator

from kinlink_core.runtime.config import ConfigPath, Settings
from kinlink_core.runtime.key_source import FileKeySource, Pkcs11KeySource
from kinlink_core.runtime.pkcs11_token import TokenKey

if TYPE_CHECKING:
    from typing import Self

    from kinlink_core.runtime.key_source import KeySource

FILE: Final = "file"
PKCS11: Final = "pkcs11"
# PKCS#11 pads a token's label to 32 bytes.
TOKEN_LABEL_CHARS_MAX: Final = 32
KEY_LABEL_CHARS_MAX: Final = 64


class Pkcs11Settings(Settings):
    """A table `pkcs11`: the module, the token and its key by label, the file of the PIN."""

    module: ConfigPath
    token: str = Field(min_length=1, max_length=TOKEN_LABEL_CHARS_MAX)
    label: str = Field(min_length=1, max_length=KEY_LABEL_CHARS_MAX)
    pin_file: ConfigPath


class KeySourceSettings(Settings):
    """The keys `key_source`, `key_file` and `pkcs11` of a table; a service sets the file's name."""

    key_source: Literal["file", "pkcs11"] = FILE
    # Plain with `file`, wrapped with `pkcs11`.
    key_file: ConfigPath
    pkcs11: Pkcs11Settings | None = None

    @model_validator(mode="after")
    def _token_is_named(self) -> Self:
        if self.key_source == PKCS11 and self.pkcs11 is None:
            raise ValueError('key_source "pkcs11" needs the table pkcs11')
        return self

    def source(self, owner: str) -> KeySource:
        """Where the key is; `owner` says in words whose it is."""
        if self.key_source == FILE or self.pkcs11 is None:
            return FileKeySource(self.key_file)
        refusals = self.key_file.with_name(f"{self.key_file.name}.pin-refused")
        token = TokenKey(**self.pkcs11.model_dump(), refusals=refusals)
        return Pkcs11KeySource(self.key_file, token, owner)
