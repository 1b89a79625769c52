"""Tokens of SoftHSM2 in a folder of their own, with the files a service needs to use them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pkcs11
from kinlink_core.runtime.key_source import Pkcs11KeySource
from kinlink_core.runtime.pkcs11_token import TokenKey

if TYPE_CHECKING:
    import pytest

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN, SO_PIN = "735190", "84018401"
LABEL = "kinlink-test"


@dataclass(frozen=True)
class SoftHsm:
    """A folder of tokens that this process, and those it starts, use."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
        (folder / "tokens").mkdir(parents=True)
        (folder / "pin").write_text(f"{PIN}\n")
        (folder / "pin").chmod(0o600)
        config = folder / "softhsm2.conf"
        config.write_text(
            f"directories.tokendir = {folder}/tokens\n"
            "objectstore.backend = file\nlog.level = ERROR\n"
        )
        monkeypatch.setenv("SOFTHSM2_CONF", str(config))
        return cls(folder)

    @property
    def pin_file(self) -> Path:
        return self.folder / "pin"

    def add(self, token: str) -> None:
        """Initialise one more token."""
        command = ["softhsm2-util", "--init-token", "--free", "--label", token]
        subprocess.run(
            [*command, "--so-pin", SO_PIN, "--pin", PIN], check=True, capture_output=True
        )

    def source(
        self, path: Path, token: str, label: str = LABEL, owner: str = "a"
    ) -> Pkcs11KeySource:
        refusals = path.with_name(f"{path.name}.pin-refused")
        return Pkcs11KeySource(path, TokenKey(MODULE, token, label, self.pin_file, refusals), owner)

    def flags(self, token: str) -> int:
        """The token's flags, which tell of wrong PINs."""
        library = pkcs11.lib(str(MODULE))
        try:
            return int(library.get_token(token_label=token).flags)
        finally:
            library.finalize()

    def make_keys(
        self, token: str, label: str, *, count: int = 1, extractable: bool = False
    ) -> None:
        """Keys as another tool might have made them; logs in."""
        library = pkcs11.lib(str(MODULE))
        try:
            with library.get_token(token_label=token).open(rw=True, user_pin=PIN) as session:
                for _ in range(count):
                    session.generate_key(
                        pkcs11.KeyType.AES,
                        256,
                        label=label,
                        store=True,
                        template={pkcs11.Attribute.EXTRACTABLE: extractable},
                    )
        finally:
            library.finalize()

    def settings(self, token: str) -> str:
        """The lines of a settings file, without the table's name."""
        values = {"module": MODULE, "token": token, "label": LABEL, "pin_file": self.pin_file}
        return "".join(f'{key} = "{value}"\n' for key, value in values.items())
