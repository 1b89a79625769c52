"""An evaluation is refused, booked, audited and answered in that order."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from kinlink_core.encoding.schema import load_schema
from kinlink_core.errors import KinlinkError, Reason
from kinlink_core.runtime import audit as audit_module
from kinlink_core.runtime.audit import AuditLog
from kinlink_core.runtime.key_source import FileKeySource, make_key
from kinlink_core.runtime.metrics import KeyServerMetrics
from kinlink_keyserver import evaluation
from kinlink_keyserver.budgets import budgets_of
from kinlink_keyserver.epochs import open_epochs
from kinlink_keyserver.keyserver import (
    BATCH_ELEMENTS_MAX,
    BATCHES_AT_ONCE_MAX,
    KeyServer,
    Order,
)
from kinlink_keyserver.ledger import Ledger
from prometheus_client import CollectorRegistry
from support.key_server import EPOCH, SCHEMA, blind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_keyserver.evaluation import Evaluation, PassKey

BUDGET = 12  # (4 records + 8 canaries) x 1 row, no growth


class Direct:
    """Evaluates in this process."""

    def evaluate(self, key: PassKey, blinded: bytes) -> Evaluation:
        return evaluation.evaluate(key, blinded)


@dataclass
class Rig:
    """A key server on a folder, and what it wrote."""

    folder: Path
    evaluators: Any = field(default_factory=Direct)

    def __post_init__(self) -> None:
        schema = load_schema(SCHEMA)
        budgets = budgets_of(schema, {"anhui": 4, "gansu": 4}, 1.0, {})
        key = FileKeySource(self.folder / "key")
        make_key(key)
        self.ledger = Ledger(self.folder / "ledger.sqlite", create=True)
        self.epochs = open_epochs(self.folder / "epochs", key, self.ledger, "demo", budgets.passes)
        self.metrics = KeyServerMetrics(CollectorRegistry())
        self.server = KeyServer(
            fingerprint=schema.fingerprint(),
            budgets=budgets,
            epochs=self.epochs,
            ledger=self.ledger,
            evaluators=self.evaluators,
            audit=AuditLog(self.folder / "audit.jsonl"),
            metrics=self.metrics,
        )
        self.epochs.create(EPOCH)

    def order(self, count: int = 1, **changes: Any) -> Order:
        blinded = b"".join(blind([bytes([n])])[1] for n in range(count))
        return replace(Order(EPOCH, "phone", self.server.fingerprint, blinded), **changes)

    def spent(self, registry: str = "anhui") -> int:
        return sum(self.ledger.spent(registry).values())

    def audited(self) -> list[dict[str, Any]]:
        lines = (self.folder / "audit.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.ledger.close()


def refusal(
    rig: Rig, order: Order, registry: str = "anhui", *, wanted: bool = True
) -> KinlinkError:
    with pytest.raises(KinlinkError) as raised:
        rig.server.evaluate(registry, order, lambda: wanted)
    return raised.value


def test_a_batch_is_evaluated_booked_audited_and_counted(rig: Rig) -> None:
    order = rig.order(5)
    answer = rig.server.evaluate("anhui", order, lambda: True)
    key = rig.epochs.get(EPOCH).keys["phone"]
    assert answer.evaluation.evaluated == evaluation.evaluate(key, order.blinded).evaluated
    assert answer.budget_left == BUDGET - 5
    (entry,) = rig.audited()
    assert (entry["action"], entry["actor"]) == ("evaluate", "registry/anhui")
    assert entry["fields"] == {
        "epoch": EPOCH, "pass_id": "phone", "count": 5, "budget_left": BUDGET - 5,
    }  # fmt: skip
    labels = {"registry": "anhui", "pass_id": "phone"}
    assert rig.sample("kinlink_keyserver_evaluations_total", **labels) == 5


def test_a_budget_is_one_registrys_one_passs_and_one_epochs(rig: Rig) -> None:
    rig.epochs.create("2026-12")
    others = [("gansu", {}), ("anhui", {"pass_id": "national_id"}), ("anhui", {"epoch": "2026-12"})]
    assert rig.server.evaluate("anhui", rig.order(BUDGET), lambda: True).budget_left == 0
    assert refusal(rig, rig.order(1)).reason is Reason.QUOTA_EXCEEDED
    for registry, changes in others:
        answer = rig.server.evaluate(registry, rig.order(1, **changes), lambda: True)
        assert answer.budget_left == BUDGET - 1


def test_a_batch_over_the_budget_is_refused_whole_with_what_is_left(rig: Rig) -> None:
    rig.server.evaluate("anhui", rig.order(10), lambda: True)
    error = refusal(rig, rig.order(3))
    assert (error.reason, error.metadata["budget_left"]) == (Reason.QUOTA_EXCEEDED, "2")
    assert rig.spent() == 10
    assert rig.server.evaluate("anhui", rig.order(2), lambda: True).budget_left == 0
    assert [entry["fields"]["count"] for entry in rig.audited()] == [10, 2]
    labels = {"registry": "anhui", "reason": "QUOTA_EXCEEDED"}
    assert rig.sample("kinlink_keyserver_refused_batches_total", **labels) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": "2027-01"}, Reason.EPOCH_UNKNOWN),
        ({"epoch": ""}, Reason.EPOCH_UNKNOWN),
        ({"pass_id": "nothing"}, Reason.REQUEST_MALFORMED),
        ({"fingerprint": "0" * 64}, Reason.SCHEMA_DIFFERS),
        ({"fingerprint": ""}, Reason.SCHEMA_DIFFERS),
        ({"blinded": b""}, Reason.REQUEST_MALFORMED),
        ({"blinded": bytes(31)}, Reason.REQUEST_MALFORMED),
        ({"blinded": bytes(32)}, Reason.REQUEST_MALFORMED),
        ({"blinded": bytes(32 * (BATCH_ELEMENTS_MAX + 1))}, Reason.REQUEST_MALFORMED),
    ],
)
def test_what_cannot_be_evaluated_is_refused_and_costs_nothing(
    rig: Rig, changes: dict[str, Any], reason: Reason
) -> None:
    assert refusal(rig, rig.order(**changes)).reason is reason
    assert rig.spent() == 0
    assert rig.audited() == []


def test_one_bad_element_refuses_its_batch_and_nothing_else(rig: Rig) -> None:
    good = rig.order(3)
    error = refusal(rig, rig.order(blinded=good.blinded[:64] + b"\xff" * 32))
    assert "element 2 " in error.public
    assert rig.server.evaluate("anhui", good, lambda: True).budget_left == BUDGET - 3


def test_a_registry_that_is_not_in_the_settings_is_refused_under_no_name_of_its_own(
    rig: Rig,
) -> None:
    assert refusal(rig, rig.order(), "ningxia").reason is Reason.PEER_UNKNOWN
    with pytest.raises(KinlinkError):
        rig.server.allowances("ningxia")
    labels = {"registry": "unknown", "reason": "PEER_UNKNOWN"}
    assert rig.sample("kinlink_keyserver_refused_batches_total", **labels) == 1


def test_nothing_is_booked_for_a_caller_who_has_gone(rig: Rig) -> None:
    assert refusal(rig, rig.order(4), wanted=False).reason is Reason.CANCELLED
    assert rig.spent() == 0
    assert rig.audited() == []


def test_nothing_is_answered_that_cannot_be_audited(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit_module, "_write_all", full)
    assert refusal(rig, rig.order(4)).reason is Reason.DISK_FULL
    assert rig.spent() == 4  # booked first: a crash in between must not give it back


def test_a_registry_has_only_so_many_batches_at_once(tmp_path: Path) -> None:
    class Slow(Direct):
        entered = threading.Semaphore(0)
        go_on = threading.Event()

        def evaluate(self, key: PassKey, blinded: bytes) -> Evaluation:
            self.entered.release()
            assert self.go_on.wait(30)
            return super().evaluate(key, blinded)

    slow = Slow()
    rig = Rig(tmp_path, slow)
    threads = [
        threading.Thread(target=rig.server.evaluate, args=("anhui", rig.order(), lambda: True))
        for _ in range(BATCHES_AT_ONCE_MAX)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert slow.entered.acquire(timeout=30)
    assert refusal(rig, rig.order()).reason is Reason.TOO_MANY_REQUESTS
    other = threading.Thread(target=rig.server.evaluate, args=("gansu", rig.order(), lambda: True))
    other.start()
    assert slow.entered.acquire(timeout=30)
    slow.go_on.set()
    for thread in (*threads, other):
        thread.join()
    assert rig.spent() == BATCHES_AT_ONCE_MAX
    assert rig.server.evaluate("anhui", rig.order(), lambda: True)
    rig.ledger.close()


def test_gauges_show_what_is_served_and_spent_and_forget_what_is_gone(rig: Rig) -> None:
    rig.epochs.create("2026-12")
    rig.server.evaluate("anhui", rig.order(3), lambda: True)
    rig.server.observe()
    used = "kinlink_keyserver_budget_used_ratio"
    labels = {"registry": "anhui", "epoch": EPOCH, "pass_id": "phone"}
    assert rig.sample(used, **labels) == pytest.approx(3 / BUDGET)
    (rig.folder / "epochs" / f"{EPOCH}.json").unlink()
    rig.server.observe()
    assert rig.sample("kinlink_keyserver_epoch_served", epoch=EPOCH) == 0
    assert rig.sample("kinlink_keyserver_epoch_served", epoch="2026-12") == 1
    assert rig.sample(used, **labels) is None
    rig.epochs.retire(EPOCH)
    rig.server.observe()
    assert rig.sample("kinlink_keyserver_epoch_served", epoch=EPOCH) is None
