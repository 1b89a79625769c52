"""What one person may see and do of the federation: the only way from a request to the linker.

`access.Allow` has checked the role before a desk is made; the desk keeps a province to its own
registry, and keeps from it what analysts wrote and the totals of the federation. It asks the linker
for no more, and checks every answer again, so that a fault on either side shows nothing rather than
too much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kinlink_core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KinlinkError,
    NotFoundError,
    PreconditionError,
    Reason,
)
from kinlink_core.runtime.purpose import check_purpose

from kinlink_gateway.limits import REASON_CHARS_MAX
from kinlink_gateway.linker import LinkFilter, LinkOrder, RuledOutBy, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kinlink_gateway.cases import CandidatePage, CaseFilter, CaseKey, CasePage
    from kinlink_gateway.decisions import Decision, Decisions
    from kinlink_gateway.linkage_quality import LinkageQuality
    from kinlink_gateway.linker import (
        ExplainedLink,
        Link,
        Linkage,
        LinkagePage,
        Linker,
        LinkPage,
        Registry,
    )
    from kinlink_gateway.roles import Principal

FIRST_PRINTABLE = " "


@dataclass(frozen=True)
class LinkFile:
    """A link with its evidence and everything that was decided about it."""

    explained: ExplainedLink
    history: tuple[Decision, ...]


@dataclass(frozen=True)
class Desk:
    """One person at the gateway. `announce` writes to the audit what is about to change."""

    person: Principal
    linker: Linker
    decisions: Decisions
    announce: Callable[[str], None]

    def registries(self) -> tuple[Registry, ...]:
        """The registries; a province sees its own."""
        own = self.person.registry
        return tuple(r for r in self.linker.list_registries() if not own or r.name == own)

    def linkages(self, *, page_size: int, page_token: str = "") -> LinkagePage:
        """Linkages, newest first."""
        page = self.linker.list_linkages(page_size=page_size, page_token=page_token)
        return replace(page, linkages=tuple(self._shown(linkage) for linkage in page.linkages))

    def linkage(self, linkage_id: str) -> Linkage:
        """One linkage; a province sees its course and gaps, but no federation totals."""
        return self._shown(self.linker.get_linkage(linkage_id))

    def quality(self, linkage_id: str) -> LinkageQuality | None:
        """What a linkage is expected to be worth; a province sees how it is served itself."""
        found = self.linker.linkage_quality(linkage_id)
        own = self.person.registry
        return found if found is None or not own else found.of(own)

    def start(
        self, *, threshold_probability: float | None, registries: tuple[str, ...], purpose: str
    ) -> Linkage:
        """Start a linkage in this person's name."""
        known = {registry.name for registry in self.linker.list_registries()}
        unknown = sorted(set(registries) - known)
        if unknown:
            raise InvalidInputError(
                Reason.PEER_UNKNOWN, "The federation has no registry named " + ", ".join(unknown)
            )
        check_purpose(purpose)
        self.announce(f"purpose/{purpose}")
        return self.linker.create_linkage(
            threshold_probability=threshold_probability,
            registries=registries,
            purpose=purpose,
            requested_by=self.person.label,
        )

    def cancel(self, linkage_id: str) -> Linkage:
        """Ask a linkage to end."""
        if self.linker.get_linkage(linkage_id).state.ended:
            raise PreconditionError(
                Reason.LINKAGE_ENDED, "This linkage has already ended: there is nothing to cancel."
            )
        self.announce(linkage_id)
        return self._shown(self.linker.cancel_linkage(linkage_id))

    def links(
        self, link_filter: LinkFilter, *, order: LinkOrder, page_size: int, page_token: str = ""
    ) -> LinkPage:
        """One page of the links this person may see."""
        page = self.linker.list_links(
            self._scoped(link_filter), order=order, page_size=page_size, page_token=page_token
        )
        return replace(page, links=self._own(page.links))

    def count(self, link_filter: LinkFilter) -> int:
        """How many links a filter has for this person."""
        return self.links(link_filter, order=LinkOrder.WEIGHT_DESC, page_size=1).total

    def stream(self, link_filter: LinkFilter) -> Iterator[tuple[Link, ...]]:
        """All links of a filter that this person may see, in batches."""
        for batch in self.linker.stream_links(self._scoped(link_filter)):
            yield self._own(batch)

    def link(self, link_id: str) -> LinkFile:
        """One link with its evidence. To a province, a link of others does not exist."""
        try:
            explained = self.linker.get_link(link_id)
        except NotFoundError as error:
            # One text for what does not exist and what is not shown: nothing to tell apart.
            raise NotFoundError(Reason.LINK_NOT_FOUND) from error
        own = self.person.registry
        if not own:
            return LinkFile(explained, self.decisions.history(link_id))
        if not explained.link.touches(own):
            raise NotFoundError(Reason.LINK_NOT_FOUND)
        return LinkFile(replace(explained, link=self._own((explained.link,))[0]), ())

    @property
    def has_cases(self) -> bool:
        """Whether this federation works by case: its schema has two sides."""
        return self.linker.two_sided()

    def cases(
        self, case_filter: CaseFilter, *, order: LinkOrder, page_size: int, page_token: str = ""
    ) -> CasePage:
        """One page of cases; a province sees those in which it has a pair, counted by its pairs."""
        scoped = replace(case_filter, touching=self.person.registry)
        return self.linker.list_cases(
            scoped, order=order, page_size=page_size, page_token=page_token
        )

    def case(self, key: CaseKey, *, page_size: int, page_token: str = "") -> CandidatePage:
        """One case with a page of the candidates this person may see."""
        scoped = replace(key, touching=self.person.registry)
        try:
            page = self.linker.get_case(scoped, page_size=page_size, page_token=page_token)
        except NotFoundError as error:
            # One text for what does not exist and what is not shown: nothing to tell apart.
            raise NotFoundError(Reason.CASE_NOT_FOUND) from error
        links = self._own(tuple(each.explained.link for each in page.candidates))
        return replace(
            page,
            candidates=tuple(
                replace(each, explained=replace(each.explained, link=link))
                for each, link in zip(page.candidates, links, strict=True)
            ),
        )

    def decide(
        self,
        link_id: str,
        *,
        verdict: Verdict,
        reason: str,
        seen: str | None,
        ruled_out_by: RuledOutBy | None = None,
    ) -> Link:
        """Record a verdict at the linker, which tells both registries, and in the history.

        Args:
            link_id: the link.
            verdict: the verdict.
            reason: why; required to reject by anything that is not on the list.
            seen: the verdict the person had before their eyes ("" for none), or None to not check.
            ruled_out_by: by what a pair is rejected; None: by something else.

        Raises:
            ConflictError: the verdict changed since it was seen.
        """
        if verdict is not Verdict.REJECTED and ruled_out_by is not None:
            raise InvalidInputError(Reason.REQUEST_MALFORMED, "Only a rejection says by what.")
        if verdict is Verdict.REJECTED:
            ruled_out_by = ruled_out_by or RuledOutBy.OTHER
        reason = _checked_reason(reason, required=ruled_out_by is RuledOutBy.OTHER)
        current = self.link(link_id).explained.link
        if seen is not None and seen != (current.verdict or ""):
            raise ConflictError(
                Reason.STORE_BUSY,
                "Someone else decided this link meanwhile. Read their verdict, then decide again.",
            )
        self.announce(link_id)
        decided = self.linker.decide_link(
            link_id,
            verdict=verdict,
            reason=reason,
            by=self.person.label,
            ruled_out_by=ruled_out_by,
        )
        self.decisions.record(
            decided, verdict=verdict, reason=reason, by=self.person, ruled_out_by=ruled_out_by
        )
        return decided

    def _scoped(self, link_filter: LinkFilter) -> LinkFilter:
        own = self.person.registry
        if not own:
            return link_filter
        if link_filter.registry not in {"", own}:
            raise ForbiddenError(
                Reason.ROLE_FORBIDDEN,
                f"This token sees links of {own} only, not of another registry.",
            )
        return replace(link_filter, registry=own)

    def _own(self, links: tuple[Link, ...]) -> tuple[Link, ...]:
        own = self.person.registry
        if not own:
            return links
        if not all(link.touches(own) for link in links):
            raise KinlinkError(
                Reason.INTERNAL,
                "Something went wrong inside the gateway; the operator's log says more.",
                detail="the linker answered a province's filter with links of other registries",
            )
        return tuple(
            replace(link, verdict_reason="", verdict_by="", verdict_at=None, ruled_out_by=None)
            for link in links
        )

    def _shown(self, linkage: Linkage) -> Linkage:
        own = self.person.registry
        if not own:
            return linkage
        return replace(
            linkage,
            stages=tuple(replace(stage, done=0, total=0) for stage in linkage.stages),
            passes=(),
            candidate_pairs=None,
            disclosed_pairs=None,
            links=None,
            persons=None,
            em_iterations=None,
            created_by="",
            requested_by="",
            bytes_received={
                name: count for name, count in linkage.bytes_received.items() if name == own
            },
        )


def _checked_reason(reason: str, *, required: bool) -> str:
    reason = " ".join(reason.split())
    if required and not reason:
        raise InvalidInputError(Reason.REQUEST_MALFORMED, "A rejection needs a reason.")
    if len(reason) > REASON_CHARS_MAX:
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED, f"A reason has at most {REASON_CHARS_MAX} characters."
        )
    if any(character < FIRST_PRINTABLE for character in reason):
        raise InvalidInputError(
            Reason.REQUEST_MALFORMED, "A reason is one line of text without control characters."
        )
    return reason
