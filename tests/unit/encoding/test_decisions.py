"""What registries say to each other about decided pairs: sealed, padded, read back, refused."""

from __future__ import annotations

import os

import pytest
from kinlink_core.encoding.decisions import (
    ANSWER_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    QUESTIONS_MAX,
    DecisionChannel,
    Question,
    Reply,
)
from kinlink_core.encoding.keys import (
    MODE_PLAIN,
    AgreementKey,
    Context,
    EpochSecret,
    KeyFault,
    KeySchedule,
)

ERA = bytes(range(8))
LEFT, RIGHT = AgreementKey.generate(), AgreementKey.generate()


def schedule(epoch: str = "2026-11", secret: bytes = b"s" * 32) -> KeySchedule:
    context = Context(MODE_PLAIN, "demo", epoch, "fingerprint")
    return KeySchedule(context, EpochSecret(epoch, secret))


def channels(keys: KeySchedule | None = None) -> tuple[DecisionChannel, DecisionChannel]:
    """Both ends of one talk."""
    keys = keys or schedule()
    made = []
    for key, other, own, partner in ((LEFT, RIGHT, "a", "b"), (RIGHT, LEFT, "b", "a")):
        pair_key = key.registry_pair_key(
            other.public, context=keys.context, own=own, partner=partner
        )
        made.append(DecisionChannel(pair_key, keys, own=own, partner=partner))
    return made[0], made[1]


def questions(count: int) -> list[Question]:
    return [Question(os.urandom(12), os.urandom(12), number) for number in range(count)]


def test_questions_and_replies_are_read_as_they_were_sealed() -> None:
    left, right = channels()
    asked = questions(3)
    assert right.open_questions(left.seal_questions(ERA, asked)) == (ERA, asked)
    replies = [
        Reply(asked[0], gone=False, handles=(os.urandom(16), os.urandom(16))),
        Reply(asked[1], gone=True, handles=()),
        Reply(asked[2], gone=False, handles=()),
    ]
    assert left.open_replies(right.seal_replies(ERA, replies), ERA) == replies


def test_lengths_tell_no_number() -> None:
    left, right = channels()
    assert {len(left.seal_questions(ERA, questions(count))) for count in (0, 1, 7, 256)} == {7206}
    lengths = set()
    for count in range(1, 100):
        replies = [Reply(each, gone=False, handles=(bytes(16),) * 9) for each in questions(count)]
        lengths.add(len(right.seal_replies(ERA, replies)))
    assert lengths == {size + 28 for size in (4096, 8192, 16384, 32768)}
    assert left.seal_questions(ERA, []) != left.seal_questions(ERA, [])


def test_replies_that_do_not_fit_are_left_for_another_question() -> None:
    left, right = channels()
    replies = [Reply(each, gone=False, handles=(bytes(16),) * 400) for each in questions(256)]
    sealed = right.seal_replies(ERA, replies)
    found = left.open_replies(sealed, ERA)
    assert len(sealed) == MESSAGE_BYTES_MAX == ANSWER_BYTES_MAX + 28
    assert 0 < len(found) < 256
    assert found == replies[: len(found)]


def test_nothing_opens_but_at_its_end_in_its_direction_epoch_and_secret() -> None:
    left, right = channels()
    question = left.seal_questions(ERA, questions(1))
    reply = right.seal_replies(ERA, [])
    others = (
        left,
        channels(schedule("2026-12"))[1],
        channels(schedule(secret=b"t" * 32))[1],
        channels()[0],
    )
    for channel in others:
        with pytest.raises(KeyFault):
            channel.open_questions(question)
    wrong = (question, reply[:-1], reply[1:], b"", bytes(MESSAGE_BYTES_MAX + 1), bytes(100))
    for message in wrong:
        with pytest.raises(KeyFault):
            left.open_replies(message, ERA)
    with pytest.raises(KeyFault):
        left.open_replies(reply, bytes(8))
    assert left.open_replies(reply, ERA) == []


def test_what_is_too_much_is_refused_before_it_is_sealed() -> None:
    left, _ = channels()
    with pytest.raises(KeyFault):
        left.seal_questions(ERA, questions(QUESTIONS_MAX + 1))
    with pytest.raises(KeyFault):
        left.seal_questions(bytes(7), [])
