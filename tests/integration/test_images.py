"""The images build from a bare Debian base and hold what their role needs and no more."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.needs_buildah, pytest.mark.timeout(3600)]

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("registry", "linker", "gateway", "keyserver")
TAG = "test"
SCHEMA = ROOT / "services/core/kinlink_core/encoding/schemas/person.yaml"
FOREIGN_PACKAGE = {
    "registry": "splink",
    "linker": "fastapi",
    "gateway": "duckdb",
    "keyserver": "duckdb",
}


def buildah(*arguments: str) -> str:
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def built() -> None:
    done = subprocess.run(
        [str(ROOT / "scripts/build-images.sh")],
        cwd=ROOT,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TAG": TAG},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(params=ROLES)
def container(built: None, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A role, and a container from its image."""
    del built
    name = buildah("from", "--pull-never", f"localhost/kinlink-{request.param}:{TAG}")
    try:
        yield request.param, name
    finally:
        buildah("rm", name)


def run(container: str, *command: str) -> str:
    return buildah("run", "--isolation", "chroot", container, "--", *command)


def test_an_image_runs_its_command_and_nothing_of_another_role(
    container: tuple[str, str],
) -> None:
    role, name = container
    assert run(name, f"kinlink-{role}", "--version").endswith("0.1.0")
    assert "serve" in run(name, f"kinlink-{role}", "--help")
    app = f"import kinlink_{role}.app"
    assert run(name, "/opt/kinlink/bin/python", "-c", app) == ""
    probe = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]))"
    assert run(name, "/opt/kinlink/bin/python", "-c", probe, FOREIGN_PACKAGE[role]) == "None"
    assert run(name, "/opt/kinlink/bin/python", "-c", probe, "pip") == "None"


def test_an_image_runs_as_a_user_who_owns_only_its_home(container: tuple[str, str]) -> None:
    _, name = container
    assert run(name, "id", "-u") == "65532"
    assert run(name, "stat", "-c", "%u %a", "/var/lib/kinlink") == "65532 700"
    writable = run(name, "find", "/opt", "/usr", "-writable", "-not", "-type", "l")
    assert writable == ""


def test_the_init_container_makes_a_home_and_keeps_it_the_next_time(
    built: None, tmp_path: Path
) -> None:
    del built
    pod = yaml.safe_load((ROOT / "deploy/k8s/base/registry/statefulset.yaml").read_text())
    (init,) = pod["spec"]["template"]["spec"]["initContainers"]
    settings = (ROOT / "deploy/k8s/overlays/registry-node/registry.toml").read_text()
    # As Kubernetes mounts them: root's, and readable by the pod's group.
    mounted = {
        "/var/lib/kinlink/registry.toml": settings.encode(),
        "/etc/kinlink/vault-key/vault.key": base64.b64encode(bytes(32)),
        "/etc/kinlink/schema/schema.yaml": SCHEMA.read_bytes(),
    }
    name = buildah("from", "--pull-never", f"localhost/kinlink-registry:{TAG}")
    try:
        for number, (path, content) in enumerate(mounted.items()):
            source = tmp_path / str(number)
            source.write_bytes(content)
            buildah("copy", "--chown", "0:65532", "--chmod", "0440", name, str(source), path)
        for _ in range(2):
            assert "henan of demo" in run(name, "kinlink-registry", *init["args"])
        status = json.loads(run(name, "kinlink-registry", "status", "--json"))
        assert status["records"]["live"] == 0
    finally:
        buildah("rm", name)


def test_the_gateway_image_holds_its_pages(built: None) -> None:
    del built
    name = buildah("from", "--pull-never", f"localhost/kinlink-gateway:{TAG}")
    try:
        files = (
            "from importlib.resources import files as f;"
            "print(sum(1 for part in ('templates', 'static', 'locales')"
            " for _ in f('kinlink_gateway').joinpath(part).iterdir()))"
        )
        assert int(run(name, "/opt/kinlink/bin/python", "-c", files)) > 10
    finally:
        buildah("rm", name)
