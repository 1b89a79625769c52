"""A whole linker in memory for tests, with fake registries around it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.errors import UnavailableError
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.metrics import LinkerMetrics
from kinlink_linker import score
from kinlink_linker.agreement import OwnProfile
from kinlink_linker.domain import Linkage, LinkageOrder, LinkageState, Threshold
from kinlink_linker.duck import DuckLimits
from kinlink_linker.journal import Journal
from kinlink_linker.model import LevelParameters, Model, PassModel, level_labels
from kinlink_linker.node import Node, NodeLimits
from prometheus_client import CollectorRegistry
from unit.linker.fake_registry import FEDERATION, SCHEMA, FakePeer, FakeRegistry, Person

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_linker.engine import Engine
    from kinlink_linker.peer import Errand

MODEL = "given"
PLACES = ("aa", "bb", "cc", "dd", "ee")


def person(who: int) -> Person:
    """A person whose name and date nobody shares; places are shared."""
    day = f"19{50 + who % 50}{1 + who % 12:02}{1 + who % 28:02}"
    return Person(who, f"name{who}", day, PLACES[who % len(PLACES)])


def registries(*names: str, people: range = range(60)) -> list[FakeRegistry]:
    """Registries that all hold the same people."""
    found = []
    for name in names:
        registry = FakeRegistry(name)
        for who in people:
            registry.add(f"{name}-{who}", person(who))
        found.append(registry)
    return found


def given_model() -> Model:
    """A model nobody trained: agreement counts for, disagreement against."""
    passes = {}
    for each in SCHEMA.passes:
        fields = {}
        for compared in SCHEMA.fields:
            if compared.name in each.fixed_fields:
                continue
            labels = level_labels(SCHEMA, compared.name)
            last = len(labels) - 1
            fields[compared.name] = tuple(
                LevelParameters(label, 0.9 / last, 0.02 / last)
                if index < last
                else LevelParameters(label, 0.1, 0.98)
                for index, label in enumerate(labels)
            )
        passes[each.id] = PassModel(each.id, 0.3, fields)
    return Model("fake", passes, 7, 100)


class Centre:
    """A node and the registries it knows."""

    def __init__(
        self,
        home: Path,
        fakes: list[FakeRegistry],
        engine: Engine | None = None,
        **limits: int,
    ) -> None:
        self.home = home
        self.fakes = {each.name: each for each in fakes}
        self.peers: list[FakePeer] = []
        own = OwnProfile(FEDERATION, fakes[0].schema.fingerprint(), "v1", "plain")
        self.metrics = LinkerMetrics(CollectorRegistry())
        self.journal = Journal(AuditLog(home / "audit.jsonl"))
        self.node = Node(
            home,
            fakes[0].schema,
            own,
            NodeLimits(
                DuckLimits("256MB", 1),
                limits.get("sealed_pairs_max", 1_000_000),
                limits.get("linkages_at_once", 2),
                limits.get("linkages_kept", 20),
                standing=bool(limits.get("standing", 0)),
            ),
            self.metrics,
            registries=list(self.fakes),
            dial=self.dial,
            verify_card=lambda _name, _card: None,
            journal=self.journal,
            engine=engine,
        )
        self.node.models.save(MODEL, given_model().to_json())

    def dial(self, name: str, errand: Errand | None = None) -> FakePeer:
        if "dial" in self.fakes[name].before:
            raise UnavailableError
        peer = self.fakes[name].peer(errand)
        self.peers.append(peer)
        return peer

    def start(self, **order: object) -> Linkage:
        threshold = order.pop("threshold", None) or Threshold()
        order.setdefault("model", MODEL)
        return self.node.linkages.create(LinkageOrder(threshold, **order))  # type: ignore[arg-type]

    def ended(self, linkage: Linkage, seconds: float = 30) -> Linkage:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            now = self.node.linkages.get(linkage.id)
            if now.state.ended:
                return now
            time.sleep(0.02)
        raise AssertionError(f"linkage still {now.state} after {seconds} s: {now.stages}")

    def link(self, **order: object) -> Linkage:
        return self.ended(self.start(**order))

    def succeed(self, **order: object) -> Linkage:
        linkage = self.link(**order)
        assert linkage.state is LinkageState.SUCCEEDED, (linkage.error_detail, linkage.missing)
        return linkage


@contextmanager
def centre(
    home: Path, fakes: list[FakeRegistry], engine: Engine | None = None, **limits: int
) -> Iterator[Centre]:
    """A centre that is closed at the end of the block."""
    made = Centre(home, fakes, engine, **limits)
    try:
        yield made
    finally:
        made.node.stop(10)


def no_levels() -> np.ndarray:
    return np.empty((0, len(SCHEMA.fields)), np.uint8)


__all__ = ["MODEL", "Centre", "centre", "given_model", "person", "registries", "score"]
