"""Consent: whoever withdraws is out of the feed, the links and every later answer at once.

A withdrawal is kept apart from the record, so it also stands for someone who is loaded later or
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinlink_registry import presence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.domain import Consent
    from kinlink_registry.node import Node
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session


def set_consent(node: Node, local_ids: Sequence[str], *, withdrawn: bool) -> Consent:
    """Withdraw or grant consent of people named by their local ids."""
    join = "ANTI" if withdrawn else "SEMI"

    def chosen(session: Session, asked: Any) -> Any:
        return session.table(
            f"SELECT position FROM asked {join} JOIN withdrawn USING (local_key)", asked=asked
        )

    def write(session: Session, changed: Any, refs: Refs) -> None:  # noqa: ARG001 - none is shown
        session.run(
            "INSERT INTO withdrawn SELECT * FROM changed"
            if withdrawn
            else "DELETE FROM withdrawn WHERE local_key IN (SELECT local_key FROM changed)",
            changed=changed,
        )

    done = presence.move(node, local_ids, chosen=chosen, write=write, returning=not withdrawn)
    action = "consent-withdrawn" if withdrawn else "consent-granted"
    node.audit.write(action, "operator/local", changed=done.changed, unknown=done.unknown)
    return done
