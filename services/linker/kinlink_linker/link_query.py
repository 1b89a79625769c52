"""Which links are meant and in what order: filters, sort orders and opaque page tokens, as SQL."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from kinlink_core.errors import InvalidInputError, Reason

from kinlink_linker.domain import PairState, Verdict
from kinlink_linker.linkage_table import stored_time
from kinlink_linker.pair_state import STATE

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1_000
PAGE_TOKEN_CHARS_MAX = 512


# Ruled out pairs are shown to who asks for them.
CANDIDATES = tuple(each for each in PairState if each is not PairState.RULED_OUT)


class LinkOrder(StrEnum):
    """How a list of links is sorted; ties are sorted by link id."""

    WEIGHT_DESC = "weight_desc"
    WEIGHT_ASC = "weight_asc"
    CREATED_DESC = "created_desc"


@dataclass(frozen=True)
class LinkFilter:
    """Which links are meant; without a linkage, those that stand now."""

    linkage_id: str = ""
    registry: str = ""
    probability_min: float = 0.0
    probability_max: float = 0.0
    person_id: str = ""
    verdicts: tuple[Verdict, ...] = ()
    undecided_only: bool = False
    include_disclosed: bool = False
    states: tuple[PairState, ...] = ()

    def digest(self) -> str:
        """Short text that differs where filters do."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Where:
    """Conditions joined by AND, with their parameters."""

    conditions: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)

    def add(self, condition: str, *parameters: object) -> None:
        """Add one more condition."""
        self.conditions.append(condition)
        self.parameters += parameters

    @property
    def sql(self) -> str:
        """The WHERE clause, or nothing."""
        return f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""


def where(chosen: LinkFilter) -> Where:
    """The conditions of a filter on `link`, left joined with `verdict` and `member`."""
    found = Where()
    if chosen.linkage_id:
        found.add("link.linkage_id = ?", chosen.linkage_id)
    else:
        found.add("link.standing")
    if chosen.registry:
        found.add("(link.registry_l = ? OR link.registry_r = ?)", chosen.registry, chosen.registry)
    if chosen.probability_min > 0:
        found.add("link.probability >= ?", chosen.probability_min)
    if chosen.probability_max > 0:
        found.add("link.probability <= ?", chosen.probability_max)
    if chosen.person_id:
        found.add("link.linked AND member.person_id = ?", chosen.person_id)
    if chosen.verdicts:
        found.add("list_contains(?, verdict.verdict)", [each.value for each in chosen.verdicts])
    if chosen.undecided_only:
        # A returned pair waits for a verdict again.
        among_states(found, (PairState.OPEN, PairState.RETURNED))
    _restrict(found, chosen)
    return found


def _restrict(found: Where, chosen: LinkFilter) -> None:
    """Leave out what was ruled out and what is no link, unless it is asked for."""
    rejected = Verdict.REJECTED in chosen.verdicts or PairState.RULED_OUT in chosen.states
    if chosen.states:
        among_states(found, chosen.states)
    elif not rejected:
        among_states(found, CANDIDATES)
    # A rejected link is no longer linked; asking for rejected ones must still find it.
    if not chosen.include_disclosed and not rejected:
        found.add("link.linked")


def among_states(found: Where, states: Iterable[PairState]) -> None:
    """Add the condition that pairs are in one of some states."""
    found.add(f"list_contains(?, {STATE})", sorted(each.value for each in states))


_ORDERS = {
    LinkOrder.WEIGHT_DESC: ("link.weight", "DESC", "<"),
    LinkOrder.WEIGHT_ASC: ("link.weight", "ASC", ">"),
    LinkOrder.CREATED_DESC: ("link.created_at", "DESC", "<"),
}


def order_by(order: LinkOrder) -> str:
    """The ORDER BY clause."""
    column, direction, _ = _ORDERS[order]
    return f"ORDER BY {column} {direction}, link.link_id, link.linkage_id"


@dataclass(frozen=True)
class Position:
    """The last row of a page: where the next one goes on."""

    value: float | datetime
    link_id: str

    def after(self, order: LinkOrder, found: Where) -> None:
        """Add the condition that rows come after this position."""
        column, _, beyond = _ORDERS[order]
        value = stored_time(self.value) if isinstance(self.value, datetime) else self.value
        found.add(
            f"({column} {beyond} ? OR ({column} = ? AND link.link_id > ?))",
            value,
            value,
            self.link_id,
        )

    def token(self, chosen: LinkFilter, order: LinkOrder) -> str:
        """The page token of this position, valid for the same filter and order only."""
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        body = json.dumps([chosen.digest(), order.value, value, self.link_id])
        return encoded(body)

    @classmethod
    def from_token(cls, token: str, chosen: LinkFilter, order: LinkOrder) -> Position:
        """Read a page token; `InvalidInputError` if it was not made for this filter and order."""
        try:
            digest, ordered, value, link_id = json.loads(decoded(token))
            if order is LinkOrder.CREATED_DESC:
                position = cls(datetime.fromisoformat(value), str(link_id))
            else:
                position = cls(float(value), str(link_id))
        except (ValueError, TypeError) as error:
            raise token_fault() from error
        if digest != chosen.digest() or ordered != order.value:
            raise token_fault()
        return position


def encoded(body: str) -> str:
    """A page token with this text in it."""
    return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def decoded(token: str) -> bytes:
    """The bytes of a page token; `ValueError` if it has none."""
    if len(token) > PAGE_TOKEN_CHARS_MAX:
        raise ValueError("too long")
    try:
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except binascii.Error as error:
        raise ValueError("no base64") from error


def token_fault() -> InvalidInputError:
    """What a caller with a bad page token is told."""
    return InvalidInputError(
        Reason.REQUEST_MALFORMED,
        "page_token was not given out for this list, filter and order; begin without one.",
    )


def page_size(asked: int) -> int:
    """The page size for what was asked; 0 means the default."""
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
