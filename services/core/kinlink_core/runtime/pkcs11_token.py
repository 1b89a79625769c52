"""A key inside a PKCS#11 token (an HSM, a smart card, SoftHSM) that wraps what lies on a disk.

AES-256-GCM (NIST SP 800-38D) computed by the token (`CKM_AES_GCM`), with random 96-bit nonces and
tags of 128 bits. The key is made in the token, sensitive and not extractable. The module is loaded
and the PIN used for one operation at a time; in between this process holds no session.

A PIN that the token refused is not tried again until its file changes, by no process: a service
that is restarted over and over would otherwise lock the token. `refusals` is the file that says so.

Not guaranteed: whoever has the token, the PIN and what was wrapped opens it; a token that wants to
choose nonces itself (some do in FIPS mode) opens, but does not wrap.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kinlink_core.errors import InvalidInputError, PreconditionError, Reason
from kinlink_core.runtime.files import read_file, read_secret_file, write_secret_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pkcs11
    from pkcs11 import _pkcs11

NONCE_BYTES: Final = 12
TAG_BITS: Final = 128
KEY_BITS: Final = 256

# A process has one session state with a module, whoever asks.
_LOCK: Final = threading.Lock()


@dataclass(frozen=True)
class TokenKey:
    """Where a wrapping key is: module, token and key by label, and the file of the PIN."""

    module: Path
    token: str
    label: str
    pin_file: Path
    refusals: Path

    def __str__(self) -> str:
        return f"key {self.label!r} of token {self.token!r}"

    def wrap(self, plain: bytes, place: bytes) -> bytes:
        """Wrap bytes for one place; makes the key where the token has none of this label.

        Raises:
            InvalidInputError: `CONFIG_INVALID`, `FILE_UNREADABLE`: no module, no PIN file.
            PreconditionError: `KEY_MISSING`: no such token, wrong PIN, or a key that could leave.
        """
        nonce = os.urandom(NONCE_BYTES)
        with self._session(write=True) as session:
            key = self._find(session)
            if key is None:
                key = self._make(session)
            self._refuse_extractable(key)
            wrapped: bytes = key.encrypt(plain, **_gcm(nonce, place))
            return nonce + wrapped

    def unwrap(self, blob: bytes, place: bytes) -> bytes:
        """Open what was wrapped for this place; raises as `wrap`, and where it does not open."""
        import pkcs11

        with self._session() as session:
            key = self._find(session)
            if key is None:
                raise _missing(f"The token {self.token!r} has no key {self.label!r}.")
            try:
                plain: bytes = key.decrypt(blob[NONCE_BYTES:], **_gcm(blob[:NONCE_BYTES], place))
            except (pkcs11.PKCS11Error, ValueError) as error:
                # Modules differ in what they say of a tag that does not fit.
                raise _missing(
                    f"The {self} does not open what was wrapped: it is damaged, or was wrapped by"
                    f" another key or for another owner ({type(error).__name__})."
                ) from error
            return plain

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[pkcs11.Session]:
        """Log in to the token, once, and leave nothing open behind."""
        with _LOCK:
            library = _load(self.module)
            import pkcs11

            try:
                with self._log_in(library, write=write) as session:
                    yield session
            except pkcs11.PKCS11Error as error:
                raise _missing(
                    f"The token {self.token!r} fails: {type(error).__name__}."
                ) from error
            finally:
                library.finalize()

    def _log_in(self, library: _pkcs11.lib, *, write: bool) -> pkcs11.Session:
        import pkcs11

        pin = self._pin()
        try:
            token = library.get_token(token_label=self.token)
        except pkcs11.NoSuchToken:
            raise _missing(f"The module {self.module} knows no token {self.token!r}.") from None
        except pkcs11.MultipleTokensReturned:
            raise _missing(f"Several tokens have the label {self.token!r}.") from None
        if token.flags & (pkcs11.TokenFlag.USER_PIN_LOCKED | pkcs11.TokenFlag.USER_PIN_FINAL_TRY):
            raise _missing(
                f"The token {self.token!r} is locked, or the next wrong PIN locks it: log in to it"
                " by its own tool first."
            )
        try:
            session: pkcs11.Session = token.open(rw=write, user_pin=pin)
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
            self._note_refusal()
            raise _missing(self._refused()) from None
        with suppress(OSError):
            self.refusals.unlink()
        return session

    def _pin(self) -> str:
        """The PIN; not the one that was refused before."""
        pin = read_secret_file(self.pin_file)
        if self.refusals.exists() and read_file(self.refusals) == self._stamp():
            raise _missing(self._refused())
        try:
            return pin.decode().strip()
        except UnicodeDecodeError:
            raise _missing(f"{self.pin_file} holds no PIN.") from None

    def _note_refusal(self) -> None:
        # Without the note the token's own counter still stops us before its last try.
        with suppress(OSError):
            write_secret_file(self.refusals, self._stamp())

    def _refused(self) -> str:
        return (
            f"The token {self.token!r} refused the PIN in {self.pin_file}; it is not tried again"
            " until that file is written anew."
        )

    def _stamp(self) -> bytes:
        """Changes when the PIN file is written; tells nothing of the PIN."""
        status = self.pin_file.stat()
        return f"{status.st_ino}:{status.st_mtime_ns}\n".encode()

    def _find(self, session: pkcs11.Session) -> Any:
        """The wrapping key; None where the token has none of this label."""
        import pkcs11

        found = list(
            session.get_objects(
                {
                    pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
                    pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.AES,
                    pkcs11.Attribute.LABEL: self.label,
                }
            )
        )
        if len(found) > 1:
            raise _missing(
                f"The token {self.token!r} has several keys {self.label!r}: take another label."
            )
        return found[0] if found else None

    def _make(self, session: pkcs11.Session) -> Any:
        import pkcs11

        return session.generate_key(
            pkcs11.KeyType.AES,
            KEY_BITS,
            label=self.label,
            store=True,
            capabilities=pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT,
            template={
                pkcs11.Attribute.PRIVATE: True,
                pkcs11.Attribute.SENSITIVE: True,
                pkcs11.Attribute.EXTRACTABLE: False,
            },
        )

    def _refuse_extractable(self, key: Any) -> None:
        import pkcs11

        if key[pkcs11.Attribute.EXTRACTABLE] or not key[pkcs11.Attribute.SENSITIVE]:
            raise _missing(
                f"The {self} may leave the token: name another label, to make a new one."
            )


def _load(module: Path) -> _pkcs11.lib:
    try:
        import pkcs11
    except ImportError as error:
        raise InvalidInputError(
            Reason.CONFIG_INVALID, "PKCS#11 needs the extra: install kinlink[pkcs11]."
        ) from error
    try:
        return pkcs11.lib(str(module))
    except pkcs11.PKCS11Error as error:
        raise InvalidInputError(
            Reason.CONFIG_INVALID, f"The PKCS#11 module {module} cannot be loaded."
        ) from error


def _gcm(nonce: bytes, place: bytes) -> dict[str, Any]:
    import pkcs11

    parameter = pkcs11.GCMParams(nonce, place, TAG_BITS)
    return {"mechanism": pkcs11.Mechanism.AES_GCM, "mechanism_param": parameter}


def _missing(text: str) -> PreconditionError:
    return PreconditionError(Reason.KEY_MISSING, text)
