"""What a registry has evaluated, keeps and forgets; the key server is told when to fail."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import pytest
from kinlink_core.encoding import keys
from kinlink_core.encoding.encode import Encoder
from kinlink_core.encoding.schema import parse_schema
from kinlink_core.errors import KinlinkError, QuotaError, Reason, UnavailableError
from kinlink_registry import columns, evaluations
from kinlink_registry.blinding import SUITE
from kinlink_registry.cipher import VaultCipher
from kinlink_registry.epochs import Epoch
from kinlink_registry.key_client import Answered, KeyServerTerms, PassTerms
from kinlink_registry.key_desk import Bought, KeyDesk, agreed
from kinlink_registry.vault import Vault
from unit.registry.rig import EPOCH, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_core.encoding.encode import Column
    from kinlink_registry.key_client import Batch

FORM = parse_schema(SCHEMA, source="test")
FEDERATION = "test"
PLENTY = 1_000
NAMES = ("ann", "bob", "carl", "dora")


def people(*names: str) -> dict[str, Column]:
    count = len(names)
    return {
        "given": list(names),
        "family": ["hill"] * count,
        "dob": ["19600501"] * count,
        "postcode": [None] * count,
    }


@dataclass
class FakeKeyServer:
    """Answers by a hash; `fails` is raised by `terms`, or by the n-th batch."""

    keys: dict[str, bytes] = field(default_factory=lambda: {p.id: b"k" * 32 for p in FORM.passes})
    budgets: dict[str, int] = field(default_factory=lambda: {p.id: PLENTY for p in FORM.passes})
    fails: KinlinkError | None = None
    breaks_off: KinlinkError | None = None
    dialled: int = 0
    asked: list[Batch] = field(default_factory=list)

    def dial(self) -> Self:
        self.dialled += 1
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def terms(self) -> KeyServerTerms:
        if self.fails:
            raise self.fails
        offered = {name: PassTerms(key, self.budgets[name]) for name, key in self.keys.items()}
        return KeyServerTerms(FEDERATION, SUITE, FORM.fingerprint(), {EPOCH: offered}, 2)

    def evaluate(self, batch: Batch, elements_a_call: int) -> Answered:
        assert elements_a_call == 2
        self.asked.append(batch)
        inputs = batch.inputs[:1] if self.breaks_off else batch.inputs
        self.budgets[batch.pass_id] -= len(inputs)
        found = {x: hashlib.sha512(batch.public_key + x).digest() for x in inputs}
        return Answered(found, self.breaks_off)

    @property
    def counts(self) -> dict[str, int]:
        found = dict.fromkeys(self.keys, 0)
        for batch in self.asked:
            found[batch.pass_id] += len(batch.inputs)
        return found


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    opened = Vault(tmp_path / "v.duckdb", VaultCipher(b"v" * 32), memory_limit="256MB", threads=1)
    yield opened
    opened.close()


@pytest.fixture
def epoch(vault: Vault) -> Epoch:
    return make_epoch(vault, 1)


def make_epoch(vault: Vault, number: int) -> Epoch:
    context = keys.Context(keys.MODE_KEY_SERVER, FEDERATION, EPOCH, FORM.fingerprint())
    schedule = keys.KeySchedule(context, keys.EpochSecret(EPOCH, bytes([number]) * 32))
    with vault.writing() as session:
        session.run("INSERT INTO epoch VALUES (?, ?, ?, true)", [number, EPOCH, f"mark{number}"])
    return Epoch(number, EPOCH, schedule, Encoder(FORM, schedule), f"mark{number}")


def make_desk(
    vault: Vault, server: FakeKeyServer, bought: list[Bought] | None = None, retry: float = 60.0
) -> KeyDesk:
    return KeyDesk(
        FORM,
        FEDERATION,
        vault,
        server.dial,  # type: ignore[arg-type]  # a fake at the seam
        retry_seconds=retry,
        on_bought=(bought if bought is not None else []).append,
    )


def held(vault: Vault, epoch: Epoch, *names: str) -> list[bool]:
    """Which of the people have all of their values evaluated."""
    wanted = epoch.encoder.blocking_inputs(people(*names))
    with vault.reading() as session:
        known = evaluations.held(session, vault.cipher, epoch, wanted)
    return known.covers(wanted, len(names)).tolist()


def test_what_is_bought_is_kept_sealed_and_not_asked_for_again(
    vault: Vault, epoch: Epoch, tmp_path: Path
) -> None:
    server, bought = FakeKeyServer(), list[Bought]()
    desk = make_desk(vault, server, bought)
    desk.buy(epoch, people("ann", "bob"))
    desk.buy(epoch, people("bob", "ann", "ann"))
    # A family and birth date shared by both, its refinement for each, and a given name each.
    assert server.counts == {"name_birth": 3, "given_birth": 2}
    assert server.dialled == 1
    assert {(each.pass_id, each.count) for each in bought} == {
        ("name_birth", 3), ("given_birth", 2),
    }  # fmt: skip
    assert held(vault, epoch, "ann", "bob", "carl") == [True, True, False]
    answers = [hashlib.sha512(b"k" * 32 + x).digest() for b in server.asked for x in b.inputs]
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with vault.reading() as session:
        stored = [bytes(sealed) for (sealed,) in session.rows("SELECT sealed FROM evaluation")]
    assert len(stored) == len(answers) == 5
    assert all(sealed in files for sealed in stored)
    assert not any(y in files for y in answers)


def test_an_evaluation_of_one_epoch_is_none_of_another(vault: Vault, epoch: Epoch) -> None:
    server = FakeKeyServer()
    make_desk(vault, server).buy(epoch, people("ann"))
    assert held(vault, make_epoch(vault, 2), "ann") == [False]


def test_a_budget_that_is_short_serves_whole_records_and_is_named(
    vault: Vault, epoch: Epoch
) -> None:
    server = FakeKeyServer()
    server.budgets = {"name_birth": 3, "given_birth": 1}
    desk = make_desk(vault, server)
    desk.buy(epoch, people(*NAMES))
    assert server.counts == {"name_birth": 3, "given_birth": 1}
    assert held(vault, epoch, *NAMES) == [True, False, False, False]
    assert desk.problem is not None
    assert desk.problem.reason is Reason.QUOTA_EXCEEDED
    assert "name_birth, given_birth" in desk.problem.text
    assert not desk.resting
    server.budgets = dict.fromkeys(server.budgets, PLENTY)
    desk.buy(epoch, people(*NAMES))
    assert held(vault, epoch, *NAMES) == [True] * 4
    assert desk.problem is None


def test_a_key_server_that_fails_is_left_alone_for_a_while(vault: Vault, epoch: Epoch) -> None:
    server = FakeKeyServer(fails=UnavailableError(Reason.UNREACHABLE))
    desk = make_desk(vault, server)
    desk.buy(epoch, people("ann"))
    desk.buy(epoch, people("ann"))
    assert (server.dialled, desk.resting) == (1, True)
    assert desk.problem is not None
    assert desk.problem.reason is Reason.UNREACHABLE
    impatient = make_desk(vault, server, retry=0.0)
    impatient.buy(epoch, people("ann"))
    server.fails = None
    impatient.buy(epoch, people("ann"))
    assert held(vault, epoch, "ann") == [True]
    assert impatient.problem is None


def test_what_arrived_before_a_failure_was_paid_for_and_is_kept(vault: Vault, epoch: Epoch) -> None:
    server = FakeKeyServer(breaks_off=QuotaError(Reason.TOO_MANY_REQUESTS))
    desk = make_desk(vault, server, retry=0.0)
    desk.buy(epoch, people("ann"))
    assert desk.problem is not None
    server.breaks_off = None
    desk.buy(epoch, people("ann"))
    assert [len(batch.inputs) for batch in server.asked] == [2, 1, 1]
    assert held(vault, epoch, "ann") == [True]


def test_another_public_key_is_refused_and_nothing_is_sent(vault: Vault, epoch: Epoch) -> None:
    server = FakeKeyServer()
    make_desk(vault, server).buy(epoch, people("ann"))
    changed = FakeKeyServer(keys={**server.keys, "given_birth": b"x" * 32})
    desk = make_desk(vault, changed)
    desk.buy(epoch, people("bob"))
    assert changed.asked == []
    assert desk.problem is not None
    assert desk.problem.reason is Reason.KEY_CHANGED
    assert "given_birth" in desk.problem.text


def test_a_key_is_not_pinned_before_it_proved_itself(vault: Vault, epoch: Epoch) -> None:
    class Liar(FakeKeyServer):
        def evaluate(self, batch: Batch, elements_a_call: int) -> Answered:  # noqa: ARG002
            self.asked.append(batch)
            return Answered({}, UnavailableError(Reason.PROOF_REFUSED))

    liar = Liar(keys={each.id: b"l" * 32 for each in FORM.passes})
    make_desk(vault, liar).buy(epoch, people("ann"))
    assert liar.asked
    with vault.reading() as session:
        assert evaluations.pins(session, epoch.id) == {}


def test_nothing_is_kept_for_an_epoch_that_was_retired_meanwhile(
    vault: Vault, epoch: Epoch
) -> None:
    server = FakeKeyServer()
    make_desk(vault, server).buy(replace(epoch, mark="of another secret"), people("ann"))
    with vault.reading() as session:
        assert session.value("SELECT count(*) FROM evaluation") == 0
        assert evaluations.pins(session, epoch.id) == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"federation": "other"}, Reason.FEDERATION_DIFFERS),
        ({"suite": "P256-SHA256"}, Reason.ENCODING_VERSION_DIFFERS),
        ({"schema_fingerprint": "f" * 64}, Reason.SCHEMA_DIFFERS),
        ({"epochs": {}}, Reason.EPOCH_UNKNOWN),
        ({"epochs": {EPOCH: {"name_birth": PassTerms(b"k" * 32, 1)}}}, Reason.SCHEMA_DIFFERS),
    ],
)
def test_a_key_server_that_is_not_ours_is_refused(
    change: dict[str, object], reason: Reason
) -> None:
    terms = replace(FakeKeyServer().terms(), **change)  # type: ignore[arg-type]
    with pytest.raises(KinlinkError) as refused:
        agreed(terms, FORM, FEDERATION, EPOCH, {})
    assert refused.value.reason is reason


def test_an_evaluation_goes_with_the_last_record_of_its_token(vault: Vault, epoch: Epoch) -> None:
    make_desk(vault, FakeKeyServer()).buy(epoch, people("ann", "bob"))
    with vault.writing() as session:
        rows = session.rows("SELECT token FROM evaluation ORDER BY token")
        kept, taken_up = rows[0][0].bytes, rows[1][0].bytes
        tokens = columns.from_list([row[0].bytes for row in rows])
        everything = columns.table(epoch_id=np.full(len(rows), 1, np.int16), token=tokens)
        evaluations.loosen(session, everything)
        for token in (kept, taken_up):
            session.run(
                "INSERT INTO token_key SELECT 1::SMALLINT, token, 'sealed'::BLOB FROM fresh",
                fresh=columns.table(token=columns.from_list([token])),
            )
        evaluations.settle(session)
        left = {row[0].bytes for row in session.rows("SELECT token FROM evaluation")}
        assert left == {kept, taken_up}
        session.run("DELETE FROM token_key")
        evaluations.settle(session)
        assert session.value("SELECT count(*) FROM evaluation") == 2
        evaluations.sweep(session, epoch.id)
        assert session.value("SELECT count(*) FROM evaluation") == 0


def test_canaries_stay_as_long_as_their_epoch(vault: Vault, epoch: Epoch) -> None:
    make_desk(vault, FakeKeyServer()).buy(epoch, people("ann"), canary=True)
    with vault.writing() as session:
        everything = session.table("SELECT epoch_id, token FROM evaluation")
        evaluations.loosen(session, everything)
        evaluations.settle(session)
        evaluations.sweep(session, epoch.id)
    assert held(vault, epoch, "ann") == [True]
