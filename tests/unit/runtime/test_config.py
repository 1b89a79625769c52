from __future__ import annotations

from pathlib import Path

import pytest
from kinlink_core.errors import Reason
from kinlink_core.runtime.config import (
    Address,
    ConfigError,
    ConfigPath,
    SecretFile,
    Settings,
    load_settings,
)
from pydantic import Field

PLANTED = "王小明"


class Policy(Settings):
    per_day: int = Field(default=10, ge=1)


class Example(Settings):
    federation: str
    listen: Address = "127.0.0.1:0"
    home: ConfigPath = Path("data")
    tables: int = 4
    names: tuple[str, ...] = ()
    debug: bool = False
    policy: Policy = Policy()


class WithKey(Settings):
    key: SecretFile = Path("vault.key")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "example.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_come_from_the_file_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = write(tmp_path, 'federation = "demo"\nhome = "x"\n[policy]\nper_day = 3\n')
    settings = load_settings(Example, path, "KINLINK_EXAMPLE", {})
    assert (settings.federation, settings.policy.per_day) == ("demo", 3)
    assert settings.home == tmp_path / "x"


def test_a_default_path_is_relative_to_the_file_too(tmp_path: Path) -> None:
    path = write(tmp_path, 'federation = "demo"')
    assert load_settings(Example, path, "KINLINK_EXAMPLE", {}).home == tmp_path / "data"


def test_the_environment_overrides_the_file_at_any_depth(tmp_path: Path) -> None:
    path = write(tmp_path, 'federation = "demo"\n[policy]\nper_day = 3\n')
    environ = {
        "KINLINK_EXAMPLE_FEDERATION": "1988",
        "KINLINK_EXAMPLE_POLICY__PER_DAY": "7",
        "KINLINK_EXAMPLE_NAMES": '["a", "b"]',
        "KINLINK_EXAMPLE_DEBUG": "true",
        "KINLINK_EXAMPLE_LISTEN": "0.0.0.0:80",
        "KINLINK_EXAMPLE_HOME": "ignored: it says where the file is",
        "KINLINK_OTHER_TABLES": "x",
    }
    environ["KINLINK_EXAMPLE_FEDERATION"] = "nine"
    settings = load_settings(Example, path, "KINLINK_EXAMPLE_", environ)
    assert (settings.federation, settings.policy.per_day) == ("nine", 7)
    assert (settings.names, settings.debug) == (("a", "b"), True)
    assert settings.listen == "0.0.0.0:80"
    assert settings.home == tmp_path / "data"


def test_all_faults_of_file_and_environment_are_told_at_once(tmp_path: Path) -> None:
    text = 'listen = "nowhere"\ntables = "many"\nunknown = 1\n[policy]\nper_day = 0\n'
    environ = {"KINLINK_EXAMPLE_DEBUG": "perhaps", "KINLINK_EXAMPLE_TYPO": "1"}
    with pytest.raises(ConfigError) as caught:
        load_settings(Example, write(tmp_path, text), "KINLINK_EXAMPLE", environ)
    faults = {fault.partition(":")[0] for fault in caught.value.faults}
    assert faults == {
        *("federation", "listen", "tables", "unknown", "policy.per_day", "debug", "typo"),
    }
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert all(fault in caught.value.public for fault in caught.value.faults)
    assert "listen: An address is HOST:PORT, for example 127.0.0.1:7443." in caught.value.faults


def test_the_text_of_a_fault_does_not_repeat_what_was_given(tmp_path: Path) -> None:
    path = write(tmp_path, f'federation = 1\nlisten = "{PLANTED}"\ntables = "{PLANTED}"')
    with pytest.raises(ConfigError) as caught:
        load_settings(Example, path, "KINLINK_EXAMPLE", {"KINLINK_EXAMPLE_DEBUG": PLANTED})
    assert PLANTED not in caught.value.public


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"a = ", "is not TOML"), (b"\xff\xfe", "is not UTF-8"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, text: str
) -> None:
    path = tmp_path / "example.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=text) as caught:
        load_settings(Example, path, "KINLINK_EXAMPLE", {})
    assert str(path) in caught.value.public


def test_a_secret_that_others_may_read_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    key = tmp_path / "vault.key"
    key.write_bytes(b"secret")
    key.chmod(0o600)
    assert load_settings(WithKey, path, "KINLINK_EXAMPLE", {}).key == key
    key.chmod(0o640)
    with pytest.raises(ConfigError, match=r"key: .* has mode 0640; chmod it to 0600"):
        load_settings(WithKey, path, "KINLINK_EXAMPLE", {})
    key.unlink()
    with pytest.raises(ConfigError, match=r"key: .* cannot be read"):
        load_settings(WithKey, path, "KINLINK_EXAMPLE", {})


def test_without_a_file_the_environment_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINLINK_EXAMPLE_FEDERATION", "demo")
    settings = load_settings(Example, None, "KINLINK_EXAMPLE")
    assert settings.home == tmp_path / "data"
