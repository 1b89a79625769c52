"""The search for leaked values finds what is there, wherever it is, and nothing else."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from kinlink_local import search
from kinlink_local.search import Seeker, searchable

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_short_values_are_left_out_because_they_are_everywhere() -> None:
    assert searchable(["1986", "6101", "男", "石榴", "12345678", "王伟", ""]) == {
        "石榴".encode(),
        b"12345678",
        "王伟".encode(),
    }


def test_values_are_found_at_the_beginning_the_end_and_between() -> None:
    seeker = Seeker([b"firstvalue", b"middle", b"lastvalue", b"absentvalue"])
    content = b"firstvalue...middle\x00\xff\x00lastvalue"
    assert seeker.found_in(content) == {b"firstvalue", b"middle", b"lastvalue"}
    assert seeker.found_in(b"") == set()
    assert seeker.found_in(b"mi") == set()


def test_a_value_that_ends_with_the_content_too_early_is_not_found() -> None:
    assert Seeker([b"lastvalue"]).found_in(b"....lastvalu") == set()


def test_values_that_begin_alike_are_told_apart() -> None:
    assert Seeker([b"abcdefgh", b"abcdefxy"]).found_in(b"__abcdefxy__") == {b"abcdefxy"}


def test_a_value_across_two_chunks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK_BYTES", 16)
    for place in range(40):
        assert Seeker([b"abcdefgh"]).found_in(bytes(place) + b"abcdefgh") == {b"abcdefgh"}


def test_thousands_of_values_in_random_bytes_agree_with_looking_one_by_one() -> None:
    rng = random.Random(3)
    values = [rng.randbytes(rng.randint(6, 20)) for _ in range(3000)]
    planted = values[::100]
    content = b"".join(rng.randbytes(500) + value for value in planted)
    assert Seeker(values).found_in(content) == {value for value in values if value in content}
    assert set(planted) <= Seeker(values).found_in(content)


def test_files_are_named_with_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.bin").write_bytes(b"\x00" + "卓明川".encode())
    (tmp_path / "b.bin").write_bytes(b"nothing here")
    held = Seeker(searchable(["卓明川"])).files_that_hold(tmp_path)
    assert held == {tmp_path / "deep" / "a.bin": {"卓明川".encode()}}


def test_digits_behind_a_decimal_point_are_no_value() -> None:
    seeker = Seeker([b"20161208", b"Zhang Wei!"])
    assert not seeker.found_in(b'{"m": 0.0201612081, "u": 1.20161208e-05}')
    for content in (b"20161208", b"x 20161208.", b"9920161208", b"0.5 20161208", b"a.x20161208"):
        assert seeker.found_in(content) == {b"20161208"}
    assert seeker.found_in(b".Zhang Wei!") == {b"Zhang Wei!"}
    assert Seeker([b"7\x08\xddtoken"]).found_in(b".7\x08\xddtoken") == {b"7\x08\xddtoken"}
