"""The VOPRF gives the values of RFC 9497, and its proofs hold for one key alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Final

import pytest
from kinlink_core.encoding.keys import lp
from kinlink_keyserver import evaluation
from kinlink_keyserver.evaluation import ElementFault, Evaluation, PassKey
from support.key_server import PHONE, blind
from voprf import ristretto

VECTORS: Final[dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[2] / "golden/voprf_rfc9497.json").read_text()
)
RFC_KEY: Final = PassKey(bytes.fromhex(VECTORS["seed"]), bytes.fromhex(VECTORS["key_info"]))
SEED: Final = bytes(range(32))
NAME_BIRTH: Final = "name_birth"
# Not canonical, of an odd field element, not on the curve (RFC 9496, appendix A.3), the identity.
NO_ELEMENTS: Final = (
    "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    "00" * 32,
)


def key(federation: str = "demo", epoch: str = "2026-11", pass_id: str = PHONE) -> PassKey:
    return evaluation.pass_key(SEED, federation=federation, epoch=epoch, pass_id=pass_id)


def unblind(clients: list[ristretto.Client], answer: Evaluation, public: bytes) -> list[bytes]:
    output = ristretto.VerifiableBatchOutput.deserialize(answer.proof + answer.evaluated)
    return ristretto.Client.finalize_batch(clients, output, ristretto.PublicKey.deserialize(public))


def test_a_key_pair_is_derived_as_the_rfc_derives_it() -> None:
    assert evaluation.public_key(RFC_KEY).hex() == VECTORS["public_key"]


@pytest.mark.parametrize("vector", VECTORS["evaluations"])
def test_blinded_elements_are_evaluated_as_in_the_rfc(vector: dict[str, list[str]]) -> None:
    answer = evaluation.evaluate(RFC_KEY, bytes.fromhex("".join(vector["blinded"])))
    assert answer.evaluated.hex() == "".join(vector["evaluated"])
    assert len(answer.proof) == evaluation.PROOF_BYTES


@pytest.mark.parametrize("vector", VECTORS["outputs"])
def test_a_client_gets_the_output_of_the_rfc_whatever_it_blinds_with(
    vector: dict[str, str],
) -> None:
    clients, blinded = blind([bytes.fromhex(vector["input"])] * 2)
    answer = evaluation.evaluate(RFC_KEY, blinded)
    outputs = unblind(clients, answer, evaluation.public_key(RFC_KEY))
    assert [each.hex() for each in outputs] == [vector["output"]] * 2
    direct = ristretto.Evaluator.from_seed(RFC_KEY.seed, RFC_KEY.info)
    assert direct.evaluate_known_input(bytes.fromhex(vector["input"])).hex() == vector["output"]


def test_keys_differ_between_federations_epochs_and_passes() -> None:
    keys = [key(), key(federation="other"), key(epoch="2026-12"), key(pass_id=NAME_BIRTH)]
    assert len({evaluation.public_key(each) for each in keys}) == len(keys)
    assert key().info == lp(b"kinlink/v1 keyserver", b"demo", b"2026-11", b"phone")


def test_the_parts_of_a_key_cannot_run_into_each_other() -> None:
    texts = ("ab", "c"), ("a", "bc")
    first, second = (key(epoch=epoch, pass_id=pass_id) for epoch, pass_id in texts)
    assert evaluation.public_key(first) != evaluation.public_key(second)


def test_a_proof_of_another_key_is_refused() -> None:
    clients, blinded = blind([b"one", b"two"])
    answer = evaluation.evaluate(key(), blinded)
    assert len(unblind(clients, answer, evaluation.public_key(key()))) == 2
    for other in (key(pass_id=NAME_BIRTH), key(epoch="2026-12")):
        with refused():
            unblind(clients, answer, evaluation.public_key(other))


def test_an_answer_that_was_changed_or_put_in_another_order_is_refused() -> None:
    clients, blinded = blind([b"one", b"two"])
    answer = evaluation.evaluate(key(), blinded)
    first, second = answer.evaluated[:32], answer.evaluated[32:]
    other = evaluation.evaluate(key(), blind([b"three"])[1]).evaluated
    for evaluated in (second + first, first + other, first + first):
        with refused():
            unblind(clients, Evaluation(evaluated, answer.proof), evaluation.public_key(key()))


def refused() -> Any:
    """The package panics, outside of `Exception`, over a proof that does not hold."""
    return pytest.raises(BaseException, match=r"(?i)proof|verif")


@pytest.mark.parametrize(
    ("position", "bad"), [*itertools.product((0, 2), NO_ELEMENTS)], ids=lambda each: str(each)[:8]
)
def test_an_element_that_is_none_is_named_by_its_position(position: int, bad: str) -> None:
    elements = [blind([bytes([n])])[1] for n in range(3)]
    elements[position] = bytes.fromhex(bad)
    with pytest.raises(ElementFault) as raised:
        evaluation.evaluate(key(), b"".join(elements))
    assert raised.value.position == position


def test_seeds_are_fresh_and_no_repr_shows_one() -> None:
    assert len({evaluation.new_seed() for _ in range(8)}) == 8
    assert len(evaluation.new_seed()) == evaluation.SEED_BYTES
    assert repr(SEED) not in repr(key())
