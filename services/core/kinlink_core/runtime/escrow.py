"""Secrets in the keeping of several officers: any `threshold` of their shares give one back.

Shamir's scheme over GF(256) as SLIP-39 writes it down: each share is a list of English words with a
checksum, so it can be printed, locked away and typed in again. Fewer shares than the threshold tell
nothing about the secret. The empty passphrase is used: who guards the shares guards the secret.

A share file says in its head what it is a share of, and a check by which a wrong mixture is told
from a right one; the words alone are enough to recover.

Not guaranteed: any `threshold` officers together have the secret, whatever they do with it; and a
share file is only as secret as where it is kept.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.share import Share as Slip39Share

from kinlink_core.errors import ConflictError, InvalidInputError, Reason
from kinlink_core.runtime.files import make_directory, read_secret_file, write_secret_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

THRESHOLD_MIN: Final = 2
SHARES_MAX: Final = 16
SECRET_BYTES: Final = 32
CHECK_DIGITS: Final = 8

_TITLE: Final = "Kinlink share of a secret (SLIP-39)"
_WORDS_A_LINE: Final = 4
_WORD: Final = re.compile(r"[a-z]+")
_HEAD: Final = re.compile(r"^(secret|share|check): *(.*?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Share:
    """One officer's part; `secret` and `check` are empty where only the words are known."""

    words: str = field(repr=False)
    secret: str = ""
    check: str = ""
    shares: int = 0

    @property
    def number(self) -> int:
        """Which of the shares this is, from 1."""
        return int(self._parsed().index) + 1

    @property
    def threshold(self) -> int:
        """How many shares recover the secret."""
        return int(self._parsed().member_threshold)

    def _parsed(self) -> Slip39Share:
        try:
            return Slip39Share.from_mnemonic(self.words)
        except MnemonicError:
            # What the library says quotes words.
            raise _invalid(
                "The words of a share hold a typing error: their checksum does not fit."
            ) from None


def split(secret: bytes, name: str, *, threshold: int, shares: int) -> list[Share]:
    """Split a secret of 32 bytes into shares; `name` says which one it is.

    Raises:
        InvalidInputError: `CONFIG_INVALID`: no such threshold or number of shares.
    """
    if not THRESHOLD_MIN <= threshold <= shares <= SHARES_MAX:
        raise InvalidInputError(
            Reason.CONFIG_INVALID,
            f"The threshold is at least {THRESHOLD_MIN} and at most the number of shares, which is"
            f" at most {SHARES_MAX}.",
        )
    (group,) = generate_mnemonics(1, [(threshold, shares)], secret)
    return [Share(words, name, _check(secret, name), shares) for words in group]


def recover(given: Sequence[Share], name: str) -> bytes:
    """Give back the secret of this name; shares beyond the threshold are looked at, not needed.

    Raises:
        InvalidInputError: `SHARES_INVALID`: too few, mixed up, mistyped, or of another secret.
    """
    if not given:
        raise _invalid("No share was given.")
    by_number: dict[int, Share] = {}
    for share in given:
        if share.secret not in ("", name):
            raise _invalid(f"A share is of another secret: {share.secret}.")
        if by_number.setdefault(share.number, share).words != share.words:
            raise _invalid("The shares are of different splits: do not mix them.")
    threshold = max(share.threshold for share in given)
    if len(by_number) < threshold:
        raise _invalid(f"{threshold} shares are needed; {len(by_number)} were given.")
    chosen = [by_number[number].words for number in sorted(by_number)]
    secret = _combined(chosen[:threshold])
    # Those that were not needed must fit as well: the last of them, with all but one of the others.
    for spare in chosen[threshold:]:
        if _combined([*chosen[: threshold - 1], spare]) != secret:
            raise _invalid("The shares are of different splits: do not mix them.")
    checks = {share.check for share in given} - {""}
    if len(secret) != SECRET_BYTES or checks - {_check(secret, name)}:
        raise _invalid(f"The shares give back another secret than {name}.")
    return secret


def write_shares(folder: Path, stem: str, shares: Sequence[Share]) -> list[Path]:
    """Write one file a share, for its officer's eyes only.

    Raises:
        ConflictError: `FILE_UNREADABLE`: there is a file of that name; nothing was written.
    """
    paths = [folder / f"{stem}-share-{share.number}-of-{share.shares}.txt" for share in shares]
    taken = [path for path in paths if path.exists()]
    if taken:
        raise ConflictError(
            Reason.FILE_UNREADABLE, f"{taken[0]} exists already: choose another folder."
        )
    make_directory(folder)
    for path, share in zip(paths, shares, strict=True):
        write_secret_file(path, to_text(share).encode())
    return paths


def read_share(path: Path) -> Share:
    """Read a share file, or a file that holds the words alone."""
    try:
        return from_text(read_secret_file(path).decode())
    except UnicodeDecodeError:
        raise _invalid(f"{path} is no share file.") from None


def to_text(share: Share) -> str:
    """A share as it is printed."""
    words = share.words.split()
    lines = [
        "  " + "  ".join(f"{n + 1:2} {words[n]:<9}" for n in range(at, at + _WORDS_A_LINE)
                         if n < len(words)).rstrip()
        for at in range(0, len(words), _WORDS_A_LINE)
    ]  # fmt: skip
    return "\n".join(
        [
            _TITLE,
            f"secret: {share.secret}",
            f"share: {share.number} of {share.shares}; any {share.threshold} recover it",
            f"check: {share.check}",
            "words:",
            *lines,
            "",
        ]
    )


def from_text(text: str) -> Share:
    """Read what `to_text` wrote; without a head the whole text is words."""
    head, found, body = text.partition("words:")
    if not found:
        return Share(" ".join(_WORD.findall(text.lower())))
    named = dict(_HEAD.findall(head))
    shares = re.search(r"of (\d+)", named.get("share", ""))
    return Share(
        " ".join(_WORD.findall(body.lower())),
        named.get("secret", ""),
        named.get("check", ""),
        int(shares[1]) if shares else 0,
    )


def _combined(words: Sequence[str]) -> bytes:
    try:
        return bytes(combine_mnemonics(words))
    except MnemonicError:
        raise _invalid("The shares do not belong together: do not mix splits.") from None


def _check(secret: bytes, name: str) -> str:
    text = b"kinlink/v1 escrow check " + name.encode()
    return hmac.digest(secret, text, "sha256").hex()[:CHECK_DIGITS]


def _invalid(text: str) -> InvalidInputError:
    return InvalidInputError(Reason.SHARES_INVALID, text)
