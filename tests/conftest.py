"""Skips tests whose Debian package is missing, by name, and counts them at the end.

`KINLINK_TESTS_NO_SKIP=1` turns such a skip into a failure: continuous integration skips nothing.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

NO_SKIP_VARIABLE = "KINLINK_TESTS_NO_SKIP"


def _has_prometheus() -> bool:
    return all(shutil.which(name) for name in ("prometheus", "promtool"))


def _has_chromium() -> bool:
    return shutil.which("chromium") is not None


def _has_postgres() -> bool:
    return any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or bool(shutil.which("initdb"))


def _has_buildah() -> bool:
    return all(shutil.which(name) for name in ("buildah", "debootstrap"))


def _has_softhsm() -> bool:
    return shutil.which("softhsm2-util") is not None


# Marker → the Debian package it needs, and how to see that the package is there.
PACKAGES: dict[str, tuple[str, Callable[[], bool]]] = {
    "needs_prometheus": ("prometheus", _has_prometheus),
    "needs_chromium": ("chromium", _has_chromium),
    "needs_postgres": ("postgresql", _has_postgres),
    "needs_buildah": ("buildah debootstrap", _has_buildah),
    "needs_softhsm": ("softhsm2", _has_softhsm),
}

_skipped: defaultdict[str, list[str]] = defaultdict(list)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (package, present) in PACKAGES.items():
        if item.get_closest_marker(marker) is None or present():
            continue
        reason = f"needs Debian's {package}: scripts/apt-extras {package}"
        if os.environ.get(NO_SKIP_VARIABLE) == "1":
            pytest.fail(reason, pytrace=False)
        _skipped[package].append(item.nodeid)
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for package, tests in sorted(_skipped.items()):
        for test in tests:
            terminalreporter.write_line(f"skipped for want of Debian's {package}: {test}")
    count = sum(len(tests) for tests in _skipped.values())
    terminalreporter.write_line(f"skipped for want of a Debian package: {count}")
