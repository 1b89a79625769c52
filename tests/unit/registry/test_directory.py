"""Live handles, opened records and keys in memory are the vault's, whatever happened to it."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink_registry import app, directory, encodings, rounds
from kinlink_registry.blocking_keys import BlockingKeys
from kinlink_registry.directory import (
    NOWHERE,
    Directory,
    Tokens,
    find,
    grouped,
    searched,
    with_rows,
)
from kinlink_registry.home import Home
from kinlink_registry.shelf import Shelf
from unit.registry.rig import EPOCH, Rig, must, people, write_csv

if TYPE_CHECKING:
    from pathlib import Path

    from kinlink_registry.directory import Live
    from kinlink_registry.node import Node

ROUNDS = "[rounds]\nrecords_min = 1\nspread_hours = 1\n"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    home = made.registry("anhui", toml=ROUNDS)
    must(home, "keys", "create", EPOCH)
    made.fill(home, people(*range(60)))
    return made


def live(kept: Directory, node: Node) -> Live:
    with node.vault.reading() as session:
        return kept.live(session, node.epochs.served(session, EPOCH))


def told(found: Live) -> tuple[set[tuple[int, ...]], dict[tuple[int, ...], int]]:
    handles = found.handles
    rows = zip(
        handles.handle.tolist(), handles.token.tolist(), handles.pass_index.tolist(),
        handles.ref.tolist(), strict=True,
    )  # fmt: skip
    tokens = zip(found.tokens.token.tolist(), found.tokens.held.tolist(), strict=True)
    return (
        {(*handle, *token, pass_index, ref) for handle, token, pass_index, ref in rows},
        {tuple(token): held for token, held in tokens if held},
    )


def keys(kept: BlockingKeys, found: Live, node: Node) -> dict[tuple[int, ...], bytes]:
    """The blocking key of each live token."""
    with node.vault.reading() as session:
        epoch = node.epochs.served(session, EPOCH)
        places = np.arange(len(found.tokens.held))
        opened, known = kept.of(session, node.vault.cipher, epoch, found, places)
    tokens = map(tuple, found.tokens.token[known].tolist())
    return dict(zip(tokens, map(bytes, opened[known]), strict=True))


def records(kept: Shelf, among: Live, node: Node) -> list[tuple[object, ...]]:
    """All that is opened of each record with a live handle."""
    with node.vault.reading() as session:
        epoch = node.epochs.served(session, EPOCH)
        found = kept.fetch(session, epoch, np.empty(0, np.int32))
    columns = (found.refs, found.versions, found.fixed, found.tags)
    digests = [part for each in found.digests for part in (each.digest, each.missing)]
    rows = zip(*(column.tolist() for column in (*columns, *digests)), strict=True)
    has_handle = set(among.handles.ref.tolist())
    return [row for row in rows if row[0] in has_handle]


def change(rig: Rig, rng: random.Random) -> None:
    """One thing that can happen to a registry."""
    home = rig.homes["anhui"]
    some = sorted(rng.sample(range(120), 7))
    what = rng.choice(("load", "change", "delete", "withdraw", "grant", "release"))
    rows = people(*some)
    if what == "load":
        rig.fill(home, rows)
    elif what == "change":
        rig.fill(home, [{**row, "given": rng.choice(("Wei", "Fang"))} for row in rows])
    elif what == "delete":
        must(home, "ingest", "--delete", write_csv(home / "gone.csv", rows))
    elif what in {"withdraw", "grant"}:
        must(home, "consent", what, f"p{some[0]}")
    else:
        with app.opened(Home(home)) as node, node.vault.writing() as session:
            rounds.release(session, node.rounds, int(time.time()) + 7200)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_followed_is_what_is_read_anew(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    followed, opened, editions = Directory(), BlockingKeys(), set()
    with app.opened(Home(rig.homes["anhui"])) as node:
        shelf = Shelf(node.schema, node.vault.cipher, 1 << 30)
    for _ in range(14):
        with app.opened(Home(rig.homes["anhui"])) as node:
            found, anew = live(followed, node), live(Directory(), node)
            assert told(found) == told(anew)
            assert keys(opened, found, node) == keys(BlockingKeys(), anew, node)
            assert set(keys(opened, found, node)) == set(told(anew)[1])
            assert records(shelf, found, node) == records(node.shelf, found, node)
            editions.add(found.edition)
        change(rig, rng)
    assert len(editions) > 5


def test_changes_are_followed_and_not_read_anew(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Directory()
    with app.opened(Home(rig.homes["anhui"])) as node:
        live(followed, node)
    monkeypatch.setattr(directory, "_all", None)
    must(rig.homes["anhui"], "consent", "withdraw", "p3")
    with app.opened(Home(rig.homes["anhui"])) as node:
        assert len(live(followed, node).handles.ref) > 0


def test_whoever_lacks_too_many_changes_reads_everything(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "UNPUBLISHED_MAX", 2)
    followed = Directory()
    with app.opened(Home(rig.homes["anhui"])) as node:
        live(followed, node)
    gone = write_csv(rig.directory / "gone.csv", people(*range(9)))
    must(rig.homes["anhui"], "ingest", "--delete", gone)
    with app.opened(Home(rig.homes["anhui"])) as node:
        assert told(live(followed, node)) == told(live(Directory(), node))


def test_tokens_are_counted_in_their_pass_alone_and_nobody_has_an_unknown_one(rig: Rig) -> None:
    with app.opened(Home(rig.homes["anhui"])) as node:
        found = live(Directory(), node)
    tokens = found.tokens.ids(np.arange(5))
    passes = found.tokens.pass_index[:5]
    here = found.places(tokens, int(passes[0]))
    assert ((here != NOWHERE) == (passes == passes[0])).all()
    assert ((found.held(here) > 0) == (passes == passes[0])).all()
    assert not found.held(found.places(tokens, 77)).any()
    assert not found.held(found.places(np.zeros((3, 16), np.uint8), 0)).any()
    assert (found.find(np.zeros((3, 16), np.uint8)) == NOWHERE).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_ids_that_come_and_are_looked_for_in_any_order_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few first words: many ids begin alike.
    ids = np.unique(rng.integers(0, 40, (300, 2)).astype(np.uint64), axis=0)
    rng.shuffle(ids)
    known = searched(np.empty((0, 2), np.uint64))
    for more in np.array_split(ids, 7):
        fresh = more[np.argsort(more[:, 0], kind="stable")]
        known = with_rows(known, np.searchsorted(known[:, 0], fresh[:, 0]), fresh)
        assert known[:, 0].flags.c_contiguous
    assert (np.diff(known[:, 0].astype(np.int64)) >= 0).all()
    assert (known[find(known, ids)] == ids).all()
    assert (find(known, ids + np.uint64(40)) == NOWHERE).all()
    order, first = grouped(np.concatenate([ids, ids]))
    assert len(first) == len(ids)
    assert sorted((order[first] % len(ids)).tolist()) == list(range(len(ids)))


def test_ids_that_begin_alike_are_told_apart() -> None:
    words = np.array([[5, 1], [5, 2], [5, 3], [9, 1]], np.uint64)
    tokens = Tokens(words, np.zeros(4, np.uint16), np.arange(1, 5))
    asked = np.array([[5, 3], [5, 1], [5, 4], [9, 1], [9, 2], [1, 1]], np.uint64)
    assert directory.find(tokens.token, asked).tolist() == [2, 0, -1, 3, -1, -1]
