from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from kinlink_core.errors import InvalidInputError, NotFoundError, PreconditionError, Reason
from kinlink_gateway.auth import TokenFile, token_digest
from kinlink_gateway.roles import Role
from unit.gateway.office import Clock

if TYPE_CHECKING:
    from pathlib import Path

DAY_SECONDS = 24 * 60 * 60


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> TokenFile:
    return TokenFile(tmp_path / "tokens.json", clock=clock)


def test_a_created_token_is_found_and_kept_only_as_its_hash(
    tokens: TokenFile, tmp_path: Path
) -> None:
    token, entry = tokens.create(role=Role.ANALYST, name="李伟")
    person = tokens.find(token)
    assert person is not None
    assert (person.name, person.role, person.registry) == ("李伟", Role.ANALYST, "")
    text = (tmp_path / "tokens.json").read_text("utf-8")
    assert token not in text
    assert token.removeprefix("kinlink_") not in text
    assert entry.sha256 == token_digest(token)
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600


def test_tokens_have_256_random_bits(tokens: TokenFile) -> None:
    made = {tokens.create(role=Role.ANALYST, name=f"a{n}")[0] for n in range(5)}
    assert len(made) == 5
    assert all(len(token.removeprefix("kinlink_")) == 43 for token in made)


def test_an_unknown_token_is_nobody(tokens: TokenFile) -> None:
    assert tokens.find("kinlink_" + "a" * 43) is None
    tokens.create(role=Role.ANALYST, name="a")
    assert tokens.find("kinlink_" + "a" * 43) is None
    assert tokens.find("") is None


def test_a_token_ends_after_its_days(tokens: TokenFile, clock: Clock) -> None:
    token, entry = tokens.create(role=Role.OPERATOR, name="Chen", days=2)
    clock.pass_seconds(2 * DAY_SECONDS - 1)
    assert tokens.find(token)
    clock.pass_seconds(1)
    assert tokens.find(token) is None
    assert tokens.by_id(entry.id) is None


def test_a_token_without_days_never_ends(tokens: TokenFile, clock: Clock) -> None:
    token, _ = tokens.create(role=Role.OPERATOR, name="Chen", days=0)
    clock.pass_seconds(10_000 * DAY_SECONDS)
    assert tokens.find(token)


def test_another_process_revokes_and_the_running_one_sees_it_at_once(
    tokens: TokenFile, tmp_path: Path
) -> None:
    token, entry = tokens.create(role=Role.ANALYST, name="a")
    assert tokens.find(token)
    TokenFile(tmp_path / "tokens.json").revoke("a")
    assert tokens.find(token) is None
    assert tokens.by_id(entry.id) is None


def test_revoking_a_name_that_does_not_exist_says_so(tokens: TokenFile) -> None:
    with pytest.raises(NotFoundError):
        tokens.revoke("nobody")


def test_a_name_is_taken_until_its_token_ended(tokens: TokenFile, clock: Clock) -> None:
    tokens.create(role=Role.ANALYST, name="a", days=1)
    with pytest.raises(InvalidInputError, match="already"):
        tokens.create(role=Role.ANALYST, name="a")
    clock.pass_seconds(DAY_SECONDS)
    tokens.create(role=Role.ANALYST, name="a")
    assert len(tokens.entries()) == 1


@pytest.mark.parametrize("name", ["", " a", "a/b", "<b>", "a\nb", "x" * 65])
def test_a_bad_name_is_refused(tokens: TokenFile, name: str) -> None:
    with pytest.raises(InvalidInputError):
        tokens.create(role=Role.ANALYST, name=name)


@pytest.mark.parametrize(
    ("role", "registry"), [(Role.PROVINCE, ""), (Role.ANALYST, "henan"), (Role.OPERATOR, "henan")]
)
def test_a_province_names_one_registry_and_nobody_else_does(
    tokens: TokenFile, role: Role, registry: str
) -> None:
    with pytest.raises(InvalidInputError, match="registry"):
        tokens.create(role=role, name="a", registry=registry)


def test_a_file_that_others_may_read_lets_nobody_in(tokens: TokenFile, tmp_path: Path) -> None:
    token, _ = tokens.create(role=Role.ANALYST, name="a")
    (tmp_path / "tokens.json").chmod(0o644)
    fresh = TokenFile(tmp_path / "tokens.json")
    with pytest.raises(InvalidInputError, match="0600"):
        fresh.find(token)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1}', '{"version": 1, "tokens": [{"id": "x"}]}'],
)
def test_a_malformed_file_is_refused_with_advice(
    tokens: TokenFile, tmp_path: Path, text: str
) -> None:
    tokens.create(role=Role.ANALYST, name="a")
    (tmp_path / "tokens.json").write_text(text, "utf-8")
    with pytest.raises(PreconditionError, match="malformed"):
        tokens.entries()


def test_a_file_of_a_newer_build_is_refused(tokens: TokenFile, tmp_path: Path) -> None:
    tokens.create(role=Role.ANALYST, name="a")
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({"version": 2, "tokens": []}), "utf-8")
    with pytest.raises(PreconditionError) as caught:
        tokens.entries()
    assert caught.value.reason is Reason.STORE_VERSION


def test_tokens_created_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    def create(number: int) -> None:
        TokenFile(tmp_path / "tokens.json").create(role=Role.ANALYST, name=f"a{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(24)))
    assert len(TokenFile(tmp_path / "tokens.json").entries()) == 24
