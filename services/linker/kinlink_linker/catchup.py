"""A linkage that ended is run once more, to bring its links up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink_core.errors import Reason, UnavailableError

from kinlink_linker.federation import Federation
from kinlink_linker.job import Job, Workshop
from kinlink_linker.progress import Progress, Tally
from kinlink_linker.run import Run

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.domain import LinkageOrder
    from kinlink_linker.peer import RegistryPeer


def catch_up(
    shop: Workshop,
    schema: Schema,
    linkage_id: str,
    order: LinkageOrder,
    *,
    peers: Mapping[str, RegistryPeer],
    stopping: threading.Event,
    everyone: bool,
) -> None:
    """Run all stages under the id of a linkage; standing search takes the result over.

    Args:
        shop: what linkages share.
        schema: the schema.
        linkage_id: the linkage.
        order: its order, with the model that it had.
        peers: its registries.
        stopping: cancels it.
        everyone: do nothing unless all registries are here.

    Raises:
        KinlinkError: as a linkage does; UNREACHABLE if one is away that has to be here.
    """
    federation = Federation(peers, stopping)
    try:
        if everyone:
            shop.sync.connect(federation)
            if federation.missing:
                away = ", ".join(each.name for each in federation.missing)
                raise UnavailableError(Reason.UNREACHABLE, f"Standing search waits for: {away}.")
        tally = Tally([each.id for each in schema.passes])
        run = Run(linkage_id, schema, federation, Progress(), tally)
        Job(shop, order, run, again=True).work()
    finally:
        shop.sync.note_lost(federation)
        federation.close()
