"""The `relation` and the levels of a field of kind `level_set` in a schema file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kinlink_core.encoding._reading import Keys
from kinlink_core.encoding.folding import canonical_code, fold
from kinlink_core.encoding.level_sets import (
    PLACE_STEPS,
    WORDS_MAX,
    Places,
    Relation,
    Shared,
    Table,
    Window,
)
from kinlink_core.encoding.schema import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kinlink_core.encoding._marked_yaml import Item

LEVELS_MAX: Final = 8
ROWS_MAX: Final = 400
LISTED_MAX: Final = 32
WORDS_LISTED_MAX: Final = 1000
DIGITS_MAX: Final = 12
WINDOW_MAX: Final = 100_000
RELATIONS: Final = ("days", "numbers", "places", "table", "shared")


def read_level_set(keys: Keys) -> tuple[Relation | None, tuple[Level, ...]]:
    """What a field compares and by which levels; None if the file does not say."""
    item = keys.required("relation", f"choose one of: {', '.join(RELATIONS)}")
    relation = keys.choice(item, RELATIONS, "")
    of_level = list(range(LEVELS_MAX))
    level_item = keys.required("levels", "list them, the closest first")
    read = [
        Keys(each, keys.log, "a level") for each in keys.entries(level_item, LEVELS_MAX, "levels")
    ]
    match relation:
        case "days" | "numbers":
            windows = tuple(_window(level) for level in read)
            found: Relation | None = Window(windows, of_days=relation == "days")
        case "places":
            steps = tuple(_place(level) for level in read)
            found = Places(steps, _lists(keys, keys.optional("neighbours")))
        case "table":
            found = _table(keys, len(read))
        case "shared":
            words = keys.texts(keys.optional("rare"), WORDS_LISTED_MAX, "words")
            rare = frozenset(map(fold, words))
            only_rare = [_only_rare(level) for level in read]
            lists = tuple(sorted(set(only_rare)))
            found = Shared(lists, rare)
            of_level = [lists.index(each) for each in only_rare]
        case _:
            found = None
    levels = tuple(
        _level(level, number, counts=relation == "shared")
        for level, number in zip(read, of_level, strict=False)
    )
    return found, levels


def _level(keys: Keys, number: int, *, counts: bool) -> Level:
    label = keys.text(keys.required("label", "say what the level means"))
    shared = keys.whole(keys.optional("shared"), 1, WORDS_MAX, 1) if counts else 1
    keys.finish()
    return Level(label, tag=f"{number}", shared=shared)


def _window(keys: Keys) -> tuple[int, int]:
    item = keys.required("window", "write for example `[-30, 30]`")
    ends = keys.entries(item, 2, "ends")
    found = [keys.whole(end, -WINDOW_MAX, WINDOW_MAX, 0) for end in ends]
    if len(found) != 2 or found[0] > found[1]:  # noqa: PLR2004 - two ends
        keys.fault(item or keys.item, "must be the least and the largest difference, `[-30, 30]`")
        return 0, 0
    return found[0], found[1]


def _place(keys: Keys) -> str:
    item = keys.required("place", f"choose one of: {', '.join(PLACE_STEPS)}")
    return keys.choice(item, PLACE_STEPS, PLACE_STEPS[0])


def _only_rare(keys: Keys) -> bool:
    return keys.boolean(keys.optional("rare"), default=False)


def _table(keys: Keys, levels: int) -> Table:
    item = keys.required("table", "list for each value the shown values of each level")
    rows = []
    for value, entry in _mapping(keys, item).items():
        lists = keys.entries(entry, LEVELS_MAX, "lists, one a level")
        if len(lists) > levels:
            keys.fault(entry, f"has {len(lists)} lists for {levels} levels")
        rows.append((canonical_code(value), tuple(_codes(keys, each) for each in lists)))
    digits = keys.whole(keys.optional("digits"), 1, DIGITS_MAX, 0)
    return Table(tuple(rows), digits)


def _lists(keys: Keys, item: Item | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((key, _codes(keys, each)) for key, each in _mapping(keys, item).items())


def _codes(keys: Keys, item: Item) -> tuple[str, ...]:
    if item.value is None or item.value == []:
        return ()
    return tuple(map(canonical_code, keys.texts(item, LISTED_MAX, "values")))


def _mapping(keys: Keys, item: Item | None) -> Mapping[str, Item]:
    if item is None:
        return {}
    if not isinstance(item.value, dict) or len(item.value) > ROWS_MAX:
        keys.fault(item, f"must be a mapping of at most {ROWS_MAX} values")
        return {}
    return item.value
