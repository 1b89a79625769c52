"""Consent: whoever withdraws is out of the feed, the links and every later answer at once.

A withdrawal is kept apart from the record, so it also stands for someone who is loaded later or
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kinlink_registry import columns, encodings, records
from kinlink_registry.domain import Consent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.node import Node


def set_consent(node: Node, local_ids: Sequence[str], *, withdrawn: bool) -> Consent:
    """Withdraw or grant consent of people named by their local ids."""
    vault, cipher = node.vault, node.vault.cipher
    wanted = list(dict.fromkeys(local_id.strip() for local_id in local_ids if local_id.strip()))
    keys = columns.from_list([cipher.local_key(local_id) for local_id in wanted])
    asked = columns.table(position=columns.positions(len(wanted)), local_key=keys)
    join = "ANTI" if withdrawn else "SEMI"
    with vault.only_writer():
        with vault.reading() as session:
            moved = columns.numbers(
                session.table(
                    f"SELECT position FROM asked {join} JOIN withdrawn USING (local_key)",
                    asked=asked,
                )["position"]
            )
            everyone = records.known(session, cipher, wanted)
            epochs = node.epochs.encoded(session)
            refs = everyone.refs[np.isin(everyone.positions, moved)].astype(np.int32)
            people = records.open_people(session, cipher, refs)
        encoded = (
            [] if withdrawn else [encodings.encode(each, node.schema, people) for each in epochs]
        )
        changed = columns.table(local_key=keys[moved])
        with vault.writing() as session:
            if withdrawn:
                session.run("INSERT INTO withdrawn SELECT * FROM changed", changed=changed)
                encodings.erase(session, cipher, refs)
            else:
                session.run(
                    "DELETE FROM withdrawn WHERE local_key IN (SELECT local_key FROM changed)",
                    changed=changed,
                )
                encodings.publish(session, cipher, encoded)
    done = Consent(len(moved), len(wanted) - len(everyone.refs))
    action = "consent-withdrawn" if withdrawn else "consent-granted"
    node.audit.write(action, "operator/local", changed=done.changed, unknown=done.unknown)
    return done
