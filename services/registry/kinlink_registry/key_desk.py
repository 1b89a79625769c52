"""This registry's dealings with the key server: what to have evaluated, under which keys, and when.

Nothing that is asked here may hold the vault's writer up: blocking values are evaluated first and
kept in the vault; whoever encodes takes them from there. What goes wrong is remembered and told by
`status`, and nothing is asked again for a while; records that lack an evaluation wait meanwhile.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
from kinlink_core.errors import (
    KinlinkError,
    NotFoundError,
    PreconditionError,
    QuotaError,
    Reason,
)

from kinlink_registry import evaluations
from kinlink_registry.blinding import SUITE
from kinlink_registry.key_client import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kinlink_core.encoding.encode import Column
    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.epochs import Epoch
    from kinlink_registry.key_client import (
        Answered,
        KeyServerClient,
        KeyServerTerms,
        PassTerms,
    )
    from kinlink_registry.vault import Vault

# Inputs after which what was evaluated is written down: some seconds of work.
INPUTS_A_WRITE = 8_192

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Problem:
    """Why the key server did not evaluate, when it was last asked."""

    reason: Reason
    text: str
    since: dt.datetime


@dataclass(frozen=True)
class Bought:
    """Evaluations that arrived, of one pass of one epoch."""

    epoch: str
    pass_id: str
    count: int
    seconds: float


class KeyDesk:
    """Has blocking values evaluated; may be used from any thread, one at a time is served."""

    def __init__(
        self,
        schema: Schema,
        federation: str,
        vault: Vault,
        dial: Callable[[], KeyServerClient],
        *,
        retry_seconds: float,
        on_bought: Callable[[Bought], None] = lambda _bought: None,
    ) -> None:
        self._schema = schema
        self._federation = federation
        self._vault = vault
        self._dial = dial
        self._on_bought = on_bought
        self._lock = threading.Lock()
        self._rest_until = 0.0
        self.retry_seconds = retry_seconds
        self.problem: Problem | None = None

    @property
    def resting(self) -> bool:
        """Whether the key server failed so lately that it is not asked again yet."""
        return time.monotonic() < self._rest_until

    def buy(self, epoch: Epoch, columns: Mapping[str, Column], *, canary: bool = False) -> None:
        """Have the blocking values of a batch evaluated that the vault lacks.

        What fails is remembered as `problem`, not raised. Never call it as the vault's writer.
        """
        with self._lock:
            if self.resting:
                return
            wanted = epoch.encoder.blocking_inputs(columns)
            with self._vault.reading() as session:
                lacking = {
                    each.pass_id: evaluations.missing(
                        session, self._vault.cipher, epoch, each.by_record()
                    )
                    for each in wanted
                }
            if any(lacking.values()):
                self._ask(epoch, lacking, canary=canary)

    def _ask(self, epoch: Epoch, lacking: Mapping[str, Sequence[bytes]], *, canary: bool) -> None:
        """Dial, agree on keys, and evaluate pass by pass within what is left of each budget."""
        with self._vault.reading() as session:
            pinned = evaluations.pins(session, epoch.id)
        over = []
        try:
            with ExitStack() as opened:
                with _key_server_blamed():
                    server = opened.enter_context(self._dial())
                    terms = server.terms()
                    offered = agreed(terms, self._schema, self._federation, epoch.name, pinned)
                for pass_id, inputs in lacking.items():
                    own = offered[pass_id]
                    if len(inputs) > own.budget_left:
                        over.append(pass_id)
                    batch = Batch(
                        epoch.name,
                        pass_id,
                        terms.schema_fingerprint,
                        own.public_key,
                        inputs[: own.budget_left],
                    )
                    self._evaluate(server, epoch, batch, terms.elements_a_call, canary=canary)
        except _KeyServerError as failed:
            self._rest_until = time.monotonic() + self.retry_seconds
            self._note(failed.error)
            return
        if over:
            spent = f"The budget at the key server is spent: {', '.join(over)}."
            self._note(QuotaError(Reason.QUOTA_EXCEEDED, spent))
        else:
            self.problem = None

    def _evaluate(
        self,
        server: KeyServerClient,
        epoch: Epoch,
        batch: Batch,
        elements_a_call: int,
        *,
        canary: bool,
    ) -> None:
        for start in range(0, len(batch.inputs), INPUTS_A_WRITE):
            began = time.monotonic()
            part = replace(batch, inputs=batch.inputs[start : start + INPUTS_A_WRITE])
            answered = server.evaluate(part, elements_a_call)
            seconds = time.monotonic() - began
            if answered.found:
                self._keep(epoch, part, answered, canary=canary)
                self._on_bought(Bought(epoch.name, batch.pass_id, len(answered.found), seconds))
            if answered.error is not None:
                raise _KeyServerError(answered.error)

    def _keep(self, epoch: Epoch, batch: Batch, answered: Answered, *, canary: bool) -> None:
        """Write evaluations down, and with the first of a pass the key that they verified under."""
        with self._vault.writing() as session:
            stored = session.rows("SELECT mark FROM epoch WHERE id = ?", [epoch.id])
            # The epoch may have been retired, or the vault replaced, since this began.
            if stored != [(epoch.mark,)]:
                return
            evaluations.pin(session, epoch.id, batch.pass_id, batch.public_key)
            evaluations.keep(session, self._vault.cipher, epoch, answered.found, canary=canary)

    def _note(self, error: KinlinkError) -> None:
        if self.problem is None or self.problem.reason != error.reason:
            _log.warning("key_server_failed", reason=error.reason.value, detail=error.detail)
            since = dt.datetime.now(dt.UTC)
        else:
            since = self.problem.since
        self.problem = Problem(error.reason, error.public, since)


class _KeyServerError(Exception):
    """What the key server is the cause of, kept apart from what the vault is the cause of."""

    def __init__(self, error: KinlinkError) -> None:
        super().__init__(error.reason)
        self.error = error


@contextmanager
def _key_server_blamed() -> Iterator[None]:
    try:
        yield
    except KinlinkError as error:
        raise _KeyServerError(error) from error


def agreed(
    terms: KeyServerTerms,
    schema: Schema,
    federation: str,
    epoch: str,
    pinned: Mapping[str, bytes],
) -> Mapping[str, PassTerms]:
    """Check that a key server is ours, and the one that an epoch began with; its terms by pass.

    Raises:
        PreconditionError: `FEDERATION_DIFFERS`, `ENCODING_VERSION_DIFFERS`, `SCHEMA_DIFFERS`, or
            `KEY_CHANGED` where a public key is not the one that is pinned.
        NotFoundError: `EPOCH_UNKNOWN`: it has no key of the epoch.
    """
    if terms.federation != federation:
        raise PreconditionError(
            Reason.FEDERATION_DIFFERS, f"The key server is of federation {terms.federation!r}."
        )
    if terms.suite != SUITE:
        raise PreconditionError(
            Reason.ENCODING_VERSION_DIFFERS, f"The key server has another suite than {SUITE}."
        )
    passes = {each.id for each in schema.passes}
    offered = terms.epochs.get(epoch, {})
    if terms.schema_fingerprint != schema.fingerprint() or (offered and passes != set(offered)):
        raise PreconditionError(
            Reason.SCHEMA_DIFFERS,
            f"The key server has schema {terms.schema_fingerprint[:8]}, not"
            f" {schema.fingerprint()[:8]}.",
        )
    if not offered:
        raise NotFoundError(Reason.EPOCH_UNKNOWN, f"The key server has no key of epoch {epoch}.")
    changed = [pass_id for pass_id, key in pinned.items() if offered[pass_id].public_key != key]
    if changed:
        raise PreconditionError(
            Reason.KEY_CHANGED,
            f"The key server's key of {', '.join(changed)} in epoch {epoch} is not the one it had:"
            " nothing is sent to it.",
        )
    return offered
