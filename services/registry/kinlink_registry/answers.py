"""What a registry answers the linker, one function an RPC; arrays in, arrays out.

Each looks the request up in one state of the vault, decides row by row what may be answered, and
books what was. Reading ends before writing begins: a reader that waits for the writer could wait
for ever.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.errors import InvalidInputError, Reason, UnavailableError
from kinlink_core.wire import ProofRows, RefinedRows, Refusal, SealedRows, SieveRows, TokenRows

from kinlink_registry import chance, decisions, disclosure, feed, islands, quotas, sealing, sieving
from kinlink_registry.absence import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kinlink_core.encoding.schema import Pass
    from kinlink_core.runtime.cards import Card
    from kinlink_core.wire import (
        DiscloseAsk,
        DisclosedRows,
        IslandRows,
        PairAsk,
        SieveAsk,
    )

    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.feed import FeedPosition
    from kinlink_registry.islands import Refusals
    from kinlink_registry.node import Node
    from kinlink_registry.partners import Partner, Partners
    from kinlink_registry.policy import Asker
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session
    from kinlink_registry.shelf import Opened

# A linker that follows the feed asks again after this.
FOLLOW_SECONDS_MAX: Final = 20.0
# How soon a wait ends whose linker has gone, or whose registry stops.
FOLLOW_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Profile:
    """What this registry is and where its feed stands."""

    epochs: list[Epoch]  # served ones, newest first
    records: int
    position: FeedPosition


@dataclass(frozen=True)
class Feed:
    """The events a linker lacks; read `pages` to its end."""

    position: FeedPosition
    reset: bool
    rows: int
    pages: Iterator[TokenRows]


@dataclass(frozen=True)
class DecisionsSaid:
    """What goes to a partner about decided pairs: sealed, empty where there is nothing to say."""

    question: bytes
    answer: bytes
    unanswered: int


@dataclass(frozen=True)
class SealedStream:
    """Sealed rows in frames."""

    rows: int
    refusal: Refusals
    frames: Iterator[SealedRows]


def profile(node: Node) -> Profile:
    """Identity, served epochs and feed position."""
    with node.vault.reading() as session:
        epochs = node.epochs.encoded(session, complete_only=True)
        live = session.value(f"SELECT count(*) FROM record ANTI JOIN {ABSENT} USING (local_key)")
        return Profile(epochs, live, feed.position(session))


def tokens(node: Node, session: Session, *, epoch: str, feed_id: str, after_sequence: int) -> Feed:
    """The feed after a position, or all of it when it does not continue the one that is named."""
    served = node.epochs.served(session, epoch)
    position = feed.position(session)
    continues = feed_id == position.feed_id and after_sequence <= position.last_sequence
    after = after_sequence if continues else 0
    return Feed(
        position,
        reset=not continues,
        rows=feed.count(session, served.id, after, position.last_sequence),
        pages=_interruptible(node, feed.pages(session, served.id, after, position.last_sequence)),
    )


def await_events(
    node: Node, *, feed_id: str, after_sequence: int, seconds: float, gone: Callable[[], bool]
) -> None:
    """Wait until the feed has something to tell after a position, at most so long.

    No session is open meanwhile, so nobody waits for who waits here.
    """
    until = time.monotonic() + min(seconds, FOLLOW_SECONDS_MAX)
    while not (gone() or node.vault.closing):
        generation = node.vault.generation
        with node.vault.reading() as session:
            now = feed.position(session)
        left = until - time.monotonic()
        if left <= 0 or (now.feed_id, now.last_sequence) != (feed_id, after_sequence):
            return
        node.vault.await_commit(generation, min(left, FOLLOW_LOOK_SECONDS))


def prove(
    node: Node, partners: Partners, *, epoch: str, card: Card, pass_index: int, tokens: Bytes
) -> tuple[Partner, ProofRows]:
    """Own counts and proofs under tokens, for a partner."""
    blocking_pass = _pass(node, pass_index)
    with node.vault.reading() as session:
        served = node.epochs.served(session, epoch)
        partner = partners.admit(card, served)
        counts, proofs = islands.prove(
            session,
            node.vault.cipher,
            node.blocking_keys,
            served,
            live=node.directory.live(session, served),
            partner=partner,
            pass_index=pass_index,
            cap=node.cap(blocking_pass),
            tokens=tokens,
        )
    return partner, ProofRows(counts, proofs)


def refine(node: Node, *, epoch: str, pass_index: int, level: int, tokens: Bytes) -> RefinedRows:
    """Finer tokens below tokens; from now on their handles may be asked for."""
    blocking_pass = _pass(node, pass_index)
    if not 1 <= level <= len(blocking_pass.refine):
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED, f"Pass {blocking_pass.id} has no refinement of this level."
        )
    with node.vault.writing() as session:
        served = node.epochs.served(session, epoch)
        rows = RefinedRows(
            *islands.refine(session, served, pass_index=pass_index, level=level, tokens=tokens)
        )
        islands.reveal(session, rows.handle)
    return rows


@dataclass(frozen=True)
class About:
    """What a request about pairs is about: islands of one pass, towards one partner."""

    epoch: str
    card: Card
    pass_index: int
    claims: IslandRows


@dataclass(frozen=True)
class _Asked:
    """Pairs of a request inside proven islands, as one state of the vault has them."""

    epoch: Epoch
    partner: Partner
    rows: sealing.PairRows
    sieve: sieving.Sieve


def _asked(node: Node, partners: Partners, about: About, ask: SieveAsk) -> _Asked:
    """Look pairs up, and refuse those that are not live, not proven to meet, or decided."""
    blocking_pass = _pass(node, about.pass_index)
    with node.vault.reading() as session:
        served = node.epochs.served(session, about.epoch)
        partner = partners.admit(about.card, served)
        live = node.directory.live(session, served)
        checked = islands.check_claims(
            session,
            node.vault.cipher,
            node.blocking_keys,
            served,
            live=live,
            partner=partner,
            claims=about.claims,
            pass_index=about.pass_index,
            cap=node.cap(blocking_pass),
        )
        located = islands.locate(session, served, live, ask.own_handles)
        refusal = islands.place_in_islands(located, checked, ask.island_index, about.pass_index)
        decisions.refuse(
            session,
            served,
            partner,
            refs=located.ref,
            partner_handles=ask.partner_handles,
            refusal=refusal,
        )
        islands.refuse_if_all(refusal)
        opened = node.shelf.fetch(session, served, located.ref[refusal == Refusal.ANSWERED])
    rows = sealing.PairRows(
        located.ref, ask.own_handles, ask.partner_handles, ask.island_index, refusal
    )
    sieve = sieving.Sieve(node.schema, blocking_pass, partner, checked, opened)
    return _Asked(served, partner, rows, sieve)


def sieve(
    node: Node, partners: Partners, about: About, ask: SieveAsk, *, tags: bool
) -> tuple[Partner, SieveRows]:
    """Sieve words of own handles in pairs inside proven islands; with `tags` what sealing needs."""
    asked = _asked(node, partners, about, ask)
    if not tags:
        return asked.partner, asked.sieve.words(asked.rows)
    with node.booking() as session:
        ledger = node.bookings.towards(session, asked.epoch, asked.partner.name)
        quotas.book_records(ledger, node.policy, asked.rows)
    islands.refuse_if_all(asked.rows.refusal)
    return asked.partner, asked.sieve.tagged(asked.rows)


def exchange_decisions(
    node: Node, partners: Partners, *, epoch: str, card: Card, question: bytes, answer: bytes
) -> tuple[Partner, DecisionsSaid]:
    """Answer a partner's questions about decided pairs, take its answers, and ask what is open."""
    with node.vault.writing() if answer else node.vault.reading() as session:
        served = node.epochs.served(session, epoch)
        talk = decisions.Talk(
            session, node.vault.cipher, served, partners.admit(card, served), node.name
        )
        if answer:
            talk.take(answer)
        said = DecisionsSaid(
            talk.ask(), talk.answer(question) if question else b"", talk.unanswered()
        )
    return talk.partner, said


def seal(
    node: Node, partners: Partners, about: About, ask: PairAsk, *, linkage_id: str
) -> tuple[Partner, SealedStream]:
    """One side of pairs that are proven to be near, each pair of records once in a linkage."""
    asked = _asked(node, partners, about, ask)
    rows, partner = asked.rows, asked.partner
    partner_tags = asked.sieve.refuse_unproven(rows, ask)
    with node.booking() as session:
        decisions.refuse_by_name(session, partner, rows, partner_tags)
        disclosure.refuse_others(session, asked.epoch, partner, rows, partner_tags)
        node.meetings.refuse_known(
            (linkage_id, asked.epoch.mark, partner.name),
            rows,
            partner_tags,
            pass_index=about.pass_index,
            versions=_versions(asked.sieve.opened, rows),
        )
        ledger = node.bookings.towards(session, asked.epoch, partner.name)
        quotas.book_pairs(ledger, node.policy, rows)
    islands.refuse_if_all(rows.refusal)
    frames = sealing.seal(
        node.schema,
        partner,
        asked.sieve.islands,
        asked.sieve.opened,
        rows,
        null_key=node.vault.cipher.null_key,
    )
    return partner, SealedStream(len(rows.refusal), rows.refusal, frames)


def chance_pairs(
    node: Node, partners: Partners, *, epoch: str, card: Card, partner_records: int
) -> tuple[Partner, SealedStream]:
    """One side of pairs drawn at random with a partner."""
    with node.vault.reading() as session:
        served = node.epochs.served(session, epoch)
    partner = partners.admit(card, served)
    drawn = chance.drawn(node.vault, served, partner, node.name, partner_records)
    with node.vault.reading() as session:
        opened = node.shelf.fetch(session, served, np.unique(drawn.refs[drawn.refs >= 0]))
    refusal = np.full(len(drawn.refs), Refusal.ANSWERED, np.uint8)
    frames = chance.seal_drawn(node.schema, opened, drawn, null_key=node.vault.cipher.null_key)
    return partner, SealedStream(len(refusal), refusal, frames)


def disclose(
    node: Node, partners: Partners, *, epoch: str, card: Card, asker: Asker, asked: DiscloseAsk
) -> tuple[Partner, DisclosedRows]:
    """Subject ids of pairs, within the policy."""
    with node.vault.reading() as session:
        served = node.epochs.served(session, epoch)
        live = node.directory.live(session, served)
        sides = disclosure.sides_of(
            session, node.shelf, node.schema, served, live=live, handles=asked.own_handles
        )
    with node.vault.writing() as session:
        served = node.epochs.served(session, epoch)
        partner = partners.admit(card, served)
        answers = disclosure.disclose(
            session,
            node.vault.cipher,
            node.blocking_keys,
            served,
            live=node.directory.live(session, served),
            partner=partner,
            policy=node.policy,
            asker=asker,
            asked=asked,
            sides=sides,
        )
    islands.refuse_if_all(answers.refusal)
    return partner, answers


def _versions(opened: Opened, rows: sealing.PairRows) -> Refs:
    """The version of each answered row's own record, zero where a row is refused."""
    versions = np.zeros(len(rows.refs), np.int32)
    which = rows.answered()
    versions[which] = opened.versions[np.searchsorted(opened.refs, rows.refs[which])]
    return versions


def _pass(node: Node, pass_index: int) -> Pass:
    if pass_index >= len(node.schema.passes):
        raise InvalidInputError(Reason.REQUEST_MALFORMED, "pass_index is no pass of the schema.")
    return node.schema.passes[pass_index]


def _interruptible(node: Node, pages: Iterator[TokenRows]) -> Iterator[TokenRows]:
    """Leave the vault between two pages when someone waits for it."""
    for page in pages:
        if node.vault.closing:
            raise UnavailableError(Reason.STORE_BUSY, "The vault is being exchanged; try again.")
        yield page
