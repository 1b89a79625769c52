"""Shares of secrets: SLIP-39 as published, any threshold of ours, what is told of wrong ones."""

from __future__ import annotations

import json
import os
import random
import stat
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from kinlink_core.errors import ConflictError, InvalidInputError, Reason
from kinlink_core.runtime import escrow
from kinlink_core.runtime.escrow import Share, recover, split
from shamir_mnemonic import MnemonicError, combine_mnemonics

VECTORS = json.loads((Path(__file__).parents[2] / "golden" / "slip39.json").read_text("utf-8"))
NAME = "secret of epoch 2026-11 of federation demo"


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda each: each["name"])
def test_published_vectors_hold(vector: dict[str, Any]) -> None:
    if vector["secret"]:
        assert combine_mnemonics(vector["words"], b"TREZOR").hex() == vector["secret"]
    else:
        with pytest.raises(MnemonicError):
            combine_mnemonics(vector["words"], b"TREZOR")


@pytest.mark.parametrize(("threshold", "shares"), [(2, 2), (2, 3), (3, 5), (4, 6)])
def test_any_threshold_of_the_shares_recovers_the_secret_and_fewer_do_not(
    threshold: int, shares: int
) -> None:
    secret = os.urandom(32)
    made = split(secret, NAME, threshold=threshold, shares=shares)
    assert [share.number for share in made] == list(range(1, shares + 1))
    for count in range(1, shares + 1):
        for chosen in combinations(made, count):
            given = random.sample(chosen, count)
            if count >= threshold:
                assert recover(given, NAME) == secret
            else:
                with told(f"{threshold} shares are needed; {count} were given"):
                    recover(given, NAME)


def test_the_words_alone_recover_as_they_were_typed_in() -> None:
    secret = os.urandom(32)
    made = split(secret, NAME, threshold=2, shares=3)
    typed = [escrow.from_text("\n".join(share.words.upper().split())) for share in made[1:]]
    assert [share.secret for share in typed] == ["", ""]
    assert recover(typed, NAME) == secret


def test_wrong_and_mixed_shares_are_named_without_a_word_of_theirs() -> None:
    one = split(os.urandom(32), NAME, threshold=2, shares=3)
    other = split(os.urandom(32), NAME, threshold=2, shares=3)
    key = split(os.urandom(32), "vault key", threshold=2, shares=3)
    words = one[0].words.split()
    mistyped = Share(" ".join([*words[:-1], "academic"]))
    cases = [
        ([], "No share was given"),
        ([one[0], key[1]], "of another secret: vault key"),
        ([one[0], other[1]], "do not belong together"),
        ([one[0], other[0]], "different splits"),
        ([one[0], one[1], other[2]], "do not mix"),
        ([one[0], mistyped], "typing error"),
        ([one[0], Share("not words at all")], "typing error"),
        ([one[0], one[0]], "2 shares are needed; 1 were given"),
    ]
    for given, expected in cases:
        with told(expected) as caught:
            recover(given, NAME)
        assert caught.value.__cause__ is None
        # One word may be in both by chance: the list has "belong" and "paper".
        assert not any(f"{a} {b}" in str(caught.value) for a, b in pairwise(words[4:]))
    bare = [Share(share.words) for share in key[:2]]
    assert recover(bare, NAME) != recover(one[:2], NAME)
    with told("another secret than"):
        recover([bare[0], Share(key[1].words, NAME, one[0].check, 3)], NAME)


@pytest.mark.parametrize(("threshold", "shares"), [(1, 3), (4, 3), (2, 17), (0, 0)])
def test_a_split_that_protects_nothing_is_refused(threshold: int, shares: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        split(bytes(32), NAME, threshold=threshold, shares=shares)
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_share_files_are_for_their_officers_alone(tmp_path: Path) -> None:
    secret = os.urandom(32)
    made = split(secret, NAME, threshold=2, shares=3)
    paths = escrow.write_shares(tmp_path / "out", "epoch-2026-11", made)
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600] * 3
    assert [escrow.read_share(path) for path in paths] == made
    assert "words" not in repr(made[0])
    assert not any(secret.hex() in path.read_text() for path in paths)
    with pytest.raises(ConflictError):
        escrow.write_shares(tmp_path / "out", "epoch-2026-11", made)
    paths[0].chmod(0o644)
    with pytest.raises(InvalidInputError):
        escrow.read_share(paths[0])
    paths[1].write_bytes(b"\xff\xfe")
    with told("is no share file"):
        escrow.read_share(paths[1])


def told(expected: str) -> pytest.RaisesExc[InvalidInputError]:
    return pytest.RaisesExc(InvalidInputError, match=expected)
