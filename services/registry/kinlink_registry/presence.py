"""Who takes part: whoever leaves is out of the feed, the links and every later answer at once.

People are kept out by lists that stand apart from their records, so a list also holds for someone
who is loaded later or again. Who is on no list any more comes back through the feed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kinlink_registry import columns, encodings, records, rounds
from kinlink_registry.absence import are_absent
from kinlink_registry.domain import Consent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kinlink_registry.columns import Bytes
    from kinlink_registry.node import Node
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session


def move(
    node: Node,
    local_ids: Sequence[str],
    *,
    chosen: Callable[[Session, Any], Any],
    write: Callable[[Session, Any, Refs], None],
    returning: bool,
) -> Consent:
    """Change the lists people are on, and let the feed follow.

    Args:
        node: whose people.
        local_ids: of the people.
        chosen: positions of those whom the change concerns; it gets a table (position, local_key).
        write: changes the lists; it gets a table (local_key) of those, and their records.
        returning: whether somebody may come back by it.
    """
    vault, cipher = node.vault, node.vault.cipher
    wanted = list(dict.fromkeys(local_id.strip() for local_id in local_ids if local_id.strip()))
    keys = columns.from_list([cipher.local_key(local_id) for local_id in wanted])
    if returning:
        _buy(node, wanted, keys)
    with vault.only_writer():
        with vault.reading() as session:
            moved = columns.numbers(
                chosen(
                    session, columns.table(position=columns.positions(len(keys)), local_key=keys)
                )["position"]
            )
            known = records.known(session, cipher, wanted)
            mine = np.isin(known.positions, moved)
            refs, at = known.refs[mine].astype(np.int32), known.positions[mine]
            before = are_absent(session, keys)[at]
        with vault.writing() as session:
            write(session, columns.table(local_key=keys[moved]), refs)
            absent = are_absent(session, keys)[at]
            encodings.erase(session, cipher, refs[absent])
            _let_return(node, session, refs[before & ~absent])
    return Consent(len(moved), len(wanted) - len(known.refs))


def _buy(node: Node, wanted: Sequence[str], keys: Bytes) -> None:
    """Have evaluated what those who may come back need, before the vault waits for anything."""
    with node.vault.reading() as session:
        known = records.known(session, node.vault.cipher, wanted)
        away = are_absent(session, keys)[known.positions]
        refs = known.refs[away].astype(np.int32)
        people = records.open_people(session, node.vault.cipher, refs)
    node.epochs.buy(people.values)


def _let_return(node: Node, session: Session, refs: Refs) -> None:
    if not len(refs):
        return
    people = records.open_people(session, node.vault.cipher, refs)
    encoded = [
        each
        for epoch in node.epochs.encoded(session)
        for each in node.epochs.coder.encode(session, epoch, people)
    ]
    rounds.write(
        session,
        node.vault.cipher,
        encoded,
        encodings.untold(session),
        rounds=node.rounds,
        loaded=len(refs),
    )
