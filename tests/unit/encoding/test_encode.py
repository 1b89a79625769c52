"""Blocking keys: who meets whom, at which level, and under which key."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from kinlink_core.encoding import keys
from kinlink_core.encoding.canary import canary_digest
from kinlink_core.encoding.encode import EncodedBatch, Encoder
from kinlink_core.encoding.fixed_parts import split_fixed
from kinlink_core.encoding.schema import Schema, parse_schema

TEXT = """
name: encode_test
fields:
  - {name: family, kind: name, entropy_bits: 9}
  - {name: given, kind: name, entropy_bits: 9}
  - {name: dob, kind: date}
  - {name: address, kind: text}
passes:
  - {id: exact, parts: {family: exact, given: exact}, refine: {dob: year}}
  - {id: window, parts: {family: exact, dob: year_window(1)}, exposure: this schema tests windows}
  - {id: band, parts: {dob: exact, address: "lsh(8, 3)"}}
"""
SCHEMA = parse_schema(TEXT, source="test")


def schedule(
    secret: bytes = bytes(32), schema: Schema = SCHEMA, mode: str = keys.MODE_PLAIN
) -> keys.KeySchedule:
    context = keys.Context(mode, "test", "e1", schema.fingerprint())
    return keys.KeySchedule(context, keys.EpochSecret("e1", secret))


def encode(*people: tuple[str | None, str | None, str | None, str | None]) -> EncodedBatch:
    names = [field.name for field in SCHEMA.fields]
    columns = {name: [person[i] for person in people] for i, name in enumerate(names)}
    return Encoder(SCHEMA, schedule()).encode(columns)


def tokens(batch: EncodedBatch, row: int, pass_id: str, level: int = 0) -> set[bytes]:
    blocking = batch.blocking
    chosen = (
        (blocking.row == row)
        & (blocking.pass_index == SCHEMA.pass_index(pass_id))
        & (blocking.level == level)
    )
    return {bytes(token) for token in blocking.token[chosen]}


def test_equal_blocking_values_meet_and_others_do_not() -> None:
    batch = encode(
        ("li", "mei", "19600501", None),
        ("li", "mei", "19700501", None),
        ("wang", "mei", None, None),
    )
    assert tokens(batch, 0, "exact") == tokens(batch, 1, "exact") != tokens(batch, 2, "exact")


def test_a_missing_part_leaves_a_record_out_of_its_pass() -> None:
    batch = encode(("li", None, None, "long street 1"))
    assert not tokens(batch, 0, "exact")
    assert not tokens(batch, 0, "band")
    assert len(batch.blocking.row) == 0


def test_refinement_splits_an_island_and_names_its_parent() -> None:
    batch = encode(
        ("li", "mei", "19600501", None), ("li", "mei", "19700501", None), ("li", "mei", None, None)
    )
    assert tokens(batch, 0, "exact", 1) != tokens(batch, 1, "exact", 1)
    assert not tokens(batch, 2, "exact", 1)
    finer = batch.blocking.level == 1
    parents = {bytes(token) for token in batch.blocking.parent[finer]}
    assert parents == tokens(batch, 0, "exact")
    assert not batch.blocking.parent[~finer].any()


def test_years_one_apart_share_a_window_and_years_six_apart_do_not() -> None:
    batch = encode(
        ("li", None, "19600501", None),
        ("li", None, "19610501", None),
        ("li", None, "19660501", None),
    )
    assert tokens(batch, 0, "window") & tokens(batch, 1, "window")
    assert not tokens(batch, 0, "window") & tokens(batch, 2, "window")


def test_each_band_table_gives_its_own_token_and_equal_addresses_share_all() -> None:
    batch = encode(
        (None, None, "19600501", "1 long street"),
        (None, None, "19600501", "1 long street"),
        (None, None, "19600501", "quay of the old mill"),
    )
    assert len(tokens(batch, 0, "band")) == 3
    assert tokens(batch, 0, "band") == tokens(batch, 1, "band")
    assert len(tokens(batch, 0, "band") & tokens(batch, 2, "band")) < 3


def test_tokens_follow_from_the_blocking_keys_that_come_with_them() -> None:
    blocking = encode(("li", "mei", "19600501", "1 long street")).blocking
    for token, key in zip(blocking.token, blocking.key, strict=True):
        assert keys.token(bytes(key)) == bytes(token)


def test_another_secret_shares_no_token() -> None:
    columns: dict[str, list[str | None]] = {
        "family": ["li"], "given": ["mei"], "dob": ["19600501"], "address": ["1 long street"],
    }  # fmt: skip
    one = Encoder(SCHEMA, schedule()).encode(columns)
    other = Encoder(SCHEMA, schedule(b"x" * 32)).encode(columns)
    assert not {bytes(t) for t in one.blocking.token} & {bytes(t) for t in other.blocking.token}


class Served:
    """A key server of which only the shape is right, and what it was asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, set[bytes]] = {}

    def evaluate(self, pass_id: str, inputs: list[bytes]) -> list[bytes]:
        self.asked.setdefault(pass_id, set()).update(inputs)
        return [hashlib.sha512(pass_id.encode() + value).digest() for value in inputs]


ONE: dict[str, list[str | None]] = {
    "family": ["li", "wang"],
    "given": ["mei", "mei"],
    "dob": ["19600501", None],
    "address": ["1 long street", "quay 7"],
}


def test_the_evaluator_of_a_key_server_changes_every_token_and_nothing_else() -> None:
    plain = Encoder(SCHEMA, schedule()).encode(ONE)
    served = Encoder(SCHEMA, schedule(mode=keys.MODE_KEY_SERVER)).encode(ONE, Served())
    assert len(plain.blocking.row) == len(served.blocking.row)
    assert not {bytes(t) for t in plain.blocking.token} & {bytes(t) for t in served.blocking.token}


def test_a_schedule_of_one_mode_takes_no_evaluation_of_another() -> None:
    with pytest.raises(keys.KeyFault, match="64 bytes"):
        Encoder(SCHEMA, schedule(mode=keys.MODE_KEY_SERVER)).encode(ONE)
    with pytest.raises(keys.KeyFault, match="0 bytes"):
        Encoder(SCHEMA, schedule()).encode(ONE, Served())


def test_the_blocking_inputs_of_a_batch_are_those_the_evaluator_is_asked_for() -> None:
    encoder, served = Encoder(SCHEMA, schedule(mode=keys.MODE_KEY_SERVER)), Served()
    batch = encoder.encode(ONE, served)
    found = encoder.blocking_inputs(ONE)
    assert {each.pass_id: set(each.inputs) for each in found} == served.asked
    for index, each in enumerate(found):
        assert len(each.inputs) == len(set(each.inputs))
        assert set(each.input_index.tolist()) == set(range(len(each.inputs)))
        rows = batch.blocking.row[batch.blocking.pass_index == index]
        assert sorted(each.row.tolist()) == sorted(rows.tolist())


def test_encoding_does_not_depend_on_the_batch() -> None:
    people = [("li", "mei", "19600501", "1 long street"), ("wang", "an", None, "quay 7")]
    together = encode(*people)
    for row, person in enumerate(people):
        alone = encode(person)
        assert (alone.fixed[0] == together.fixed[row]).all()
        for each in SCHEMA.passes:
            assert tokens(alone, 0, each.id) == tokens(together, row, each.id)


def test_presence_bits_say_what_is_there() -> None:
    parts = split_fixed(SCHEMA, encode(("li", None, "1960", None)).fixed)
    assert parts.present.tolist() == [[True, False, True, False]]
    assert parts.sketches[0, 0].any()
    assert not parts.sketches[0, 1].any()


def test_canaries_agree_under_one_secret_and_show_another() -> None:
    assert canary_digest(SCHEMA, schedule()) == canary_digest(SCHEMA, schedule())
    assert canary_digest(SCHEMA, schedule()) != canary_digest(SCHEMA, schedule(b"x" * 32))
    changed = parse_schema(TEXT.replace("lsh(8, 3)", "lsh(9, 3)"), source="test")
    assert canary_digest(changed, schedule(schema=changed)) != canary_digest(SCHEMA, schedule())


def test_no_blocking_key_is_all_zero() -> None:
    assert np.all(encode(("li", "mei", "19600501", "x y z")).blocking.key.any(axis=1))
