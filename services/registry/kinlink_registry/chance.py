"""Own side of random pairs with a partner: how often records of two registries agree by chance.

Both registries draw under the epoch secret without talking (`kinlink_core.encoding.chance`). Two
things are settled here. Sizes are rounded down to a power of two, so that records that come or go
between two calls seldom shift the draw, and the size is part of the key, so that a shifted draw
shows as noise and never as a wrong rate. And a draw is written down: asked again, the same places
hold the same versions of the same records, or noise, because two records sealed under one key would
show how they differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from kinlink_core.encoding import keys
from kinlink_core.encoding.chance import draw
from kinlink_core.encoding.seal import seal_pairs
from kinlink_core.wire import Refusal, SealedRows

from kinlink_registry import columns
from kinlink_registry.sealing import chunk_rows, id_bytes, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kinlink_core.encoding.chance import ChanceDraw
    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.epochs import Epoch
    from kinlink_registry.partners import Partner
    from kinlink_registry.records import Refs
    from kinlink_registry.session import Session
    from kinlink_registry.shelf import Opened
    from kinlink_registry.vault import Vault


def round_rows(own_records: int, partner_records: int) -> int:
    """Pairs of a round: the largest power of two that both registries can fill."""
    smaller = min(own_records, partner_records)
    return 1 << (smaller.bit_length() - 1) if smaller > 0 else 0


def drawn(
    vault: Vault, epoch: Epoch, partner: Partner, own: str, partner_records: int
) -> tuple[Refs, list[bytes]]:
    """Own records of the draw, -1 where the drawn version is gone, and the pairs' keys."""
    with vault.writing() as session:
        live = session.table(
            "SELECT ref, version, local_key FROM sketch JOIN record USING (ref, version)"
            " WHERE epoch_id = ? ORDER BY ref",
            [epoch.id],
        )
        refs, versions = columns.numbers(live["ref"]), columns.numbers(live["version"])
        local_keys = id_bytes(columns.matrix(live["local_key"]))
        rows = round_rows(len(refs), partner_records)
        tags = [vault.cipher.record_tag(key, 0) for key in local_keys]
        found = _draw(epoch, partner, own, tags, rows)
        chosen = found.index
        _write_down(session, epoch, partner, rows, refs=refs[chosen], versions=versions[chosen])
        pinned = session.table(
            "SELECT position, (CASE WHEN sketch.ref IS NULL THEN -1 ELSE ref END)::INTEGER AS ref"
            " FROM chance LEFT JOIN sketch USING (epoch_id, ref, version)"
            " WHERE epoch_id = ? AND partner = ? AND round_rows = ? ORDER BY position",
            [epoch.id, partner.name, rows],
        )
    return columns.numbers(pinned["ref"])[: len(found.pair_keys)], found.pair_keys


def seal_drawn(
    schema: Schema, opened: Opened, refs: Refs, pair_keys: list[bytes], *, null_key: bytes
) -> Iterator[SealedRows]:
    """Seal the own side of drawn pairs; what is not among the opened records becomes noise."""
    present = np.isin(refs, opened.refs)
    step = chunk_rows(schema)
    for start in range(0, len(refs), step):
        part = slice(start, start + step)
        good = np.flatnonzero(present[part])
        fixed, values = opened.gather(schema, refs[part][good])
        chosen = [pair_keys[start + index] for index in good.tolist()]
        sealed = seal_pairs(schema, chosen, fixed, values, null_key)
        refusal = np.where(present[part], Refusal.ANSWERED, Refusal.RETIRED_HANDLE).astype(np.uint8)
        untagged = np.empty((len(refusal), 0), np.uint8)
        yield SealedRows(spread(sealed, good, len(refusal)), untagged, refusal)


def _draw(epoch: Epoch, partner: Partner, own: str, tags: list[bytes], rows: int) -> ChanceDraw:
    sized_key = keys.extract(partner.pair_key, keys.lp(b"chance", rows.to_bytes(8, "big")))
    return draw(epoch.schedule, sized_key, own, tags, rows)


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
