"""Typed access to the items of a schema file.

Every reader notes a fault and returns a usable default, so that one run finds all faults.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kinlink_core.encoding._faults import FaultLog
    from kinlink_core.encoding._marked_yaml import Item

NAME_CHARACTERS_MAX: Final = 40
TEXT_CHARACTERS_MAX: Final = 1000
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")
_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})


class Keys:
    """One mapping of the file, read key by key; `finish` reports the keys nobody asked for."""

    def __init__(self, item: Item, log: FaultLog, what: str) -> None:
        self.item = item
        self.log = log
        self._known: list[str] = []
        self._items: dict[str, Item] = {}
        if isinstance(item.value, dict):
            self._items = item.value
        else:
            self.fault(item, f"must be a mapping that describes {what}")

    def fault(self, item: Item, reason: str) -> None:
        """Note a fault at an item."""
        self.log.add(item.line, item.path or "(file)", reason)

    def optional(self, key: str) -> Item | None:
        """The item under `key`, or None if it is absent or null."""
        self._known.append(key)
        item = self._items.get(key)
        return None if item is None or item.value is None else item

    def required(self, key: str, hint: str) -> Item | None:
        """As `optional`, but absence is a fault that says `hint`."""
        item = self.optional(key)
        if item is None and isinstance(self.item.value, dict):
            at = self._items.get(key, self.item)
            path = f"{self.item.path}.{key}" if self.item.path else key
            self.log.add(at.line, path, f"is missing; {hint}")
        return item

    def finish(self) -> None:
        """Report every key that was not asked for, with the nearest known one."""
        for key, item in self._items.items():
            if key in self._known:
                continue
            near = get_close_matches(key, self._known, n=1)
            advice = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(self._known)}"
            self.fault(item, f"is not a known key; {advice}")

    def text(self, item: Item | None, default: str = "") -> str:
        """The text of a scalar."""
        if item is None:
            return default
        if not isinstance(item.value, str):
            self.fault(item, "must be text")
            return default
        if len(item.value) > TEXT_CHARACTERS_MAX:
            self.fault(item, f"is longer than {TEXT_CHARACTERS_MAX} characters; shorten it")
        return item.value

    def name(self, item: Item | None) -> str:
        """A name: `[a-z][a-z0-9_]*`, short enough to label a metric or a column."""
        found = self.text(item)
        if item is None or not isinstance(item.value, str):
            return found
        if not _NAME.match(found):
            self.fault(item, "must start with a-z and hold only a-z, 0-9 and _")
        elif len(found) > NAME_CHARACTERS_MAX:
            self.fault(item, f"must have at most {NAME_CHARACTERS_MAX} characters")
        return found

    def choice(self, item: Item | None, allowed: tuple[str, ...], default: str) -> str:
        """One of `allowed`."""
        found = self.text(item, default)
        if found not in allowed:
            if item is not None:
                self.fault(item, f"must be one of: {', '.join(allowed)}")
            return default
        return found

    def boolean(self, item: Item | None, *, default: bool) -> bool:
        """True or false."""
        found = self.text(item, "true" if default else "false").casefold()
        if item is not None and found not in _TRUE | _FALSE:
            self.fault(item, "must be true or false")
        return found in _TRUE

    def whole(self, item: Item | None, low: int, high: int, default: int) -> int:
        """A whole number from `low` to `high`."""
        if item is None:
            return default
        found = _whole(item)
        if found is None or not low <= found <= high:
            self.fault(item, f"must be a whole number from {low} to {high}")
            return default
        return found

    def number(self, item: Item | None, low: float, high: float, default: float) -> float:
        """A number from `low` to `high`."""
        if item is None:
            return default
        try:
            found = float(item.value) if isinstance(item.value, str) else float("nan")
        except ValueError:
            found = float("nan")
        if not low <= found <= high:
            self.fault(item, f"must be a number from {low:g} to {high:g}")
            return default
        return found

    def entries(self, item: Item | None, high: int, what: str) -> list[Item]:
        """The items of a list of 1 to `high`; a lone scalar counts as a list of one."""
        if item is None:
            return []
        if isinstance(item.value, str):
            return [item]
        if not isinstance(item.value, list):
            self.fault(item, f"must be a list of {what}")
            return []
        if not 1 <= len(item.value) <= high:
            self.fault(item, f"must hold 1 to {high} {what}, not {len(item.value)}")
        return item.value[:high]

    def texts(self, item: Item | None, high: int, what: str) -> tuple[str, ...]:
        """A list of distinct texts; a bare `null` among them is the text "null"."""
        found: list[str] = []
        for entry in self.entries(item, high, what):
            value = "null" if entry.value is None else self.text(entry)
            if value in found:
                self.fault(entry, "is given twice; keep one")
            found.append(value)
        return tuple(found)


def _whole(item: Item) -> int | None:
    if isinstance(item.value, str) and re.fullmatch(r"-?[0-9]{1,9}", item.value):
        return int(item.value)
    return None
