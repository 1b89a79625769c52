"""The commands that services share: each tampering with an audit is found by `audit verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from kinlink_core.errors import NotFoundError, Reason
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.commands import service_group
from kinlink_keyserver.cli import main as keyserver
from kinlink_linker.cli import main as linker
from kinlink_registry.cli import main as registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import click
    from click.testing import Result

Lines = list[str]

TAMPERINGS: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "edit": (
        lambda lines: [*lines[:2], lines[2].replace("operator/ana", "operator/bob"), *lines[3:]],
        "line 3: was changed",
    ),
    "cut": (lambda lines: lines[:3], "its head file names"),
    "take out": (lambda lines: [*lines[:2], *lines[3:]], "line 3: does not follow"),
    "reorder": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "line 3: does not"),
    "put in": (lambda lines: [*lines[:2], lines[1], *lines[2:]], "line 3: does not follow"),
}


@pytest.fixture(params=[registry, linker, keyserver], ids=["registry", "linker", "keyserver"])
def command(request: pytest.FixtureRequest) -> click.Command:
    found: click.Command = request.param
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    written = AuditLog(path)
    for number in range(5):
        written.write("linkage-started", "operator/ana", linkage=f"l{number}")
    return path


def run(command: click.Command, log: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--home", str(log.parent), "audit", *arguments])


def test_an_untouched_audit_holds_and_tells_the_head_to_note(
    command: click.Command, log: Path
) -> None:
    verified = run(command, log, "verify")
    assert verified.exit_code == 0
    assert "The audit holds: 5 entries." in verified.stderr
    noted = run(command, log, "head").stdout.strip()
    assert verified.stdout.strip() == noted
    assert noted.startswith("5:")
    assert run(command, log, "verify", "--anchor", noted).exit_code == 0


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_each_tampering_is_found_by_name(command: click.Command, log: Path, tampering: str) -> None:
    spoil, said = TAMPERINGS[tampering]
    log.write_text("".join(spoil(log.read_text().splitlines(keepends=True))))
    for subcommand in ("verify", "head"):
        result = run(command, log, subcommand)
        assert result.exit_code == 1
        assert said in result.stderr
        assert "hash chain does not hold" in result.stderr
        assert result.stdout == ""


def test_a_log_cut_together_with_its_head_file_is_found_by_a_head_noted_elsewhere(
    command: click.Command, log: Path
) -> None:
    noted = run(command, log, "head").stdout.strip()
    kept = log.read_text().splitlines(keepends=True)[:3]
    for path in (log, log.with_name("audit.jsonl.head")):
        path.unlink()
    shorter = AuditLog(log)
    for number in range(3):
        shorter.write("linkage-started", "operator/ana", linkage=f"l{number}")
    assert len(kept) == len(log.read_text().splitlines())
    assert run(command, log, "verify").exit_code == 0
    result = run(command, log, "verify", "--anchor", noted)
    assert result.exit_code == 1
    assert "does not contain the entry that the given head names" in result.stderr


def test_a_log_that_is_gone_and_a_head_that_is_none_are_bad_input(
    command: click.Command, log: Path
) -> None:
    assert run(command, log, "verify", "--anchor", "5").exit_code == 2
    log.unlink()
    result = run(command, log, "verify")
    assert result.exit_code == 2
    assert "There is no audit log" in result.stderr


def test_a_failure_nobody_foresaw_is_told_without_what_it_quotes(tmp_path: Path) -> None:
    @service_group("registry", home="nothing")
    def main(home: Path) -> Path:
        """Do nothing."""
        return home

    @main.command()
    def breaks() -> None:
        raise ValueError("Zhang Wei 1988-10-17")

    @main.command()
    def refuses() -> None:
        raise NotFoundError(Reason.EPOCH_UNKNOWN)

    broken = CliRunner().invoke(main, ["--home", str(tmp_path), "breaks"])
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert "something failed here (ValueError)" in broken.stderr
    assert "Zhang" not in broken.stderr
    refused = CliRunner().invoke(main, ["--home", str(tmp_path), "refuses"])
    assert refused.exit_code == 1
    assert refused.stderr == "kinlink-registry: This epoch is not served here.\n"
