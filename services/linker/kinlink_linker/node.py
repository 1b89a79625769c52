"""A linker's parts behind one door: stores, background rounds, linkages, verdicts."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog
from kinlink_core.errors import KinlinkError, NotFoundError

from kinlink_linker import score
from kinlink_linker.calibration import calibration
from kinlink_linker.case_table import CaseTable
from kinlink_linker.engine import DuckEngine
from kinlink_linker.erasure import Eraser
from kinlink_linker.job import Workshop
from kinlink_linker.job_metrics import JobMetrics
from kinlink_linker.link_table import LinkTable
from kinlink_linker.link_writer import LinkWriter
from kinlink_linker.linkage_table import LinkageTable
from kinlink_linker.linkages import Linkages
from kinlink_linker.model import Model
from kinlink_linker.outbox import Outbox
from kinlink_linker.peer import Errand
from kinlink_linker.person_table import PersonTable
from kinlink_linker.registry_watch import RegistryWatch
from kinlink_linker.standing import Standing
from kinlink_linker.state_tables import ModelTable, RegistryTable
from kinlink_linker.store import Store
from kinlink_linker.sync import Synchroniser
from kinlink_linker.tokens import TokenFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kinlink_core.encoding.schema import Schema
    from kinlink_core.runtime.cards import Card
    from kinlink_core.runtime.metrics import LinkerMetrics

    from kinlink_linker.agreement import OwnProfile
    from kinlink_linker.case_table import CandidatePage
    from kinlink_linker.domain import Link, PairState, RuledOutBy, Verdict
    from kinlink_linker.duck import DuckLimits
    from kinlink_linker.engine import Engine
    from kinlink_linker.journal import Journal
    from kinlink_linker.link_table import ScoredLink
    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.quality import CalibrationBand
    from kinlink_linker.score import FieldEvidence

DELIVERY_SECONDS = 10.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class NodeLimits:
    """What a linker may use."""

    duck: DuckLimits
    sealed_pairs_max: int
    linkages_at_once: int
    linkages_kept: int
    standing: bool = False


@dataclass(frozen=True)
class ExplainedLink:
    """A link and the sum that gave its weight."""

    link: Link
    evidence: list[FieldEvidence]
    prior_weight: float


@dataclass(frozen=True)
class ExplainedCase:
    """A case with a page of its candidates, each with the sum that gave its weight."""

    page: CandidatePage
    candidates: list[ExplainedLink]


class Node:
    """Everything a linker keeps and does, behind one door."""

    def __init__(
        self,
        home: Path,
        schema: Schema,
        own: OwnProfile,
        limits: NodeLimits,
        metrics: LinkerMetrics,
        *,
        registries: Sequence[str],
        dial: Callable[[str, Errand], RegistryPeer],
        verify_card: Callable[[str, Card], None],
        journal: Journal,
        engine: Engine | None = None,
    ) -> None:
        self.schema = schema
        self.metrics = metrics
        self._registries = tuple(sorted(registries))
        self._dial = dial
        self._store = Store(home, limits.duck)
        self._files = TokenFiles(home, limits.duck)
        self.links = LinkTable(self._store, registries, [each.name for each in schema.fields])
        self.cases = CaseTable(self._store, self.links)
        self.persons = PersonTable(self._store)
        self.models = ModelTable(self._store)
        pass_ids = [each.id for each in schema.passes]
        self._writer = LinkWriter(self._store, pass_ids, limits.linkages_kept)
        self._outbox = Outbox(self._store)
        self._job_metrics = JobMetrics(metrics, self.links, self.persons, self.cases)
        self.watch = RegistryWatch(RegistryTable(self._store), metrics, registries)
        self.sync = Synchroniser(
            own=own,
            passes=len(schema.passes),
            limits=limits.duck,
            files=self._files,
            eraser=Eraser(self._store),
            outbox=self._outbox,
            watch=self.watch,
            metrics=metrics,
            verify_card=verify_card,
            journal=journal,
        )
        self.standing = Standing(
            schema,
            metrics,
            registries,
            dial,
            enabled=limits.standing,
            stock=self._job_metrics.stock,
        )
        self._files.listener = self.standing.note
        self._table = LinkageTable(self._store)
        self._shop = Workshop(
            self.sync,
            self._store,
            self._writer,
            self.models,
            limits.sealed_pairs_max,
            engine or DuckEngine(),
            self.standing,
        )
        self.linkages = Linkages(
            self._shop,
            schema,
            self._table,
            self._job_metrics,
            registries=registries,
            dial=dial,
            at_once=limits.linkages_at_once,
            ended=journal.ended,
        )
        self._stopping = threading.Event()
        self._rounds = threading.Thread(target=self._keep_in_step, name="sync", daemon=True)
        self._sync_seconds = 0.0

    def start(self, sync_seconds: float) -> None:
        """Take up where an earlier process stopped, and begin the background rounds."""
        self.linkages.recover()
        self._job_metrics.stock()
        self._sync_seconds = sync_seconds
        self._rounds.start()
        self.standing.start(self._shop, self._table.standing())

    def stop(self, seconds: float) -> None:
        """End linkages and rounds, then close the stores."""
        self._stopping.set()
        self.linkages.stop(seconds)
        self.standing.stop()
        if self._rounds.is_alive():
            self._rounds.join(seconds)
        self._files.close()
        self._store.close()

    def explain(self, link_id: str) -> ExplainedLink:
        """One link with its evidence, computed from its levels and the model that scored it."""
        found = self.links.get(link_id)
        return self._explained(found, self._model(found.model))

    def explain_case(
        self,
        registry: str,
        subject: bytes,
        *,
        touching: str = "",
        states: tuple[PairState, ...] = (),
        size: int = 0,
        token: str = "",
    ) -> ExplainedCase:
        """One case with a page of its candidates and their evidence; see `CaseTable.get`."""
        page = self.cases.get(
            registry, subject, touching=touching, states=states, size=size, token=token
        )
        models = {name: self._model(name) for name in {each.model for each in page.candidates}}
        return ExplainedCase(
            page, [self._explained(each, models[each.model]) for each in page.candidates]
        )

    def decide(
        self,
        link_id: str,
        verdict: Verdict,
        reason: str,
        decided_by: str,
        ruled_out_by: RuledOutBy | None = None,
    ) -> Link:
        """Record a verdict and tell both registries; who is away is told later."""
        link = self.links.get(link_id).link
        self._writer.decide(link_id, verdict, reason, decided_by, ruled_out_by)
        self.metrics.verdicts.labels(verdict.lower()).inc()
        self._job_metrics.stock()
        threads = [
            threading.Thread(target=self._deliver, args=(name,), daemon=True)
            for name in (link.registry_l, link.registry_r)
            if name in self._registries
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DELIVERY_SECONDS)
        return self.links.get(link_id).link

    def calibration(self, linkage_id: str) -> tuple[CalibrationBand, ...]:
        """What verdicts say of the probabilities of a linkage."""
        return calibration(self._store, linkage_id)

    def is_linkage(self, name: str) -> bool:
        """Whether a name is a linkage's id."""
        try:
            self.linkages.get(name)
        except NotFoundError:
            return False
        return True

    @property
    def store_bytes(self) -> int:
        """Bytes of all the linker's files."""
        return self._store.size_bytes + self._files.size_bytes

    def _model(self, name: str) -> Model:
        _, body = self.models.get(name)
        return Model.from_json(body, self.schema)

    def _explained(self, found: ScoredLink, model: Model) -> ExplainedLink:
        levels = np.frombuffer(found.levels, np.uint8)
        evidence = score.evidence(self.schema, model, found.link.pass_id, levels)
        return ExplainedLink(found.link, evidence, model.passes[found.link.pass_id].prior_weight)

    def _deliver(self, name: str) -> None:
        try:
            peer = self._dial(name, Errand())
            try:
                self._outbox.deliver(peer)
            finally:
                peer.close()
        except KinlinkError as error:
            _log.warning("notice_waits", registry=name, reason=error.reason)

    def _keep_in_step(self) -> None:
        while not self._stopping.is_set():
            try:
                peers = {name: self._dial(name, Errand()) for name in self._registries}
                self.sync.round(peers, self._stopping)
            except KinlinkError as error:
                _log.warning("sync_failed", reason=error.reason, detail=error.detail)
            except Exception:  # noqa: BLE001 - one bad round must not end the next ones
                _log.exception("sync_broke")
            self._stopping.wait(self._sync_seconds)
