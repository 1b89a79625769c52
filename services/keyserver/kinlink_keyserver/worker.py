"""What runs in an evaluator process beside the evaluation: it ends with the process that serves."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

from kinlink_keyserver import evaluation


def begin() -> None:
    """Prepare a new evaluator process.

    Ctrl-C reaches the whole group, and the process that serves decides when its evaluators end; if
    it is killed, they must not wait for it for ever.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()


def warm_up() -> None:
    """Do all that a first evaluation would wait for."""
    evaluation.public_key(evaluation.PassKey(evaluation.new_seed(), b"warm up"))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
