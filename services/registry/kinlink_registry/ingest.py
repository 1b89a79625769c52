"""Taking an office's records in: read, normalise, compare with what is there, encode, write.

Batches are whole: an interruption keeps the batches that were written and loses the rest, and
running the same ingest again moves nothing that is there already. Bad rows go to a report, good
rows go on.
"""

from __future__ import annotations

import datetime as dt
import errno
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding.keys import MODE_KEY_SERVER
from kinlink_core.errors import InvalidInputError, KinlinkError, QuotaError, Reason

from kinlink_registry import columns, encodings, records, rounds
from kinlink_registry.absence import are_absent
from kinlink_registry.domain import IngestRequest, Progress
from kinlink_registry.report import Report, RowFault
from kinlink_registry.rows import RowReader, Rows
from kinlink_registry.source import SourceSpec, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from kinlink_registry.cipher import VaultCipher
    from kinlink_registry.node import Node
    from kinlink_registry.session import Session


@dataclass(frozen=True)
class Change:
    """What a batch of rows means for the vault."""

    added: Rows
    updated: Rows
    updated_refs: records.Refs
    updated_versions: records.Refs  # the new ones
    unchanged: int


def ingest(node: Node, request: IngestRequest) -> Iterator[Progress]:
    """Run an ingest; yields after each batch that is written.

    Raises:
        InvalidInputError: the source as a whole is unusable; nothing was changed.
        QuotaError: `DISK_FULL`; the batches reported so far are kept.
    """
    started = time.monotonic()
    progress = Progress()
    try:
        for progress in _batches(node, request):
            yield progress
        progress = replace(progress, done=True)
        yield progress
    finally:
        _account(node, request, progress, time.monotonic() - started)


def _batches(node: Node, request: IngestRequest) -> Iterator[Progress]:
    report_path = Path(request.report_path) if request.report_path else _default_report(node)
    spec = SourceSpec(request.path, request.query, request.encoding)
    with (
        _full_disk_named(),
        open_source(spec, memory_limit=node.settings.vault.memory_limit) as source,
        Report(report_path) as report,
    ):
        reader = RowReader(
            node.schema,
            source,
            request.id_column,
            ids_only=request.delete,
            side=node.settings.side,
        )
        report.add(source.faults)
        _count_rejected(node, source.faults, "malformed")
        progress = Progress(
            rows_read=report.rejected,
            rows_total=source.rows_total + report.rejected,
            rejected=report.rejected,
            report_path=report.written,
        )
        yield progress
        for batch in source.batches(reader.columns, node.epochs.coder.rows_at_once):
            rows, faults = reader.read(batch)
            report.add(faults)
            _count_rejected(node, faults, "value")
            if request.delete:
                done = _delete(node, rows, request)
            else:
                done = _store(node, rows, request, progress.added + progress.updated)
            progress = replace(
                progress,
                rows_read=progress.rows_read + len(batch.rows),
                added=progress.added + done.added,
                updated=progress.updated + done.updated,
                unchanged=progress.unchanged + done.unchanged,
                deleted=progress.deleted + done.deleted,
                rejected=report.rejected,
                report_path=report.written,
                blanked=dict(reader.blanked),
            )
            yield progress


def _store(node: Node, rows: Rows, request: IngestRequest, before: int) -> Progress:
    vault, cipher = node.vault, node.vault.cipher
    if not request.dry_run:
        _buy(node, rows)
    with vault.only_writer():
        change = compare(node, rows)
        done = Progress(
            added=len(change.added.local_ids),
            updated=len(change.updated.local_ids),
            unchanged=change.unchanged,
        )
        if request.dry_run or not (done.added or done.updated):
            return done
        with vault.reading() as session:
            epochs = node.epochs.encoded(session)
            hidden = _absent(session, cipher, [*change.added.local_ids, *change.updated.local_ids])
        with vault.writing() as session:
            people = records.People(
                np.concatenate([records.new_refs(session, done.added), change.updated_refs]),
                np.concatenate([np.ones(done.added, np.int32), change.updated_versions]),
                [*change.added.local_ids, *change.updated.local_ids],
                [*change.added.values, *change.updated.values],
            )
            shown = records.chosen(people, ~hidden)
            encoded = [
                each for epoch in epochs for each in node.epochs.coder.encode(session, epoch, shown)
            ]
            retired = encodings.unpublish(session, change.updated_refs)
            records.remove(session, change.updated_refs)
            records.insert(session, cipher, people)
            rounds.write(
                session,
                cipher,
                encoded,
                retired,
                rounds=node.rounds,
                loaded=before + len(people.refs),
            )
    return done


def _buy(node: Node, rows: Rows) -> None:
    """Have evaluated what rows need, before the vault has to wait for anything.

    Where that fails the rows are stored all the same, and encoded later (`EpochBook.sync`).
    """
    if node.epochs.coder.mode != MODE_KEY_SERVER:
        return
    change = compare(node, rows)
    local_ids = [*change.added.local_ids, *change.updated.local_ids]
    with node.vault.reading() as session:
        hidden = _absent(session, node.vault.cipher, local_ids).tolist()
    values = [*change.added.values, *change.updated.values]
    node.epochs.buy([each for each, out in zip(values, hidden, strict=True) if not out])


def _delete(node: Node, rows: Rows, request: IngestRequest) -> Progress:
    with node.vault.only_writer():
        with node.vault.reading() as session:
            known = records.known(session, node.vault.cipher, rows.local_ids)
        done = Progress(deleted=len(known.refs), unchanged=len(rows.local_ids) - len(known.refs))
        if not request.dry_run and done.deleted:
            with node.vault.writing() as session:
                encodings.erase(session, node.vault.cipher, known.refs)
                records.remove(session, known.refs)
    return done


def compare(node: Node, rows: Rows) -> Change:
    """Tell new, changed and unchanged rows apart."""
    cipher = node.vault.cipher
    with node.vault.reading() as session:
        known = records.known(session, cipher, rows.local_ids)
    at = {position: index for index, position in enumerate(known.positions.tolist())}
    added, updated, kept = [], [], []
    for position, (local_id, values) in enumerate(zip(rows.local_ids, rows.values, strict=True)):
        index = at.get(position)
        if index is None:
            added.append(position)
        elif cipher.content_digest(records.content(local_id, values)) != known.digests[index]:
            updated.append(position)
            kept.append(index)
    return Change(
        rows.at(added),
        rows.at(updated),
        known.refs[kept].astype(np.int32),
        (known.versions[kept] + 1).astype(np.int32),
        len(rows.local_ids) - len(added) - len(updated),
    )


def _absent(
    session: Session, cipher: VaultCipher, local_ids: Sequence[str]
) -> npt.NDArray[np.bool_]:
    return are_absent(session, columns.from_list([cipher.local_key(each) for each in local_ids]))


def _default_report(node: Node) -> Path:
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S%f")
    return node.home.reports / f"rejected-{stamp}.csv"


def _count_rejected(node: Node, faults: Sequence[RowFault], reason: str) -> None:
    rows = len({fault.row for fault in faults})
    if rows:
        node.instruments.registry.ingest_rejected.labels(reason).inc(rows)


def _account(node: Node, request: IngestRequest, progress: Progress, seconds: float) -> None:
    counts = {
        outcome: getattr(progress, outcome)
        for outcome in ("added", "updated", "unchanged", "deleted")
    }
    # A full disk ends an ingest, and may not take the entry about it either.
    with suppress(KinlinkError) if not progress.done else nullcontext():
        node.audit.write(
            "ingest",
            "operator/local",
            dry_run=request.dry_run,
            finished=progress.done,
            rejected=progress.rejected,
            **counts,
        )
    if request.dry_run:
        return
    metrics = node.instruments.registry
    for outcome, count in counts.items():
        metrics.ingest_rows.labels(outcome).inc(count)
    if progress.done:
        metrics.ingest_seconds.observe(seconds)
        metrics.ingest_succeeded.set_to_current_time()


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise QuotaError(Reason.DISK_FULL) from error
        raise InvalidInputError(
            Reason.FILE_UNREADABLE, f"{error.filename} cannot be used: {error.strerror}."
        ) from error
