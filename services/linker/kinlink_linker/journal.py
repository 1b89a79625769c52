"""What the linker's audit says: who had what linked and why, how it ended, who took links away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
from kinlink_core.errors import KinlinkError

if TYPE_CHECKING:
    from kinlink_core.runtime.audit import AuditLog

    from kinlink_linker.domain import Linkage, Verdict

SELF: Final = "linker/self"

_log = structlog.get_logger(__name__)


class Journal:
    """One method an event; raises what `AuditLog.write` raises unless it says otherwise."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def created(self, actor: str, linkage: Linkage) -> None:
        """A linkage was started."""
        order = linkage.order
        self._log.write(
            "linkage-created",
            actor,
            linkage=linkage.id,
            purpose=order.purpose,
            requested_by=order.requested_by,
            registries=list(order.registries),
            model=order.model,
        )

    def cancelled(self, actor: str, linkage_id: str) -> None:
        """Somebody asked a linkage to end."""
        self._log.write("linkage-cancelled", actor, linkage=linkage_id)

    def ended(self, linkage: Linkage) -> None:
        """A linkage ended, in whatever way.

        It never raises: what happened cannot be undone, so an entry that is lost is logged.
        """
        try:
            self._log.write(
                "linkage-ended",
                SELF,
                linkage=linkage.id,
                purpose=linkage.order.purpose,
                state=linkage.state.value,
                reason=linkage.error_reason,
                epoch=linkage.epoch,
                missing=[each.name for each in linkage.missing],
                candidate_pairs=linkage.candidate_pairs,
                disclosed_pairs=linkage.disclosed_pairs,
                links=linkage.links,
                persons=linkage.persons,
            )
        except KinlinkError as error:
            _log.error("audit_entry_lost", action="linkage-ended", reason=error.reason)

    def erased(self, registry: str, people: int, links: int) -> None:
        """A registry retired subjects, and their links were erased; never raises, as `ended`."""
        try:
            self._log.write("people-erased", SELF, registry=registry, people=people, links=links)
        except KinlinkError as error:
            _log.error("audit_entry_lost", action="people-erased", reason=error.reason)

    def exported(self, actor: str, linkage_id: str, links: int) -> None:
        """All links of a filter are about to leave; the linkage is empty if it names none."""
        self._log.write("links-exported", actor, linkage=linkage_id, links=links)

    def read(self, actor: str, link_id: str = "", links: int = 1) -> None:
        """An operator looks at links; what the gateway shows is in the gateway's own audit."""
        self._log.write("links-read", actor, link=link_id, links=links)

    def decided(self, actor: str, link_id: str, verdict: Verdict, by: str) -> None:
        """A verdict is about to be taken."""
        self._log.write("link-decided", actor, link=link_id, verdict=verdict, by=by)

    def model_set(self, actor: str, name: str) -> None:
        """A model is kept under a name."""
        self._log.write("model-set", actor, model=name)
