"""The registries of one linkage, asked in parallel, without falling with one of them.

A registry whose call fails is lost to this linkage: it is named with its reason, nothing more is
asked of it, and the others go on while there are at least two.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import TYPE_CHECKING, Generic, TypeVar

from kinlink_core.errors import CancelledError, KinlinkError, PreconditionError, Reason

from kinlink_linker.domain import MissingRegistry
from kinlink_linker.duck import is_own_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from kinlink_linker.peer import Description, RegistryPeer

ASKED_AT_ONCE_MAX = 4
REGISTRIES_MIN = 2

Key = TypeVar("Key")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Ask(Generic[Key, Answer]):
    """One call to one registry; `key` says what the answer belongs to."""

    registry: str
    key: Key
    call: Callable[[RegistryPeer], Answer]


def in_turn(asks: Iterable[Ask[Key, Answer]]) -> list[Ask[Key, Answer]]:
    """The asks of each registry in their order, one of each in turn: none is idle meanwhile."""
    by_registry: dict[str, list[Ask[Key, Answer]]] = {}
    for ask in asks:
        by_registry.setdefault(ask.registry, []).append(ask)
    turns = zip_longest(*by_registry.values())
    return [ask for turn in turns for ask in turn if ask is not None]


class Federation:
    """Registries that are still part of a linkage, with what each declared of itself."""

    def __init__(self, peers: Mapping[str, RegistryPeer], cancelled: threading.Event) -> None:
        self._peers = dict(sorted(peers.items()))
        self._cancelled = cancelled
        self._missing: dict[str, MissingRegistry] = {}
        self._apart: set[frozenset[str]] = set()
        self._cut = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(ASKED_AT_ONCE_MAX, thread_name_prefix="ask")
        self.descriptions: dict[str, Description] = {}

    @property
    def names(self) -> list[str]:
        """Names of all registries, also of those that were lost, sorted."""
        return list(self._peers)

    @property
    def present(self) -> list[str]:
        """Names of the registries still here, sorted."""
        with self._lock:
            return [name for name in self._peers if name not in self._missing]

    @property
    def missing(self) -> tuple[MissingRegistry, ...]:
        """Registries lost so far, by name."""
        with self._lock:
            return tuple(self._missing[name] for name in sorted(self._missing))

    @property
    def bytes_received(self) -> dict[str, int]:
        """Message bytes received from each registry."""
        return {name: peer.bytes_received for name, peer in self._peers.items()}

    def pairs(self) -> list[tuple[str, str]]:
        """Pairs of present registries that are linked; the smaller name is the left side."""
        return [
            pair for pair in combinations(self.present, 2) if frozenset(pair) not in self._apart
        ]

    def keep_apart(self, one: str, other: str) -> None:
        """Link two registries with the others, but not with each other."""
        with self._lock:
            self._apart.add(frozenset((one, other)))

    def lose(self, name: str, reason: str, detail: str) -> None:
        """Go on without a registry; the first reason stands."""
        with self._lock:
            self._missing.setdefault(name, MissingRegistry(name, reason, detail))

    def check(self, stage: str) -> None:
        """Raise if the linkage was cancelled or too few registries are left to link."""
        self.check_cancelled()
        present = self.present
        if len(present) >= REGISTRIES_MIN:
            return
        lost = "; ".join(
            f"{each.name}: {each.reason}{f' ({each.detail})' if each.detail else ''}"
            for each in self.missing
        )
        raise PreconditionError(
            Reason.TOO_FEW_REGISTRIES,
            f"{len(present)} of {len(self._peers)} registries left at {stage}. {lost}",
        )

    def check_cancelled(self) -> None:
        """Raise if the linkage was cancelled."""
        if self._cancelled.is_set():
            raise CancelledError(Reason.CANCELLED, "The linkage was cancelled.")

    def ask(
        self, asks: Iterable[Ask[Key, Answer]], *, ahead: int = ASKED_AT_ONCE_MAX
    ) -> Iterator[tuple[Key, Answer]]:
        """Call registries in parallel and yield the answers in the order asked.

        At most `ahead` answers are held. Calls of a registry that is or gets lost are left out.
        """
        waiting: deque[tuple[Ask[Key, Answer], Future[Answer | None]]] = deque()
        try:
            for ask in asks:
                self.check_cancelled()
                waiting.append((ask, self._pool.submit(self._call, ask)))
                if len(waiting) >= ahead:
                    yield from self._first(waiting)
            while waiting:
                yield from self._first(waiting)
        finally:
            for _, future in waiting:
                future.cancel()

    def ask_both(
        self, asks: Iterable[Ask[tuple[Key, str], Answer]], *, ahead: int = ASKED_AT_ONCE_MAX
    ) -> Iterator[tuple[Key, Answer, Answer]]:
        """Ask for both sides of a key, "left" directly before "right"; yield those with both."""
        left: tuple[Key, Answer] | None = None
        for (key, side), answer in self.ask(asks, ahead=ahead):
            if side == "left":
                left = (key, answer)
            elif left is not None and left[0] == key:
                yield key, left[1], answer

    def cut(self) -> None:
        """Cancel what is in flight; whoever waits for an answer gets an error."""
        self._cut.set()
        for peer in self._peers.values():
            peer.close()

    def close(self) -> None:
        """Cancel what is in flight and close all channels."""
        self.cut()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _first(
        self, waiting: deque[tuple[Ask[Key, Answer], Future[Answer | None]]]
    ) -> Iterator[tuple[Key, Answer]]:
        ask, future = waiting[0]
        answer = future.result()
        waiting.popleft()
        if answer is not None:
            yield ask.key, answer

    def _call(self, ask: Ask[Key, Answer]) -> Answer | None:
        with self._lock:
            if ask.registry in self._missing:
                return None
        try:
            self.check_cancelled()
            return ask.call(self._peers[ask.registry])
        except KinlinkError as error:
            self.check_cancelled()
            if is_own_fault(error):
                raise
            if self._cut.is_set():
                # We hung up: that is no fault of the registry.
                return None
            self.lose(ask.registry, error.reason, error.public)
            return None
