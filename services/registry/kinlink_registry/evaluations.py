"""What the key server evaluated for us, kept so that no value is evaluated twice.

An evaluation is found by a keyed digest of its blocking value and sealed like everything else; it
goes when the last record under its token does. Those of canaries stay as long as their epoch. Here
too are the key server's public keys as they were first seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding import keys

from kinlink_registry import columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy.typing as npt
    from kinlink_core.encoding.encode import PassInputs

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.session import Session


@dataclass(frozen=True)
class Held:
    """The evaluator of the encoding, as far as the vault knows its answers."""

    found: Mapping[bytes, bytes]  # x to y

    def evaluate(self, pass_id: str, inputs: list[bytes]) -> list[bytes]:  # noqa: ARG002 - x names it
        """The y of each x, which must be held."""
        return [self.found[each] for each in inputs]

    def covers(self, wanted: Sequence[PassInputs], rows: int) -> npt.NDArray[np.bool_]:
        """Which of the records of a batch have all of their blocking values evaluated."""
        covered = np.ones(rows, bool)
        for each in wanted:
            lacking = np.fromiter((x not in self.found for x in each.inputs), bool)
            if lacking.any():
                covered[each.row[lacking[each.input_index]]] = False
        return covered


def place(digest: bytes) -> bytes:
    """Associated data of a sealed evaluation."""
    return b"evaluation " + digest


def held(session: Session, cipher: VaultCipher, epoch: Epoch, wanted: Sequence[PassInputs]) -> Held:
    """Open what the vault has of a batch's blocking inputs."""
    inputs = [x for each in wanted for x in each.inputs]
    digests = [cipher.input_digest(epoch.id, x) for x in inputs]
    found = session.table(
        "SELECT position, sealed FROM asked JOIN evaluation USING (input) WHERE epoch_id = ?",
        [epoch.id],
        asked=_asked(digests),
    )
    positions = columns.numbers(found["position"]).tolist()
    places = (place(digests[position]) for position in positions)
    opened = cipher.open_all(zip(places, found["sealed"].to_pylist(), strict=True))
    return Held({inputs[at]: y for at, y in zip(positions, opened, strict=True)})


def missing(
    session: Session, cipher: VaultCipher, epoch: Epoch, inputs: Sequence[bytes]
) -> list[bytes]:
    """Which of one pass's blocking inputs the vault has no evaluation of, in order."""
    digests = [cipher.input_digest(epoch.id, x) for x in inputs]
    lacking = session.table(
        "SELECT position FROM asked ANTI JOIN"
        " (SELECT input FROM evaluation WHERE epoch_id = ?) USING (input)",
        [epoch.id],
        asked=_asked(digests),
    )
    return [inputs[at] for at in sorted(columns.numbers(lacking["position"]).tolist())]


def keep(
    session: Session,
    cipher: VaultCipher,
    epoch: Epoch,
    answered: Mapping[bytes, bytes],
    *,
    canary: bool,
) -> None:
    """Store evaluations that the vault does not have yet."""
    inputs, found = list(answered), list(answered.values())
    digests = [cipher.input_digest(epoch.id, x) for x in inputs]
    tokens = [keys.token(key) for key in epoch.schedule.blocking_keys(inputs, found)]
    table = columns.table(
        epoch_id=np.full(len(inputs), epoch.id, np.int16),
        input=columns.from_list(digests),
        token=columns.from_list(tokens),
        sealed=cipher.seal_all(zip(map(place, digests), found, strict=True)),
    )
    session.run(
        "INSERT INTO evaluation SELECT epoch_id, input, token, ?, false, sealed FROM fresh",
        [canary],
        fresh=table,
    )


def loosen(session: Session, tokens: Any) -> None:
    """Note tokens (epoch_id, token) that no record stands under; `settle` ends the transaction."""
    session.run(
        "UPDATE evaluation SET loose = true FROM tokens WHERE NOT evaluation.canary AND"
        " evaluation.epoch_id = tokens.epoch_id AND evaluation.token = tokens.token",
        tokens=tokens,
    )


def settle(session: Session) -> None:
    """Forget the evaluations of noted tokens, but for those that a record took up again."""
    session.run(
        "DELETE FROM evaluation USING"
        " (SELECT epoch_id, token FROM evaluation WHERE loose"
        "  EXCEPT SELECT epoch_id, token FROM token_key) AS gone"
        " WHERE evaluation.epoch_id = gone.epoch_id AND evaluation.token = gone.token"
    )
    session.run("UPDATE evaluation SET loose = false WHERE loose")


def sweep(session: Session, epoch_id: int) -> None:
    """Forget evaluations that no record of an epoch needs; when none of its records waits."""
    session.run(
        "DELETE FROM evaluation WHERE epoch_id = $epoch AND NOT canary AND token NOT IN"
        " (SELECT token FROM token_key WHERE epoch_id = $epoch)",
        {"epoch": epoch_id},
    )


def pins(session: Session, epoch_id: int) -> dict[str, bytes]:
    """The key server's public keys of an epoch by pass, as they were first seen."""
    rows = session.rows(
        "SELECT pass_id, public_key FROM evaluation_key WHERE epoch_id = ?", [epoch_id]
    )
    return {pass_id: bytes(key) for pass_id, key in rows}


def pin(session: Session, epoch_id: int, pass_id: str, public_key: bytes) -> None:
    """Remember the public key of a pass, unless one is known already."""
    if pass_id not in pins(session, epoch_id):
        session.run("INSERT INTO evaluation_key VALUES (?, ?, ?)", [epoch_id, pass_id, public_key])


def _asked(digests: Sequence[bytes]) -> Any:
    return columns.table(position=columns.positions(len(digests)), input=columns.from_list(digests))
