"""One linkage from its first call to its last: the stages of the design, in their order.

A stage works on what the stage before it left in memory; nothing but tokens and links reaches the
disk. A registry that fails is left behind at any stage; the linkage fails only with fewer than two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kinlink_linker.assess import Linked, assess
from kinlink_linker.board import Board, CrowdsOnBoard
from kinlink_linker.candidates import Finder
from kinlink_linker.chance import chance_levels
from kinlink_linker.disclose import Discloser
from kinlink_linker.exchange import exchange_decisions
from kinlink_linker.federation import Ask
from kinlink_linker.kept import Kept
from kinlink_linker.links import rule_of
from kinlink_linker.model import Model
from kinlink_linker.patterns import patterns_of
from kinlink_linker.publish import Publisher
from kinlink_linker.score import all_m_given
from kinlink_linker.seal import Sealer
from kinlink_linker.sieve import Siever
from kinlink_linker.weigh import by_pass, weigh

if TYPE_CHECKING:
    from kinlink_linker.candidates import PairIslands
    from kinlink_linker.collect import Collected
    from kinlink_linker.domain import U8, LinkageOrder
    from kinlink_linker.engine import Engine
    from kinlink_linker.link_writer import LinkWriter
    from kinlink_linker.links import FoundLinks, ScoredPairs
    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.quality import Quality
    from kinlink_linker.run import Run
    from kinlink_linker.scorer import Scorer
    from kinlink_linker.seal import ComparedPairs
    from kinlink_linker.sieve import CandidatePairs
    from kinlink_linker.standing import Standing
    from kinlink_linker.state_tables import ModelTable
    from kinlink_linker.store import Store
    from kinlink_linker.sync import Synchroniser
    from kinlink_linker.tokens import TokenFile


# A model learns from a random sample of each pass's pairs if it has so many.
SAMPLE_MIN = 200


@dataclass(frozen=True)
class Workshop:
    """What all linkages of a linker share."""

    sync: Synchroniser
    store: Store
    writer: LinkWriter
    models: ModelTable
    sealed_pairs_max: int
    engine: Engine
    standing: Standing


@dataclass
class Result:
    """What a linkage has come to so far; read by others while it runs."""

    candidate_pairs: int = 0
    disclosed_pairs: int = 0
    links: int = 0
    persons: int = 0
    em_iterations: int = 0
    lost_links: int = 0
    quality: Quality | None = None


class Job:
    """Runs one linkage. Its `run` and `result` may be read meanwhile."""

    def __init__(
        self, shop: Workshop, order: LinkageOrder, run: Run, *, again: bool = False
    ) -> None:
        """`again`: a linkage that ended is brought up to date, with the model that it had."""
        self.run = run
        self.result = Result()
        self._shop = shop
        self._order = order
        self._again = again
        self._board = Board()

    def work(self) -> None:
        """Link; raises a `KinlinkError` if the linkage fails or is cancelled."""
        run, stage = self.run, self.run.progress.stage
        model = self._loaded_model()
        with stage("connect"):
            run.epoch = self._shop.sync.connect(run.federation)
        standing = self._shop.standing
        with standing.changes_kept_for(self):
            with self._shop.sync.files.borrowed(run.epoch) as file:
                with stage("collect"):
                    self._collect(file)
                # What the candidates do not hold yet is looked at afterwards.
                standing.changes_from_now(self)
                with stage("candidates"):
                    islands = self._find(file)
            with stage("sieve"):
                candidates = self._sieve(islands)
            with stage("chance"):
                chance = self._chance(model)
            with stage("seal"):
                compared = self._seal(candidates)
            with stage("score"), self._shop.engine.scorer() as scorer:
                model = model or self._train(scorer, compared, chance)
                scored = self._score(scorer, compared, model)
            with stage("disclose"):
                found = Discloser(run).disclose(scored, rule_of(self._order, run.schema))
                run.federation.check("disclose")
                self.result.quality = self._assess(compared, model, found)
            with standing.turn():
                with stage("persons"):
                    told = self._write(found)
                if standing.enabled:
                    standing.take_over(self, self._kept(found, model))
            with stage("publish"):
                Publisher(run, self._shop.store).publish(found, told)
                self._shop.sync.deliver(run.federation)

    def _kept(self, found: list[FoundLinks], model: Model) -> Kept:
        for each in found:
            self._board.put(each)
        return Kept(
            self.run.linkage_id,
            self.run.epoch,
            self._order,
            model,
            self._board,
            whole=not self.run.federation.missing,
        )

    def _loaded_model(self) -> Model | None:
        if not self._order.model:
            return None
        _, body = self._shop.models.get(self._order.model)
        return Model.from_json(body, self.run.schema)

    def _collect(self, file: TokenFile) -> None:
        federation = self.run.federation
        sync = partial(self._sync_one, file)
        for name, collected in federation.ask([Ask(n, n, sync) for n in federation.present]):
            self._shop.sync.collected(name, collected, file)
        federation.check("collect")
        exchange_decisions(self.run)
        federation.check("collect")

    def _sync_one(self, file: TokenFile, peer: RegistryPeer) -> Collected:
        return self._shop.sync.sync_one(peer, file, self.run.epoch, self._fed)

    def _fed(self, events: int, expected: int) -> None:
        self.run.federation.check_cancelled()
        self.run.progress.expect(expected)
        self.run.progress.advance(events)

    def _find(self, file: TokenFile) -> list[PairIslands]:
        crowds = CrowdsOnBoard(self._board) if self._shop.standing.enabled else None
        islands = Finder(
            self.run, file, self._shop.sync.limits, self._shop.engine.split, crowds
        ).find()
        self.run.federation.check("candidates")
        return islands

    def _sieve(self, islands: list[PairIslands]) -> list[CandidatePairs]:
        candidates = Siever(self.run).sieve(islands)
        self.result.candidate_pairs = sum(each.count for each in candidates)
        self.run.federation.check("sieve")
        return candidates

    def _chance(self, model: Model | None) -> U8:
        """Chance levels, which only training needs."""
        if model is not None:
            return np.empty((0, len(self.run.schema.fields)), np.uint8)
        levels = chance_levels(self.run)
        self.run.federation.check("chance")
        return levels

    def _seal(self, candidates: list[CandidatePairs]) -> list[ComparedPairs]:
        compared = Sealer(self.run).compare(candidates, self._shop.sealed_pairs_max)
        self.run.federation.check("seal")
        return compared

    def _train(self, scorer: Scorer, compared: list[ComparedPairs], chance: U8) -> Model:
        levels = {
            self.run.schema.passes[index].id: _learnt_from(
                of_pass, every=all_m_given(self.run.schema)
            )
            for index, of_pass in by_pass(compared).items()
        }
        held = {name: each.records for name, each in self.run.federation.descriptions.items()}
        couples = [(held[left], held[right]) for left, right in self.run.federation.pairs()]
        return scorer.train(self.run.schema, levels, chance, couples, progress=self._training)

    def _training(self, _pass_id: str) -> None:
        self.run.federation.check_cancelled()
        self.run.progress.expect(1)
        self.run.progress.advance()

    def _score(
        self, scorer: Scorer, compared: list[ComparedPairs], model: Model
    ) -> list[ScoredPairs]:
        self.result.em_iterations = model.em_iterations
        if not self._again:
            self._shop.models.save(self.run.linkage_id, model.to_json())
        return weigh(self.run, scorer, compared, model)

    def _assess(
        self, compared: list[ComparedPairs], model: Model, found: list[FoundLinks]
    ) -> Quality:
        federation = self.run.federation
        patterns = patterns_of(self.run.schema, model, compared, federation.pairs())
        records = {name: each.records for name, each in federation.descriptions.items()}
        linked = Linked(found, rule_of(self._order, self.run.schema).weight_min, records)
        return assess(self.run.schema, patterns, self.run.tally.snapshot(), linked)

    def _write(self, found: list[FoundLinks]) -> frozenset[str] | None:
        """Store the links; the ones that registries have to hear of, None if all."""
        if self._again:
            return self._shop.writer.update(
                self.run.linkage_id,
                self.run.epoch,
                found,
                covered=self.run.federation.pairs(),
                fallen=None,
                rule=rule_of(self._order, self.run.schema),
            ).told
        written = self._shop.writer.write(
            self.run.linkage_id,
            self.run.epoch,
            found,
            self.run.federation.pairs(),
            [each.name for each in self.run.federation.missing],
        )
        self.result.disclosed_pairs = written.disclosed
        self.result.links = written.links
        self.result.persons = written.persons
        self.result.lost_links = written.lost
        return None


def _learnt_from(of_pass: list[ComparedPairs], *, every: bool) -> U8:
    """Levels of the sample of a pass; of all its pairs if that is wanted, or it is too small."""
    sample = [pairs.levels for pairs in of_pass if pairs.sampled]
    if every or sum(map(len, sample)) < SAMPLE_MIN:
        sample = [pairs.levels for pairs in of_pass]
    return np.concatenate(sample)
