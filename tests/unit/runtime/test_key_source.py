"""A long-lived key comes from a file, or from a file that opens with a token only."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import pkcs11
import pytest
from kinlink_core.errors import ConflictError, InvalidInputError, KinlinkError, Reason
from kinlink_core.runtime.key_source import FileKeySource, make_key, wrap_in_place
from pkcs11 import TokenFlag
from support.softhsm import MODULE, PIN, SoftHsm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kinlink_core.runtime.key_source import Pkcs11KeySource

OURS = "ours"


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    made = SoftHsm.make(tmp_path / "hsm", monkeypatch)
    made.add(OURS)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "vault.key"


@pytest.fixture
def source(hsm: SoftHsm, path: Path) -> Pkcs11KeySource:
    """A wrapped key, as `init` makes it."""
    made = hsm.source(path, OURS)
    make_key(made)
    return made


def refused(call: Callable[[], object]) -> KinlinkError:
    with pytest.raises(KinlinkError) as raised:
        call()
    assert PIN not in raised.value.public
    return raised.value


def test_a_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    source = FileKeySource(tmp_path / "new" / "key")
    assert "There is no key" in refused(source.read).public
    make_key(source)
    key = source.read()
    make_key(source)
    assert source.read() == key
    assert len(key) == 32
    assert source.path.stat().st_mode & 0o777 == 0o600
    assert source.path.parent.stat().st_mode & 0o777 == 0o700
    source.path.chmod(0o644)
    with pytest.raises(InvalidInputError, match="chmod"):
        source.read()


@pytest.mark.parametrize("content", [b"not base64!", base64.b64encode(bytes(31)), b""])
def test_a_key_of_another_form_or_length_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert refused(FileKeySource(path).read).reason is Reason.KEY_MISSING


def test_a_plain_source_has_nothing_to_wrap_with(tmp_path: Path) -> None:
    source = FileKeySource(tmp_path / "key")
    make_key(source)
    with pytest.raises(ConflictError, match="key_source"):
        wrap_in_place(source)
    source.read()


@pytest.mark.needs_softhsm
def test_a_wrapped_key_opens_with_its_token_and_lies_nowhere_in_clear(
    source: Pkcs11KeySource, tmp_path: Path
) -> None:
    key = source.read()
    assert (len(key), source.read()) == (32, key)
    make_key(source)
    assert source.read() == key
    stored = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    assert not any(each in stored for each in (key, key.hex().encode(), base64.b64encode(key)))
    assert source.path.stat().st_mode & 0o777 == 0o600
    told = source.describe() + repr(source)
    assert "key 'kinlink-test' of token 'ours'" in told
    assert PIN not in told


@pytest.mark.needs_softhsm
def test_a_stolen_disk_without_the_token_opens_nothing(
    source: Pkcs11KeySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thief = SoftHsm.make(tmp_path / "thief", monkeypatch)
    assert "knows no token 'ours'" in refused(source.read).public
    thief.add(OURS)
    assert "has no key 'kinlink-test'" in refused(source.read).public
    thief.make_keys(OURS, source.token.label)
    assert "does not open" in refused(source.read).public


@pytest.mark.needs_softhsm
def test_a_plain_key_is_wrapped_in_its_place_once(hsm: SoftHsm, path: Path) -> None:
    plain, wrapped = FileKeySource(path), hsm.source(path, OURS)
    make_key(plain)
    key = plain.read()
    assert "is not wrapped by a token" in refused(wrapped.read).public
    wrap_in_place(wrapped)
    assert wrapped.read() == key
    assert [each.name for each in path.parent.iterdir()] == ["vault.key"]
    assert 'set key_source to "pkcs11"' in refused(plain.read).public
    assert "wrapped already" in refused(lambda: wrap_in_place(wrapped)).public
    assert wrapped.read() == key


@pytest.mark.needs_softhsm
def test_a_key_that_was_not_wrapped_stays_as_it_was(hsm: SoftHsm, path: Path) -> None:
    plain = FileKeySource(path)
    make_key(plain)
    key = plain.read()
    assert "no token 'theirs'" in refused(lambda: wrap_in_place(hsm.source(path, "theirs"))).public
    assert plain.read() == key


@pytest.mark.needs_softhsm
def test_the_key_in_the_token_cannot_leave_it(source: Pkcs11KeySource) -> None:
    library = pkcs11.lib(str(MODULE))
    source.read()
    assert not library.initialized  # nothing is left open
    library.initialize()
    try:
        with library.get_token(token_label=OURS).open(user_pin=PIN) as session:
            (key,) = session.get_objects({pkcs11.Attribute.LABEL: source.token.label})
            assert key[pkcs11.Attribute.NEVER_EXTRACTABLE]
            with pytest.raises(pkcs11.AttributeSensitive):
                _ = key[pkcs11.Attribute.VALUE]
    finally:
        library.finalize()


@pytest.mark.needs_softhsm
def test_a_key_that_could_leave_or_is_there_twice_wraps_nothing(hsm: SoftHsm, path: Path) -> None:
    hsm.make_keys(OURS, "loose", extractable=True)
    hsm.make_keys(OURS, "twice", count=2)
    for label, why in (("loose", "may leave the token"), ("twice", "several keys")):
        new = hsm.source(path, OURS, label)
        assert why in refused(lambda new=new: make_key(new)).public
    assert not path.exists()


@pytest.mark.needs_softhsm
def test_a_wrapped_file_that_was_changed_or_is_anothers_is_refused(
    hsm: SoftHsm, source: Pkcs11KeySource
) -> None:
    whole = source.path.read_bytes()
    head, _, text = whole.rpartition(b" ")
    blob = base64.b64decode(text)
    flipped = blob[:-1] + bytes([blob[-1] ^ 1])
    for other in (flipped, blob[:-1], blob[:12], blob[:5], b""):
        source.path.write_bytes(head + b" " + base64.b64encode(other))
        assert refused(source.read).reason is Reason.KEY_MISSING
    source.path.write_bytes(head + b" " + text[:-3])
    assert "is damaged" in refused(source.read).public
    source.path.write_bytes(whole)
    assert "another owner" in refused(hsm.source(source.path, OURS, owner="b").read).public
    source.read()


@pytest.mark.needs_softhsm
def test_a_wrong_pin_is_tried_once_until_its_file_changes(
    hsm: SoftHsm, source: Pkcs11KeySource
) -> None:
    key = source.read()
    hsm.pin_file.write_text("000000")
    assert "refused the PIN" in refused(source.read).public
    assert hsm.flags(OURS) & TokenFlag.USER_PIN_COUNT_LOW
    hsm.make_keys(OURS, "another")  # a right PIN clears the token's count
    assert not hsm.flags(OURS) & TokenFlag.USER_PIN_COUNT_LOW
    told = refused(source.read).public
    assert "is not tried again" in told
    assert "000000" not in told
    assert not hsm.flags(OURS) & TokenFlag.USER_PIN_COUNT_LOW
    assert b"000000" not in source.token.refusals.read_bytes()
    hsm.pin_file.write_text(PIN)
    os.utime(hsm.pin_file)
    assert source.read() == key
    assert not source.token.refusals.exists()


@pytest.mark.needs_softhsm
def test_a_missing_module_and_an_open_pin_file_are_named(
    hsm: SoftHsm, source: Pkcs11KeySource, tmp_path: Path
) -> None:
    hsm.pin_file.chmod(0o640)
    assert "chmod it to 0600" in refused(source.read).public
    hsm.pin_file.unlink()
    assert "pin cannot be read" in refused(source.read).public
    for module in (tmp_path / "none.so", source.path):
        object.__setattr__(source.token, "module", module)
        assert f"{module} cannot be loaded" in refused(source.read).public
