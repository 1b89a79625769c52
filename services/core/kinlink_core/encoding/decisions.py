"""What two registries ask and tell each other about pairs they decided, relayed by the linker.

A decided pair must not be compared again, and in a new epoch the partner's record goes under
handles that its registry alone knows. So registry A asks B: of these records of yours, each decided
with one of mine, which handles are live in this epoch? B answers for the pairs that it holds as
decided too, and says which of the records it no longer has. Both messages are sealed:

    key      = HKDF-Expand(HKDF-Extract(salt = K_AB, ikm = K_d), kind ‖ lp(sender))
    K_d      = HKDF(C_e, ctx ‖ lp("decisions"))
    message  = nonce ‖ AES-256-GCM(key, nonce, plaintext), padded with zeros before sealing

A question names the asker's record and its version, and the era of the asker's vault, and the
answer repeats them, so an answer that was made before the asker's record last changed is of no use.
Of two registries the one whose record changed last therefore always knows the other's present
handles, and a pair is compared only where both sides are sealed: a linker that withholds, replays
or swaps messages keeps records from being compared, and gets no decided pair.

Not guaranteed: the linker sees that a question was asked and roughly how long its answer is; and a
verdict itself comes through the linker, so one that tells a registry of a withdrawn verdict can
open that pair again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kinlink_core.encoding import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME_BYTES = 12
ERA_BYTES = 8
QUESTIONS_MAX = 256
# The longest answer, and the shortest; between them sizes double.
ANSWER_BYTES_MAX = 512 << 10
ANSWER_BYTES_MIN = 4 << 10

_NONCE_BYTES = 12
_TAG_BYTES = 16
_VERSION_BYTES = 4
_COUNT_BYTES = 2
_QUESTION_BYTES = 2 * NAME_BYTES + _VERSION_BYTES
_HEAD_BYTES = ERA_BYTES + _COUNT_BYTES
_ASKED_BYTES = _HEAD_BYTES + QUESTIONS_MAX * _QUESTION_BYTES

MESSAGE_BYTES_MAX = _NONCE_BYTES + ANSWER_BYTES_MAX + _TAG_BYTES


@dataclass(frozen=True)
class Question:
    """Under which handles does a record go? Names are of records, as record tags carry them."""

    theirs: bytes  # the asked registry's record, 12 bytes
    own: bytes  # the asker's, 12 bytes
    version: int  # of the asker's


@dataclass(frozen=True)
class Reply:
    """The answer to a question; `gone` when the asked registry has no such record any more."""

    question: Question
    gone: bool
    handles: tuple[bytes, ...]


class DecisionChannel:
    """Seals for one partner and opens what that partner sealed, in one epoch."""

    def __init__(
        self, pair_key: bytes, schedule: keys.KeySchedule, *, own: str, partner: str
    ) -> None:
        # Bound to the secret as well: an epoch may be made anew under its old name.
        self._key = keys.extract(pair_key, schedule.derive(b"decisions"))
        self._own = own
        self._partner = partner

    def seal_questions(self, era: bytes, questions: Sequence[Question]) -> bytes:
        """Seal up to `QUESTIONS_MAX` questions; always of one size."""
        if len(questions) > QUESTIONS_MAX or len(era) != ERA_BYTES:
            raise keys.KeyFault("too many questions, or an era of another length")
        body = b"".join(map(_question, questions))
        head = era + len(questions).to_bytes(_COUNT_BYTES, "big")
        return self._seal(b"question", (head + body).ljust(_ASKED_BYTES, b"\0"))

    def open_questions(self, sealed: bytes) -> tuple[bytes, list[Question]]:
        """The partner's era and questions; `KeyFault` if they were not sealed for us."""
        reader = _Reader(self._open(b"question", sealed))
        era, count = reader.take(ERA_BYTES), reader.number(_COUNT_BYTES)
        if count > QUESTIONS_MAX:
            raise keys.KeyFault("too many questions")
        return era, [reader.question() for _ in range(count)]

    def seal_replies(self, era: bytes, replies: Sequence[Reply]) -> bytes:
        """Seal replies to the partner's questions; those that no longer fit are left out."""
        body, count = bytearray(), 0
        for reply in replies:
            part = _reply(reply)
            if _HEAD_BYTES + len(body) + len(part) > ANSWER_BYTES_MAX:
                break
            body += part
            count += 1
        plaintext = era + count.to_bytes(_COUNT_BYTES, "big") + bytes(body)
        return self._seal(b"answer", plaintext.ljust(_padded(len(plaintext)), b"\0"))

    def open_replies(self, sealed: bytes, era: bytes) -> list[Reply]:
        """The partner's replies to questions of this era; `KeyFault` for any other message."""
        reader = _Reader(self._open(b"answer", sealed))
        if reader.take(ERA_BYTES) != era:
            raise keys.KeyFault("the answer is to a question of another era")
        return [reader.reply() for _ in range(reader.number(_COUNT_BYTES))]

    def _seal(self, kind: bytes, plaintext: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher(kind, self._own).encrypt(nonce, plaintext, None)

    def _open(self, kind: bytes, sealed: bytes) -> bytes:
        if len(sealed) > MESSAGE_BYTES_MAX:
            raise keys.KeyFault("the message is too long")
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher(kind, self._partner).decrypt(nonce, body, None)
        except (InvalidTag, ValueError) as error:
            raise keys.KeyFault("the message was not sealed by this partner for us") from error

    def _cipher(self, kind: bytes, sender: str) -> AESGCM:
        return AESGCM(keys.expand(self._key, kind + keys.lp(sender.encode())))


def _padded(length: int) -> int:
    size = ANSWER_BYTES_MIN
    while size < length:
        size *= 2
    return size


def _question(question: Question) -> bytes:
    return question.theirs + question.own + question.version.to_bytes(_VERSION_BYTES, "big")


def _reply(reply: Reply) -> bytes:
    count = len(reply.handles).to_bytes(_COUNT_BYTES, "big")
    return _question(reply.question) + bytes([reply.gone]) + count + b"".join(reply.handles)


class _Reader:
    """Cuts a plaintext into its parts; `KeyFault` where it ends too early."""

    def __init__(self, plaintext: bytes) -> None:
        self._left = memoryview(plaintext)

    def take(self, length: int) -> bytes:
        if len(self._left) < length:
            raise keys.KeyFault("the message ends too early")
        part, self._left = bytes(self._left[:length]), self._left[length:]
        return part

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def question(self) -> Question:
        return Question(self.take(NAME_BYTES), self.take(NAME_BYTES), self.number(_VERSION_BYTES))

    def reply(self) -> Reply:
        question, gone = self.question(), self.number(1) == 1
        return Reply(question, gone, tuple(self._handles()))

    def _handles(self) -> Iterator[bytes]:
        for _ in range(self.number(_COUNT_BYTES)):
            yield self.take(keys.HANDLE_BYTES)
