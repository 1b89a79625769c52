"""Registries are asked so that all of them have work, and each in its order."""

from __future__ import annotations

from kinlink_linker.federation import Ask, in_turn


def test_asks_of_registries_take_turns_and_keep_their_order() -> None:
    asks = [Ask(name, number, lambda _peer: None) for number, name in enumerate("aaabbc")]
    turns = [(ask.registry, ask.key) for ask in in_turn(asks)]
    assert turns == [("a", 0), ("b", 3), ("c", 5), ("a", 1), ("b", 4), ("a", 2)]
    assert in_turn([]) == []
