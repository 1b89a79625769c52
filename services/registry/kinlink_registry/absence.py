"""Who takes no part in anything: whose consent is withdrawn, and who is hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from kinlink_registry import columns
from kinlink_registry.domain import APPROVAL, HIDDEN

if TYPE_CHECKING:
    from kinlink_registry.columns import Bytes
    from kinlink_registry.session import Session

# A relation (local_key) of everyone who is kept out.
ABSENT: Final = (
    "(SELECT local_key FROM withdrawn"
    f" UNION SELECT local_key FROM protected WHERE kind = {HIDDEN}) AS absent"
)


def counts(session: Session) -> dict[str, int]:
    """Records by what they are to others; a record has one state."""
    records = session.value("SELECT count(*) FROM record")
    withdrawn = session.value("SELECT count(*) FROM record SEMI JOIN withdrawn USING (local_key)")
    hidden = session.value(
        "SELECT count(*) FROM record ANTI JOIN withdrawn USING (local_key)"
        f" SEMI JOIN (SELECT local_key FROM protected WHERE kind = {HIDDEN}) USING (local_key)"
    )
    return {"live": records - withdrawn - hidden, "withdrawn": withdrawn, "hidden": hidden}


def needing_approval(session: Session) -> int:
    """Live records of which each disclosure waits for an officer."""
    found: int = session.value(
        f"SELECT count(*) FROM record ANTI JOIN {ABSENT} USING (local_key)"
        f" SEMI JOIN (SELECT local_key FROM protected WHERE kind = {APPROVAL}) USING (local_key)"
    )
    return found


def are_absent(session: Session, local_keys: Bytes) -> npt.NDArray[np.bool_]:
    """Which of the people are kept out; (n,)."""
    asked = columns.table(position=columns.positions(len(local_keys)), local_key=local_keys)
    found = session.table(
        f"SELECT position FROM asked SEMI JOIN {ABSENT} USING (local_key)", asked=asked
    )
    absent = np.zeros(len(local_keys), bool)
    absent[columns.numbers(found["position"])] = True
    return absent
