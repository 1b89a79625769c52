"""Runs every check of `make check`: each with its name and time, all of them even if one fails.

`make check STEPS="lint types"` runs only those. A step whose tool or history is not here is skipped
by name; with KINLINK_TESTS_NO_SKIP=1 a missing tool is a failure.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
STUBS = Path("proto/gen/kinlink")
MANIFESTS = Path("deploy/k8s")
MONITORING = MANIFESTS / "monitoring"
PROTOCOL_BASE_REFS = ("origin/main", "main")


class FailedError(Exception):
    """A check found something; the message says what, when the tool did not."""


class SkippedError(Exception):
    """A check cannot run here; the message says why."""


def run(*command: str | Path, output: Path | None = None) -> None:
    """Run one tool from the repository's root and fail with it."""
    stdout = output.open("wb") if output else None
    try:
        status = subprocess.run([*command], cwd=ROOT, stdout=stdout, check=False).returncode
    finally:
        if stdout:
            stdout.close()
    if status:
        raise FailedError(f"{command[0]} exited with {status}")


def missing_tool(tool: str, package: str) -> None:
    """Skip, or fail where nothing may be skipped, unless the tool is on the path."""
    if shutil.which(tool):
        return
    message = f"{tool} is missing: scripts/apt-extras {package}"
    if os.environ.get("KINLINK_TESTS_NO_SKIP") == "1":
        raise FailedError(message)
    raise SkippedError(message)


def git(*arguments: str) -> str | None:
    """Give what git prints, or None where it refuses."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def format_step() -> None:
    run("ruff", "format", "--check", ".")


def lint_step() -> None:
    run("ruff", "check", ".")


def types_step() -> None:
    run("mypy")
    run("mypy", "scripts/check.py")


def imports_step() -> None:
    run("lint-imports")


def protocol_step() -> None:
    run("buf", "lint")
    run("buf", "format", "--diff", "--exit-code")


def breaking_step() -> None:
    """Compare the protocol with the one that main holds; a first commit has nothing to break."""
    for ref in PROTOCOL_BASE_REFS:
        if git("cat-file", "-e", f"{ref}:buf.yaml") is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "base.tar"
            run("git", "archive", "--format=tar", f"--output={archive}", ref, "buf.yaml", "proto")
            run("buf", "breaking", "--against", archive)
        return
    raise SkippedError("no main to compare with: a first or shallow clone")


def stubs_step() -> None:
    """Regenerate the stubs beside the committed ones: not a byte may differ."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "proto", copy / "proto")
        shutil.copytree(ROOT / "scripts", copy / "scripts")
        run("env", f"PYTHON={sys.executable}", copy / "scripts/proto.sh")
        faults = sorted(differences(ROOT / STUBS, copy / STUBS))
    if faults:
        raise FailedError("proto/gen is not what `make proto` writes: " + ", ".join(faults))


def differences(here: Path, there: Path) -> list[str]:
    """Give the names of files that differ between two trees or stand in one only."""
    names = {
        path.relative_to(tree).as_posix()
        for tree in (here, there)
        for path in tree.rglob("*.py*")
        if "__pycache__" not in path.parts
    }
    return [
        name
        for name in names
        if not ((here / name).exists() and (there / name).exists())
        or not filecmp.cmp(here / name, there / name, shallow=False)
    ]


def manifests_step() -> None:
    """Render each overlay and hold it against the Kubernetes schemas and checkov's policies."""
    with tempfile.TemporaryDirectory() as folder:
        for overlay in sorted((ROOT / MANIFESTS / "overlays").iterdir()):
            rendered = Path(folder) / f"{overlay.name}.yaml"
            run("kubectl", "kustomize", overlay, output=rendered)
            run("kubernetes-validate", "--strict", "--quiet", rendered)
        run(
            *("checkov", "--framework", "kubernetes", "--skip-download", "--quiet", "--compact"),
            *("--config-file", MANIFESTS / "checkov.yaml", "--directory", folder),
        )


def images_step() -> None:
    run("hadolint", *sorted((ROOT / "services").glob("*/Dockerfile")))


def rules_step() -> None:
    missing_tool("promtool", "prometheus")
    run("promtool", "check", "config", "--syntax-only", MONITORING / "prometheus.yaml")
    run("promtool", "check", "rules", MONITORING / "rules.yaml")
    run("promtool", "test", "rules", *sorted((ROOT / MONITORING).glob("*_test.yaml")))


def docs_step() -> None:
    tests = ROOT / "tests/unit/test_docs.py"
    if not tests.exists():
        raise SkippedError("no docs tests in this tree")
    run(sys.executable, "-m", "pytest", "--quiet", tests)


STEPS: dict[str, Callable[[], None]] = {
    "format": format_step,
    "lint": lint_step,
    "types": types_step,
    "imports": imports_step,
    "protocol": protocol_step,
    "breaking": breaking_step,
    "stubs": stubs_step,
    "manifests": manifests_step,
    "images": images_step,
    "rules": rules_step,
    "docs": docs_step,
}


def main(names: list[str]) -> int:
    """Run the named steps, or all, and give the exit status."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"unknown step: {', '.join(unknown)}; known: {', '.join(STEPS)}", file=sys.stderr)
        return 2
    failed: list[str] = []
    skipped: list[str] = []
    for name in names or STEPS:
        started = time.monotonic()
        print(f"== {name}", flush=True)
        outcome = "ok"
        try:
            STEPS[name]()
        except FailedError as error:
            failed.append(name)
            outcome = f"FAILED: {error}"
        except SkippedError as error:
            skipped.append(name)
            outcome = f"SKIPPED: {error}"
        print(f"== {name}: {outcome} ({time.monotonic() - started:.1f} s)", flush=True)
    passed = len(names or STEPS) - len(failed) - len(skipped)
    print(f"checks: {passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    for title, listed in (("failed", failed), ("skipped", skipped)):
        if listed:
            print(f"{title}: {' '.join(listed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
