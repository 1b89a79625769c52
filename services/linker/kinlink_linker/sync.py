"""Keep in step with the registries: who fits, what their feeds tell, which epochs are over.

Linkages do this in their first stages; between linkages a background round does the same, so that a
deletion takes effect, and a registry's trouble shows, without anybody linking.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import structlog
from kinlink_core.errors import KinlinkError, Reason

from kinlink_linker.agreement import PROFILE_REASONS, Agreement, OwnProfile, agree
from kinlink_linker.collect import Collected, FeedReader, OpenedFeed
from kinlink_linker.duck import is_own_fault
from kinlink_linker.federation import REGISTRIES_MIN, Ask, Federation

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from kinlink_core.runtime.cards import Card
    from kinlink_core.runtime.metrics import LinkerMetrics

    from kinlink_linker.duck import DuckLimits
    from kinlink_linker.erasure import Eraser
    from kinlink_linker.journal import Journal
    from kinlink_linker.outbox import Outbox
    from kinlink_linker.peer import Description, RegistryPeer
    from kinlink_linker.registry_watch import RegistryWatch
    from kinlink_linker.tokens import TokenFile, TokenFiles

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Synchroniser:
    """Connects to registries and reads their feeds."""

    own: OwnProfile
    passes: int
    limits: DuckLimits
    files: TokenFiles
    eraser: Eraser
    outbox: Outbox
    watch: RegistryWatch
    metrics: LinkerMetrics
    verify_card: Callable[[str, Card], None]
    journal: Journal

    def connect(self, federation: Federation) -> str:
        """Ask every registry for its profile and drop those that do not fit.

        Returns:
            The epoch all that are left serve.

        Raises:
            PreconditionError: TOO_FEW_REGISTRIES.
        """
        agreement = self._agree(federation)
        for refused in agreement.refused:
            federation.lose(refused.name, refused.reason, refused.detail)
        federation.check("connect")
        return agreement.epoch

    def sync_one(
        self,
        peer: RegistryPeer,
        file: TokenFile,
        epoch: str,
        progress: Callable[[int, int], None] = lambda _events, _expected: None,
    ) -> Collected:
        """Deliver what waits for a registry, and read its feed to the end."""
        self._deliver_to(peer)
        reader = FeedReader(peer, file, epoch, self.passes, erase=self._erase, progress=progress)
        return reader.sync()

    def follow_one(self, peer: RegistryPeer, epoch: str, wait_seconds: float) -> bool:
        """Wait for what a registry's feed tells next, and store it; False if the epoch is over.

        Neither the file nor the feed is held while nothing comes.
        """
        if epoch not in self.files.epochs():
            return False
        with self.files.borrowed(epoch) as file:
            after = file.position(peer.name)
        opened = OpenedFeed.of(peer, epoch, after, wait_seconds)
        header = opened.header
        if not header.rows and (header.feed_id, header.last_sequence) == (
            after.feed_id,
            after.sequence,
        ):
            return True
        with self.files.borrowed(epoch) as file:
            FeedReader(peer, file, epoch, self.passes, erase=self._erase).take(opened)
        return True

    def collected(self, name: str, collected: Collected, file: TokenFile) -> None:
        """Note that a feed was read to its end."""
        self.watch.synced(name, collected, file.rows_of(name))

    def round(self, peers: Mapping[str, RegistryPeer], stopping: threading.Event) -> None:
        """One background round over all registries; what fails is noted, not raised.

        Every epoch is read that links may stand on, not only the one a linkage would use now:
        deletions are told in the epoch of the deleted subject.
        """
        federation = Federation(peers, stopping)
        try:
            agreement = self._agree(federation)
            kept = {agreement.epoch, *self.files.epochs()} - {""}
            asks = [
                Ask(name, (name, epoch), partial(self._sync_epoch, epoch))
                for name, epoch in agreement.readable
                if epoch in kept
            ]
            for (name, epoch), (collected, tokens) in federation.ask(asks):
                if epoch == agreement.epoch:
                    self.watch.synced(name, collected, tokens)
            self.deliver(federation)
            self._retire(federation, agreement.epoch)
            self._forget_strangers(federation)
        except KinlinkError as error:
            if error.reason is not Reason.CANCELLED:
                _log.warning("sync_failed", reason=error.reason, detail=error.detail)
        finally:
            self.note_lost(federation)
            for name, received in federation.bytes_received.items():
                self.metrics.received_bytes.labels(name).inc(received)
            federation.close()

    def deliver(self, federation: Federation) -> None:
        """Tell every registry that is here what waits for it."""
        asks = [
            Ask(name, name, self._deliver_to)
            for name in federation.present
            if self.outbox.waiting(name)
        ]
        for name, told in federation.ask(asks):
            _log.info("notices_delivered", registry=name, notices=told)

    def note_lost(self, federation: Federation) -> None:
        """Note the registries that failed a call."""
        for lost in federation.missing:
            if lost.reason not in PROFILE_REASONS | {Reason.PURPOSE_REFUSED}:
                self.watch.lost(lost.name, lost.reason, lost.detail)

    def _deliver_to(self, peer: RegistryPeer) -> int:
        """Deliver what can be delivered; a notice that is not taken must not end a linkage."""
        try:
            return self.outbox.deliver(peer)
        except KinlinkError as error:
            if is_own_fault(error):
                raise
            _log.warning("notice_waits", registry=peer.name, reason=error.reason)
            return 0

    def _agree(self, federation: Federation) -> Agreement:
        asks = [Ask(name, name, self._describe) for name in federation.present]
        federation.descriptions.update(federation.ask(asks))
        for one, other in combinations(sorted(federation.descriptions), 2):
            side = federation.descriptions[one].side
            if side and side == federation.descriptions[other].side:
                federation.keep_apart(one, other)
        agreement = agree(self.own, federation.descriptions)
        refused = {each.name: each for each in agreement.refused}
        for name, description in federation.descriptions.items():
            if name in refused:
                self.watch.refused(name, description, refused[name].reason, refused[name].detail)
            else:
                self.watch.ready(name, description, agreement.epoch)
        return agreement

    def _describe(self, peer: RegistryPeer) -> Description:
        description = peer.describe()
        self.verify_card(peer.name, description.card)
        return description

    def _sync_epoch(self, epoch: str, peer: RegistryPeer) -> tuple[Collected, int]:
        with self.files.borrowed(epoch) as file:
            return self.sync_one(peer, file, epoch), file.rows_of(peer.name)

    def _erase(self, registry: str, subjects: Sequence[bytes]) -> None:
        links = self.eraser.erase(registry, subjects)
        self.metrics.removed_links.labels("deleted").inc(links)
        self.journal.erased(registry, len(subjects), links)
        _log.info("people_erased", registry=registry, people=len(subjects), links=links)

    def _forget_strangers(self, federation: Federation) -> None:
        """Delete the tokens of registries that were revoked, or that retired an epoch.

        Of a registry that is away nothing is known, so its tokens stay until it answers.
        """
        for epoch in self.files.epochs():
            gone = {
                name
                for name, each in federation.descriptions.items()
                if all(profile.epoch != epoch for profile in each.profiles)
            }
            dropped = self.files.keep_only(epoch, set(federation.names) - gone)
            if dropped:
                _log.info("tokens_deleted", epoch=epoch, registries=dropped)

    def _retire(self, federation: Federation, epoch: str) -> None:
        """Delete the tokens of epochs that fewer than two registries still serve.

        Only what registries say counts; one that is away is asked again when it returns.
        """
        described = federation.descriptions
        serving = {
            old: sum(any(p.epoch == old for p in each.profiles) for each in described.values())
            for old in self.files.epochs()
            if old != epoch
        }
        over = [old for old, registries in serving.items() if registries < REGISTRIES_MIN]
        if over:
            self.files.retire(over)
            _log.info("epochs_retired", epochs=over)
