"""YAML or JSON text as a small tree whose every node knows its line and path.

Scalars stay the text that was written (`no`, `0`, `1e3` and `男` alike): their reader decides what
they mean. Anchors, aliases and tags are refused, so a file cannot expand beyond its own size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from kinlink_core.encoding._faults import FaultLog

DEPTH_MAX: Final = 16
NULL_TAG: Final = "tag:yaml.org,2002:null"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Item:
    """A node of the file: `value` is None, text, a list of items or a mapping to items."""

    value: str | list[Item] | dict[str, Item] | None
    line: int
    path: str


def read_items(text: str, log: FaultLog) -> Item | None:
    """The tree of `text`, or None (with faults in `log`) if it is no plain YAML or JSON."""
    if text.lstrip().startswith(("{", "[")):
        text = text.replace("\t", " ")  # JSON indents with tabs, YAML may not
    if not _is_plain(text, log):
        return None
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        log.add(_line_of(error), "(file)", _syntax_reason(error))
        return None
    if root is None:
        log.add(1, "(file)", "is empty; write at least `name`, `fields` and `passes`")
        return None
    return _item(root, "", log)


def _is_plain(text: str, log: FaultLog) -> bool:
    """Whether the text can be composed safely: no aliases, no tags, not too deep."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            line = _line(event)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                log.add(line, "(file)", "uses an anchor or alias (& or *); write the value out")
                return False
            if getattr(event, "tag", None):
                log.add(line, "(file)", "uses a YAML tag (!); remove it")
                return False
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEPTH_MAX:
                log.add(line, "(file)", f"is nested deeper than {DEPTH_MAX} levels; flatten it")
                return False
    except yaml.YAMLError as error:
        log.add(_line_of(error), "(file)", _syntax_reason(error))
        return False
    return True


def _line(marked: Any) -> int:
    return int(marked.start_mark.line) + 1


def _line_of(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return int(mark.line) + 1 if mark is not None else 1


def _syntax_reason(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or "holds characters that YAML forbids"
    return f"is not valid YAML or JSON: {problem}"


def _item(node: Any, path: str, log: FaultLog) -> Item:
    line = _line(node)
    if isinstance(node, yaml.SequenceNode):
        items = [_item(child, f"{path}[{n}]", log) for n, child in enumerate(node.value)]
        return Item(items, line, path)
    if isinstance(node, yaml.MappingNode):
        return Item(_mapping(node, path, log), line, path)
    if node.tag == NULL_TAG:
        return Item(None, line, path)
    return Item(str(node.value), line, path)


def _mapping(node: Any, path: str, log: FaultLog) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for key_node, value_node in node.value:
        line = _line(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            log.add(line, path or "(file)", "has a key that is not a word; write `key: value`")
            continue
        key = str(key_node.value)
        child = f"{path}.{key}" if path else key
        if key in found:
            log.add(line, child, f"is given twice, first in line {found[key].line}; keep one")
            continue
        found[key] = _item(value_node, child, log)
    return found
