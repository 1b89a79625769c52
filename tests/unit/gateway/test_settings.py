from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kinlink_core.runtime.config import ConfigError
from kinlink_gateway.app import read_settings

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = 'federation = "demo"\n[linker]\naddress = "127.0.0.1:7444"\n'


def write(home: Path, text: str) -> Path:
    (home / "gateway.toml").write_text(text, "utf-8")
    return home


def test_a_minimal_file_gives_loopback_and_plain_cookies(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, MINIMAL))
    assert settings.listen == "127.0.0.1:8443"
    assert settings.tokens_file == tmp_path / "tokens.json"
    assert settings.tls_dir == tmp_path / "tls"
    assert not settings.cookies_are_secure


def test_https_makes_cookies_secure(tmp_path: Path) -> None:
    text = MINIMAL + '[https]\ncert = "c.pem"\nkey = "k.pem"\n'
    assert read_settings(write(tmp_path, text)).cookies_are_secure


def test_plain_http_beyond_loopback_must_be_said(tmp_path: Path) -> None:
    open_text = 'listen = "0.0.0.0:80"\n' + MINIMAL
    with pytest.raises(ConfigError, match="plain_http"):
        read_settings(write(tmp_path, open_text))
    settings = read_settings(write(tmp_path, "plain_http = true\n" + open_text))
    assert settings.listen == "0.0.0.0:80"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = 'time_zone = "Mars/Base"\nlisten = "nowhere"\nwhat = 1\n' + MINIMAL
    with pytest.raises(ConfigError) as caught:
        read_settings(write(tmp_path, text))
    assert {fault.partition(":")[0] for fault in caught.value.faults} == {
        "time_zone",
        "listen",
        "what",
    }


def test_the_environment_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINLINK_GATEWAY_LINKER__ADDRESS", "10.0.0.1:1")
    monkeypatch.setenv("KINLINK_GATEWAY_DATABASE_URL", "postgresql+psycopg://u:secret@h/d")
    settings = read_settings(write(tmp_path, MINIMAL))
    assert settings.linker.address == "10.0.0.1:1"
    assert "secret" not in repr(settings)
