"""Protected people: hidden from every linkage, or disclosed only when an officer approves.

Whoever is hidden is treated like one who withdrew: no handle of theirs is in any feed, and links
that stood are withdrawn. Whoever needs approval takes part, but the answer about them is
"withheld", the same as for a weight that is too low, until an officer approves that very pair.

Not guaranteed: a linker that knows the weight of a pair can suspect why it was withheld. Whoever
must not even be suspected is hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinlink_registry import encodings, presence
from kinlink_registry.domain import APPROVAL, HIDDEN, PROTECTIONS, UNPROTECTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kinlink_registry.domain import Consent
    from kinlink_registry.node import Node
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session


def protect(node: Node, local_ids: Sequence[str], kind: int) -> Consent:
    """Set the protection of people named by their local ids, or take it from them.

    What was approved or denied before counts no more.
    """

    def chosen(session: Session, asked: Any) -> Any:
        return session.table(
            "SELECT position FROM asked LEFT JOIN protected USING (local_key)"
            " WHERE coalesce(kind, 0) <> ?",
            [kind],
            asked=asked,
        )

    def write(session: Session, changed: Any, refs: Refs) -> None:
        for table in ("protected", "approval"):
            session.run(
                f"DELETE FROM {table} WHERE local_key IN (SELECT local_key FROM changed)",
                changed=changed,
            )
        if kind != UNPROTECTED:
            session.run(
                "INSERT INTO protected SELECT local_key, ?::UTINYINT FROM changed",
                [kind],
                changed=changed,
            )
        if kind == APPROVAL:
            # What was disclosed before nobody approved: the links go, and are asked for anew.
            encodings.forget_subjects(session, refs)
            encodings.bury(session)

    done = presence.move(node, local_ids, chosen=chosen, write=write, returning=kind != HIDDEN)
    node.audit.write(
        "unprotect" if kind == UNPROTECTED else "protect",
        "operator/local",
        kind=PROTECTIONS[kind],
        changed=done.changed,
        unknown=done.unknown,
    )
    return done
