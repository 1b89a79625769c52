"""Commands of one service in a process of their own: a single one, or an officer's session.

    python -m kinlink_local.session NAME MODULE HOME serve
    python -m kinlink_local.session NAME MODULE HOME < commands, a JSON list of words a line

Starting Python costs more than most commands do, and founding a federation takes some thirty. A
session runs them one after another and answers each with a JSON line: status, output, errors.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(command: click.Command, name: str, home: str, words: Sequence[str]) -> int:
    """Run one command; its exit status."""
    try:
        status = command.main(["--home", home, *words], prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return status if isinstance(status, int) else 0


def hold(command: click.Command, name: str, home: str) -> None:
    """Answer the commands on standard input until it ends."""
    answers = sys.stdout
    for line in sys.stdin:
        with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
            try:
                status = run(command, name, home, json.loads(line))
            except Exception as error:  # noqa: BLE001 - a broken command must not end the session
                print(f"{type(error).__name__}: {error}", file=errors)
                status = 1
        answer = {"status": status, "output": output.getvalue(), "errors": errors.getvalue()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> int:
    """Run the words given, or hold a session; the exit status."""
    _, name, module, home, *words = sys.argv
    command: click.Command = importlib.import_module(module).main
    if words:
        return run(command, name, home, words)
    hold(command, name, home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
