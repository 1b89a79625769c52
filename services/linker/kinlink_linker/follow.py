"""Feeds read live: each registry is asked for what comes next, and answers when there is some."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import structlog
from kinlink_core.errors import KinlinkError

from kinlink_linker.peer import Errand

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.sync import Synchroniser

WAIT_SECONDS: Final = 20.0
# A registry that does not answer is asked again after this, and later each time.
AGAIN_SECONDS_MIN: Final = 0.5
AGAIN_SECONDS_MAX: Final = 30.0
# A channel is opened anew now and then: certificates change.
RENEW_SECONDS: Final = 300.0

_log = structlog.get_logger(__name__)


class Follower:
    """One thread a registry; `follow` says which epoch they read."""

    def __init__(
        self,
        sync: Synchroniser,
        registries: Collection[str],
        dial: Callable[[str, Errand], RegistryPeer],
        stopping: threading.Event,
    ) -> None:
        self._sync = sync
        self._registries = registries
        self._dial = dial
        self._stopping = stopping
        self._epoch = ""
        self._peers: dict[str, RegistryPeer] = {}
        self._threads: dict[str, threading.Thread] = {}

    def follow(self, epoch: str, registries: Iterable[str]) -> None:
        """Read the feeds of some registries in an epoch from now on."""
        self._epoch = epoch
        for name in registries:
            if name in self._registries and name not in self._threads:
                thread = threading.Thread(
                    target=self._read, args=(name,), name=f"follow-{name}", daemon=True
                )
                self._threads[name] = thread
                thread.start()

    def stop(self, seconds: float) -> None:
        """Cut the waits and end; `stopping` is set already."""
        for peer in list(self._peers.values()):
            peer.close()
        until = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(max(0.0, until - time.monotonic()))

    def _read(self, name: str) -> None:
        pause = AGAIN_SECONDS_MIN
        while not self._stopping.is_set():
            try:
                peer = self._peers[name] = self._dial(name, Errand())
                try:
                    until = time.monotonic() + RENEW_SECONDS
                    while time.monotonic() < until and not self._stopping.is_set():
                        if not self._sync.follow_one(peer, self._epoch, WAIT_SECONDS):
                            self._stopping.wait(AGAIN_SECONDS_MAX)
                        pause = AGAIN_SECONDS_MIN
                finally:
                    peer.close()
            except KinlinkError as error:
                if self._stopping.is_set():
                    return
                _log.info("feed_not_followed", registry=name, reason=error.reason)
            except Exception:  # noqa: BLE001 - a feed that breaks once is read again
                _log.exception("follow_broke", registry=name)
            else:
                continue
            self._stopping.wait(pause)
            pause = min(2 * pause, AGAIN_SECONDS_MAX)
