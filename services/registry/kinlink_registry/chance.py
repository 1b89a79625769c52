"""Own side of random pairs with a partner: how often records of two registries agree by chance.

Both registries draw under the epoch secret without talking (`kinlink_core.encoding.chance`). Three
things are settled here. Sizes are rounded down to a power of two, so that records that come or go
between two calls seldom shift the draw, and the size is part of the key, so that a shifted draw
shows as noise and never as a wrong rate. A draw is written down: asked again, the same places hold
the same versions of the same records, or noise, because two records sealed under one key would show
how they differ. And no row is a record: each field is shuffled among the drawn records for itself,
under a key of the vault. How often a field agrees by chance needs no more, and a partner that
colludes with the linker and opens what is sealed towards it finds values, but nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from kinlink_core.encoding import keys
from kinlink_core.encoding.chance import draw
from kinlink_core.encoding.fixed_parts import join_fixed, split_fixed
from kinlink_core.encoding.prf import Prf
from kinlink_core.encoding.seal import TagDigests, seal_pairs
from kinlink_core.encoding.sketch import SKETCH_BYTES
from kinlink_core.encoding.vectors import VECTOR_BYTES
from kinlink_core.wire import Refusal, SealedRows

from kinlink_registry import columns
from kinlink_registry.sealing import chunk_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.chance import ChanceDraw
    from kinlink_core.encoding.prf import Seeds
    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.columns import Bytes
    from kinlink_registry.epochs import Epoch
    from kinlink_registry.partners import Partner
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session
    from kinlink_registry.shelf import Opened
    from kinlink_registry.vault import Vault

# A registry of this size draws no smaller rounds, whatever the linker says that its partner holds:
# among a handful of drawn records shuffling would hide nothing.
ROUND_ROWS_MIN = 1024
GONE = -1


@dataclass(frozen=True)
class Drawn:
    """Own records at the places of a draw; arrays of one length."""

    refs: Refs  # GONE where the drawn version is
    versions: Refs
    seeds: Seeds  # of the pairs


def round_rows(own_records: int, partner_records: int) -> int:
    """Pairs of a round: the largest power of two that both registries can fill, or none."""
    smaller = min(own_records, partner_records)
    if smaller < ROUND_ROWS_MIN <= own_records:
        return 0
    return 1 << (smaller.bit_length() - 1) if smaller > 0 else 0


def drawn(vault: Vault, epoch: Epoch, partner: Partner, own: str, partner_records: int) -> Drawn:
    """Own records of the draw with a partner, and the pairs' keys."""
    with vault.writing() as session:
        live = session.table(
            "SELECT ref, version, local_key FROM sketch JOIN record USING (ref, version)"
            " WHERE epoch_id = ? ORDER BY ref",
            [epoch.id],
        )
        refs, versions = columns.numbers(live["ref"]), columns.numbers(live["version"])
        names = vault.cipher.record_names(columns.matrix(live["local_key"]))
        rows = round_rows(len(refs), partner_records)
        found = _draw(epoch, partner, own, names, rows)
        chosen = found.index
        _write_down(session, epoch, partner, rows, refs=refs[chosen], versions=versions[chosen])
        pinned = session.table(
            f"SELECT position, (CASE WHEN sketch.ref IS NULL THEN {GONE} ELSE ref END)::INTEGER"
            " AS ref, version FROM chance LEFT JOIN sketch USING (epoch_id, ref, version)"
            " WHERE epoch_id = ? AND partner = ? AND round_rows = ? ORDER BY position",
            [epoch.id, partner.name, rows],
        )
    count = len(found.seeds)
    return Drawn(
        columns.numbers(pinned["ref"])[:count],
        columns.numbers(pinned["version"])[:count],
        found.seeds,
    )


def seal_drawn(
    schema: Schema, opened: Opened, rows: Drawn, *, null_key: bytes
) -> Iterator[SealedRows]:
    """Seal the own side of a draw, each field in an order of its own.

    What is not among the opened records in the drawn version is sealed as missing.
    """
    orders = [_order(null_key, rows.seeds, field.name) for field in schema.fields]
    step = chunk_rows(schema)
    for start in range(0, len(rows.refs), step):
        at = np.arange(start, min(start + step, len(rows.refs)))
        fixed, digests = _mixed(schema, opened, rows, [order[at] for order in orders])
        sealed = seal_pairs(schema, rows.seeds.take(at), fixed, digests, null_key)
        yield SealedRows(sealed, np.full(len(fixed), Refusal.ANSWERED, np.uint8))


def _order(null_key: bytes, seeds: Seeds, field: str) -> npt.NDArray[np.int64]:
    """A random order of the drawn records."""
    digest = keys.extract(null_key, keys.lp(b"chance order", field.encode()))
    ranks = Prf(digest).again(seeds).draw(b"order", 8)
    return np.argsort(np.ascontiguousarray(ranks).view("<u8").reshape(-1), kind="stable")


def _mixed(
    schema: Schema, opened: Opened, rows: Drawn, orders: list[npt.NDArray[np.int64]]
) -> tuple[Bytes, list[TagDigests]]:
    """Fixed parts and digests of rows whose fields come from different records."""
    count = len(orders[0])
    present = np.zeros((count, len(schema.fields)), bool)
    sketches = [
        np.zeros((count, SKETCH_BYTES), np.uint8) for field in schema.fields if field.has_sketch
    ]
    vectors = [
        np.zeros((count, VECTOR_BYTES), np.uint8)
        for field in schema.fields
        if field.vector is not None
    ]
    mixed: list[TagDigests] = []
    for index, (field, order) in enumerate(zip(schema.fields, orders, strict=True)):
        here = np.flatnonzero(_unchanged(opened, rows.refs[order], rows.versions[order]))
        found = opened.gather(rows.refs[order][here])
        parts = split_fixed(schema, found.fixed)
        present[here, index] = parts.present[:, index]
        if field.has_sketch:
            number = sum(each.has_sketch for each in schema.fields[:index])
            sketches[number][here] = parts.sketches[:, number]
        if field.vector is not None:
            number = sum(each.vector is not None for each in schema.fields[:index])
            vectors[number][here] = parts.vectors[:, number]
        digests = TagDigests(
            np.zeros((count, len(field.tags)), np.uint64), np.ones((count, len(field.tags)), bool)
        )
        digests.digest[here] = found.digests[index].digest
        digests.missing[here] = found.digests[index].missing
        mixed.append(digests)
    return join_fixed(present, sketches, vectors=vectors), mixed


def _unchanged(opened: Opened, refs: Refs, versions: Refs) -> npt.NDArray[np.bool_]:
    """Which records are opened, in these versions."""
    if not len(opened.refs):
        return np.zeros(len(refs), bool)
    at = np.minimum(np.searchsorted(opened.refs, refs), len(opened.refs) - 1)
    same: npt.NDArray[np.bool_] = (opened.refs[at] == refs) & (opened.versions[at] == versions)
    return same


def _draw(epoch: Epoch, partner: Partner, own: str, names: Bytes, rows: int) -> ChanceDraw:
    sized_key = keys.extract(partner.pair_key, keys.lp(b"chance", rows.to_bytes(8, "big")))
    return draw(epoch.schedule, sized_key, own, names, rows)


def _write_down(
    session: Session, epoch: Epoch, partner: Partner, rows: int, *, refs: Refs, versions: Refs
) -> None:
    place = [epoch.id, partner.name, rows]
    known = session.value(
        "SELECT count(*) FROM chance WHERE epoch_id = ? AND partner = ? AND round_rows = ?", place
    )
    if not known:
        session.run(
            "INSERT INTO chance SELECT ?, ?, ?, position, ref, version FROM draw",
            place,
            draw=columns.table(
                position=np.arange(len(refs), dtype=np.uint32), ref=refs, version=versions
            ),
        )
