"""Virtual environments of their own for parts that Kinlink does not depend on.

Generators and peers are pinned here, not in Kinlink's lock files: a bench makes their environment
in its cache folder the first time, and runs them as separate processes.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def own_python(cache: Path, name: str, requirements: tuple[str, ...]) -> Path:
    """The interpreter of the environment `name`; makes it where it is not there.

    Args:
        cache: folder that holds the environments.
        name: one a set of requirements; a change of them makes it anew.
        requirements: as pip takes them.

    Raises:
        subprocess.CalledProcessError: pip could not install them; its words are on stderr.
    """
    folder = cache / "venvs" / name
    python, made_of = folder / "bin" / "python", folder / "made_of.txt"
    wanted = "\n".join(requirements)
    if not made_of.exists() or made_of.read_text(encoding="utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *requirements], check=True)
        made_of.write_text(wanted, encoding="utf-8")
    return python
