"""The epochs of a key server: made, served, retired. A name is never used twice.

Seeds lie in files of their own, sealed under the key file; the ledger remembers every epoch there
ever was, so that a seed that has gone missing is noticed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kinlink_core.errors import ConflictError, KinlinkError, NotFoundError, Reason
from kinlink_core.runtime.epochs import EpochFiles, check_epoch
from kinlink_core.runtime.sealing import Sealer

from kinlink_keyserver import evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kinlink_core.runtime.key_source import KeySource

    from kinlink_keyserver.evaluation import PassKey
    from kinlink_keyserver.ledger import Ledger

# Registries serve two in an overlap; the next one is made before the oldest goes.
EPOCHS_MAX: Final = 3
SEAL_STORE: Final = "key server"


@dataclass(frozen=True)
class ServedEpoch:
    """An open epoch: the key of each pass, and its public half (32 bytes)."""

    name: str
    keys: Mapping[str, PassKey]
    public_keys: Mapping[str, bytes]


class Epochs:
    """The epochs of one home; other processes may change the files, so every question looks."""

    def __init__(
        self, files: EpochFiles, ledger: Ledger, federation: str, passes: Sequence[str]
    ) -> None:
        self._files = files
        self._ledger = ledger
        self._federation = federation
        self._passes = tuple(passes)
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[tuple[int, int], ServedEpoch]] = {}

    def create(self, epoch: str) -> None:
        """Make the seed of a new epoch: 32 fresh random bytes."""
        if check_epoch(epoch) in {each.name for each in self._ledger.epochs()}:
            raise ConflictError(
                Reason.CONFIG_INVALID,
                f"There was an epoch {epoch!r} already; registries would refuse another key.",
            )
        self._files.keep(epoch, evaluation.new_seed())
        self._ledger.note_created(epoch)

    def seed(self, epoch: str) -> bytes:
        """The seed of an epoch, for escrow alone; 32 bytes."""
        return self._files.read(epoch)

    def restore(self, epoch: str, seed: bytes) -> None:
        """Put back the seed of an epoch that has lost it.

        Raises:
            ConflictError: `CONFIG_INVALID`: the epoch is retired, or its seed is here.
        """
        if check_epoch(epoch) in {each.name for each in self._ledger.epochs() if each.retired_at}:
            raise ConflictError(Reason.CONFIG_INVALID, f"Epoch {epoch!r} is retired for good.")
        self._files.keep(epoch, seed)
        self._ledger.note_created(epoch)

    def retire(self, epoch: str) -> None:
        """Destroy an epoch's seed; nothing can be evaluated under it again."""
        known = {each.name for each in self._ledger.epochs()}
        if check_epoch(epoch) not in known | set(self._files.names()):
            raise NotFoundError(Reason.EPOCH_UNKNOWN, f"There is no epoch {epoch!r} here.")
        self._ledger.note_retired(epoch)
        if self._files.stamp(epoch) is not None:
            self._files.destroy(epoch)

    def live(self) -> list[str]:
        """Epochs that are not retired, newest first, whether their seed is here or not."""
        entries, here = self._ledger.epochs(), set(self._files.names())
        retired = {each.name for each in entries if each.retired_at}
        self._forget_all_but(here - retired)
        return sorted(({each.name for each in entries} | here) - retired, reverse=True)

    def served(self) -> list[ServedEpoch]:
        """The epochs that can be evaluated under, newest first."""
        return [found for found in map(self._try, self.live()) if found is not None]

    def missing(self) -> list[str]:
        """Live epochs whose seed is gone, damaged, or sealed under another key."""
        return [name for name in self.live() if self._try(name) is None]

    def get(self, epoch: str) -> ServedEpoch:
        """One epoch to evaluate under; `NotFoundError` where it is not served."""
        found = self._try(epoch) if epoch in self.live() else None
        if found is None:
            raise NotFoundError(Reason.EPOCH_UNKNOWN)
        return found

    def _try(self, epoch: str) -> ServedEpoch | None:
        try:
            return self._open(epoch)
        except KinlinkError:
            return None

    def _open(self, epoch: str) -> ServedEpoch:
        """Read a seed where its file is not the one that was read before."""
        stamp = self._files.stamp(epoch)
        with self._lock:
            known = self._opened.get(epoch)
        if known is not None and known[0] == stamp:
            return known[1]
        seed = self._files.read(epoch)
        keys = {
            each: evaluation.pass_key(seed, federation=self._federation, epoch=epoch, pass_id=each)
            for each in self._passes
        }
        public = {each: evaluation.public_key(key) for each, key in keys.items()}
        opened = ServedEpoch(epoch, keys, public)
        if stamp is not None:
            with self._lock:
                self._opened[epoch] = (stamp, opened)
        return opened

    def _forget_all_but(self, names: set[str]) -> None:
        with self._lock:
            for gone in set(self._opened) - names:
                del self._opened[gone]


def open_epochs(
    folder: Path, key: KeySource, ledger: Ledger, federation: str, passes: Sequence[str]
) -> Epochs:
    """The epochs in a folder, opened with the key of a source."""
    sealer = Sealer(key.read(), SEAL_STORE)
    return Epochs(EpochFiles(folder, sealer, "seed", EPOCHS_MAX), ledger, federation, passes)
