"""Tell each registry the links that touch its subjects, with the handles of their pairs.

Pairs below the link threshold are told too, without a person: a verdict on one of them must be able
to stop its handles from being sealed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kinlink_linker import duck
from kinlink_linker.domain import as_bytes
from kinlink_linker.federation import Ask, in_turn
from kinlink_linker.pair_state import TOLD
from kinlink_linker.peer import Publication

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from kinlink_linker.links import FoundLinks
    from kinlink_linker.peer import RegistryPeer
    from kinlink_linker.run import Run
    from kinlink_linker.store import Store

PUBLICATIONS_A_REQUEST = 4_000

# In the order of a `Publication`, as far as its verdict.
_LINKS: Final = f"""
SELECT link.link_id,
       if(link.registry_l = $own, link.subject_l, link.subject_r),
       if(link.registry_l = $own, link.registry_r, link.registry_l),
       if(link.registry_l = $own, link.subject_r, link.subject_l),
       link.weight, link.probability,
       if(link.linked, coalesce(member.person_id, ''), ''), {TOLD}
FROM link
LEFT JOIN verdict ON verdict.link_id = link.link_id
LEFT JOIN member ON member.registry = link.registry_l AND member.subject = link.subject_l
WHERE link.linkage_id = $linkage_id AND (link.registry_l = $own OR link.registry_r = $own)
"""
_ONLY: Final = " AND list_contains($only, link.link_id)"
_NO_HANDLES: Final = (b"", b"")


@dataclass(frozen=True)
class Publisher:
    """Publishes the links of one linkage."""

    run: Run
    store: Store

    def publish(self, found: Sequence[FoundLinks], only: Collection[str] | None = None) -> None:
        """Publish to every registry that is still here; one that fails is lost to the linkage.

        Args:
            found: the links whose handles are told.
            only: the links that are published; None: all of the linkage.
        """
        asks: list[Ask[str, int]] = []
        missing = tuple(each.name for each in self.run.federation.missing)
        for name in self.run.federation.present:
            publications = list(self._of(name, found, only))
            self.run.progress.expect(len(publications))
            for start in range(0, len(publications), PUBLICATIONS_A_REQUEST):
                batch = publications[start : start + PUBLICATIONS_A_REQUEST]
                call = partial(_publish_at, self.run.linkage_id, self.run.epoch, missing, batch)
                asks.append(Ask(name, name, call))
        for _, count in self.run.federation.ask(in_turn(asks)):
            self.run.progress.advance(count)

    def _of(
        self, registry: str, found: Sequence[FoundLinks], only: Collection[str] | None
    ) -> Iterator[Publication]:
        handles = _handles(registry, found)
        sql = _LINKS
        parameters: dict[str, Any] = {"linkage_id": self.run.linkage_id, "own": registry}
        if only is not None:
            sql += _ONLY
            parameters["only"] = sorted(only)
        with self.store.reading() as cursor:
            rows = duck.rows(cursor, sql, parameters)
        for row in rows:
            yield Publication._make((*row, False, *handles.get(row[0], _NO_HANDLES)))


def _handles(registry: str, found: Sequence[FoundLinks]) -> dict[str, tuple[bytes, bytes]]:
    """Own and partner handle of each link of a registry."""
    handles: dict[str, tuple[bytes, bytes]] = {}
    for each in found:
        if registry not in {each.left, each.right}:
            continue
        own, other = as_bytes(each.left_handle), as_bytes(each.right_handle)
        if registry == each.right:
            own, other = other, own
        handles.update(zip(each.ids(), zip(own, other, strict=True), strict=True))
    return handles


def _publish_at(
    linkage_id: str,
    epoch: str,
    missing: tuple[str, ...],
    publications: list[Publication],
    peer: RegistryPeer,
) -> int:
    peer.publish(linkage_id, epoch, missing, publications)
    return len(publications)
