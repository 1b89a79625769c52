"""One linkage from its first call to its last: the stages of the design, in their order.

A stage works on what the stage before it left in memory; nothing but tokens and links reaches the
disk. A registry that fails is left behind at any stage; the linkage fails only with fewer than two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.schema import LinkType

from kinlink_linker.assess import Linked, assess
from kinlink_linker.candidates import Finder
from kinlink_linker.chance import chance_levels
from kinlink_linker.disclose import Discloser
from kinlink_linker.exchange import exchange_decisions
from kinlink_linker.federation import Ask
from kinlink_linker.links import LinkRule, ScoredPairs, probability_of
from kinlink_linker.model import Model
from kinlink_linker.patterns import patterns_of
from kinlink_linker.publish import Publisher
from kinlink_linker.seal import Sealer
from kinlink_linker.sieve import Siever

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.candidates import PairIslands
    from kinlink_linker.collect import Collected
    from kinlink_linker.domain import I64, U8, LinkageOrder
    from kinlink_linker.engine import Engine
    from kinlink_linker.link_writer import LinkWriter
    from kinlink_linker.links import FoundLinks
    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.quality import Quality
    from kinlink_linker.run import Run
    from kinlink_linker.score import Scores
    from kinlink_linker.scorer import Scorer
    from kinlink_linker.seal import ComparedPairs
    from kinlink_linker.sieve import CandidatePairs
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

    def __init__(self, shop: Workshop, order: LinkageOrder, run: Run) -> None:
        self.run = run
        self.result = Result()
        self._shop = shop
        self._order = order

    def work(self) -> None:
        """Link; raises a `KinlinkError` if the linkage fails or is cancelled."""
        run, stage = self.run, self.run.progress.stage
        model = self._loaded_model()
        with stage("connect"):
            run.epoch = self._shop.sync.connect(run.federation)
        with self._shop.sync.files.borrowed(run.epoch) as file:
            with stage("collect"):
                self._collect(file)
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
            found = Discloser(run).disclose(scored, self._rule())
            run.federation.check("disclose")
            self.result.quality = self._assess(compared, model, found)
        with stage("persons"):
            self._write(found)
        with stage("publish"):
            Publisher(run, self._shop.store).publish(found)
            self._shop.sync.deliver(run.federation)

    @staticmethod
    def threshold(order: LinkageOrder, schema: Schema) -> float:
        """The threshold that an order comes to, as a probability."""
        if order.threshold.weight is not None:
            return probability_of(order.threshold.weight)
        if order.threshold.probability is not None:
            return order.threshold.probability
        return schema.threshold_probability

    def _rule(self) -> LinkRule:
        one_to_one = self.run.schema.link_type is LinkType.ONE_TO_ONE
        if self._order.threshold.weight is not None:
            return LinkRule(self._order.threshold.weight, one_to_one)
        probability = self.threshold(self._order, self.run.schema)
        return LinkRule.from_probability(probability, one_to_one=one_to_one)

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
        islands = Finder(self.run, file, self._shop.sync.limits, self._shop.engine.split).find()
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
            self.run.schema.passes[index].id: _learnt_from(of_pass)
            for index, of_pass in _by_pass(compared).items()
        }
        return scorer.train(self.run.schema, levels, chance, self._training)

    def _training(self, _pass_id: str) -> None:
        self.run.federation.check_cancelled()
        self.run.progress.expect(1)
        self.run.progress.advance()

    def _score(
        self, scorer: Scorer, compared: list[ComparedPairs], model: Model
    ) -> list[ScoredPairs]:
        self.result.em_iterations = model.em_iterations
        self._shop.models.save(self.run.linkage_id, model.to_json())
        grouped: dict[tuple[str, str], list[ScoredPairs]] = {}
        for index, of_pass in sorted(_by_pass(compared).items()):
            self.run.federation.check_cancelled()
            kept = scorer.score(
                self.run.schema,
                model,
                self.run.schema.passes[index].id,
                np.concatenate([pairs.levels for pairs in of_pass]),
                self.run.schema.disclosure_floor_probability,
            )
            starts = np.cumsum([0, *(pairs.count for pairs in of_pass)])
            cuts = np.searchsorted(kept.rows, starts)
            for number, pairs in enumerate(of_pass):
                part = slice(cuts[number], cuts[number + 1])
                scored = _scored(pairs, kept.rows[part] - starts[number], kept.scores.part(part))
                grouped.setdefault((pairs.left, pairs.right), []).append(scored)
        return [ScoredPairs.concatenate(parts) for _, parts in sorted(grouped.items())]

    def _assess(
        self, compared: list[ComparedPairs], model: Model, found: list[FoundLinks]
    ) -> Quality:
        federation = self.run.federation
        patterns = patterns_of(self.run.schema, model, compared, federation.pairs())
        records = {name: each.records for name, each in federation.descriptions.items()}
        linked = Linked(found, self._rule().weight_min, records)
        return assess(self.run.schema, patterns, self.run.tally.snapshot(), linked)

    def _write(self, found: list[FoundLinks]) -> None:
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


def _learnt_from(of_pass: list[ComparedPairs]) -> U8:
    """Levels of the sample of a pass; of all its pairs if the sample is too small."""
    sample = [pairs.levels for pairs in of_pass if pairs.sampled]
    if sum(map(len, sample)) < SAMPLE_MIN:
        sample = [pairs.levels for pairs in of_pass]
    return np.concatenate(sample)


def _by_pass(compared: list[ComparedPairs]) -> dict[int, list[ComparedPairs]]:
    found: dict[int, list[ComparedPairs]] = {}
    for pairs in compared:
        found.setdefault(pairs.pass_index, []).append(pairs)
    return found


def _scored(pairs: ComparedPairs, rows: I64, scores: Scores) -> ScoredPairs:
    return ScoredPairs(
        pairs.left,
        pairs.right,
        np.full(len(rows), pairs.pass_index, np.uint16),
        pairs.left_handle[rows],
        pairs.right_handle[rows],
        pairs.left_tag[rows],
        pairs.right_tag[rows],
        pairs.levels[rows],
        scores.weight,
        scores.probability,
    )
