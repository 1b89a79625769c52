"""T3: colour refinement on all that can be joined.

The linker's knowledge is a graph: handles lie under tokens, finer tokens below crowded ones,
sealed pairs join two handles with the equalities they show, disclosed pairs join handles to
subjects and subjects to each other. Refinement (Weisfeiler and Leman 1968) gives each node a
colour, from its registry or pass, and again and again from the colours around it. An insider with
everybody's records, errors and all, builds the same graph with names under a key of his own; what
has a colour that no other node has, in both graphs, is named. LSH passes are left out: their
tokens depend on the key. Colours of every round are tried, because a wrong detail anywhere spoils
later ones, and the round that names most is reported.

What sealed pairs show by equal tags and by presence is a fingerprint even without joining
anything; that is R3's attack, and its part in this one is reported beside the structure alone.

One record id under the usual blocking keys, without any encoding, is attacked by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.schema import Part, Pass

from redteam.results import Result
from redteam.view import build, build_tokens, shipped_schema

if TYPE_CHECKING:
    import numpy.typing as npt
    from kinlink_core.encoding.schema import Schema

    from redteam.encoded import Rows
    from redteam.places import I64
    from redteam.population import Population
    from redteam.setting import Setting
    from redteam.view import View

TARGET: Final = 0.005
FEW_REGISTRIES: Final = 3
BASELINE_MIN: Final = 0.50
ROUNDS: Final = 6
# Blocking keys as they are usual elsewhere, all under one id of the record.
USUAL_KEYS: Final = (
    Pass("family_year", (Part("name", "family"), Part("dob", "year"))),
    Pass("birth", (Part("dob", "exact"),)),
    Pass("given_sex", (Part("name", "given"), Part("sex", "exact"))),
    Pass("place_sex", (Part("place", "exact"), Part("sex", "exact"))),
)

_LIES_UNDER: Final = 1
_FINER: Final = 2
_SAME_SUBJECT: Final = 3
_LINKED: Final = 4
_SEALED: Final = 16


@dataclass(frozen=True)
class Graph:
    """n nodes with first colours, m labelled edges (used both ways), and the truth."""

    colour: npt.NDArray[np.uint64]  # (n,)
    left: I64  # (m,)
    right: I64
    label: I64  # (m,)
    person: I64  # (n,) hidden; -1 for what is nobody, as a token


def run(setting: Setting) -> list[Result]:
    """Kinlink's view, by its structure and with what sealed pairs show, and one id a record."""
    view = setting.view()
    people = view.population.persons
    known = build(view.population, trained=not setting.quick)
    classical = one_id_named(setting)
    few = setting.registries <= FEW_REGISTRIES

    def result(what: str, target: float | None, *, sealed: bool) -> Result:
        one, other = (linker_graph(each, sealed=sealed) for each in (view, known))
        share, rounds = named(one, other, people)
        return Result(
            id="T3",
            title="colour refinement on all that can be joined",
            setting=setting.label,
            seed=setting.seed,
            measure=f"people named by {what}, all records known",
            value=share,
            target=target,
            classical=classical,
            classical_min=BASELINE_MIN,
            detail=f"After {rounds} rounds. Classical: one id a record under four usual keys.",
        )

    return [
        result("tokens, subjects and links", TARGET if few else None, sealed=False),
        result("these and the equalities of sealed pairs", None, sealed=True),
    ]


@lru_cache(maxsize=1)
def one_id_named(setting: Setting) -> float:
    """Share of people named where a record has one id under the usual blocking keys."""
    population = setting.population()
    share, _ = named(one_id_graph(population), one_id_graph(population), population.persons)
    return share


def linker_graph(view: View, *, sealed: bool = False) -> Graph:
    """All that the linker can join, without LSH passes; `sealed` with what sealed pairs show."""
    rows, found = view.rows, view.disclosed
    plain = _without_lsh(view.schema)[rows.pass_index] & _shown(view.schema, rows)
    pairs = view.pairs
    chosen = np.flatnonzero(plain[pairs.left] & sealed)
    shown = np.column_stack([pairs.tags[chosen], pairs.present[chosen]]).astype(np.int64)
    equal = _SEALED + shown @ (1 << np.arange(shown.shape[1]))
    links = [
        _hanging(rows, np.flatnonzero(plain)),
        (pairs.left[chosen], pairs.right[chosen], equal),
    ]
    nodes = rows.count + rows.tokens
    registries = len(view.population.names)
    colours = [_mixed(rows.registry.astype(np.uint64), 1), _token_colours(rows)]
    person = view.population.person[view.secrets.record]
    truth = [np.where(plain, person, -1), np.full(rows.tokens, -1)]
    if found is not None:
        left_row, right_row = pairs.left[found.pair], pairs.right[found.pair]
        names = np.concatenate([found.left_subject, found.right_subject])
        at = np.concatenate([left_row, right_row])
        distinct, first, subject = np.unique(
            names * registries + rows.registry[at], return_index=True, return_inverse=True
        )
        subject = subject.reshape(-1) + nodes
        hung = plain[at]
        links.append((at[hung], subject[hung], np.full(int(hung.sum()), _SAME_SUBJECT)))
        left, right = np.split(subject, 2)
        links.append((left, right, np.where(found.linked, _LINKED, _LINKED + 1)))
        colours.append(_mixed((distinct % registries).astype(np.uint64), 3))
        truth.append(person[at][first])
    left, right, label = (np.concatenate(each) for each in zip(*links, strict=True))
    return Graph(np.concatenate(colours), left, right, label, np.concatenate(truth))


def one_id_graph(population: Population) -> Graph:
    """Records that keep one id under the usual keys; nothing else."""
    view = build_tokens(population, schema=replace(shipped_schema(), passes=USUAL_KEYS))
    rows = view.rows
    registry = population.registry.astype(np.uint64)
    return Graph(
        np.concatenate([_mixed(registry, 1), _token_colours(rows)]),
        view.secrets.record,
        rows.token + population.records,
        np.full(rows.count, _LIES_UNDER),
        np.concatenate([population.person, np.full(rows.tokens, -1)]),
    )


def named(target: Graph, known: Graph, persons: int) -> tuple[float, int]:
    """Share of people of whom a node is named rightly, and after how many rounds most are."""
    best, where = 0.0, 0
    colours = [target.colour, known.colour]
    for number in range(1, ROUNDS + 1):
        colours = [
            refined(graph, colour) for graph, colour in zip((target, known), colours, strict=True)
        ]
        (one, one_at), (other, other_at) = (
            _unique(colour, graph.person)
            for colour, graph in zip(colours, (target, known), strict=True)
        )
        _, left, right = np.intersect1d(one, other, assume_unique=True, return_indices=True)
        guessed = known.person[other_at[right]]
        truth = target.person[one_at[left]]
        share = len(np.unique(truth[guessed == truth])) / persons
        if share > best:
            best, where = share, number
    return best, where


def refined(graph: Graph, colour: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One round: each node's colour and the multiset of (label, colour) around it."""
    around = np.zeros(len(colour), np.uint64)
    label = graph.label.astype(np.uint64)
    for source, sink in ((graph.left, graph.right), (graph.right, graph.left)):
        # A sum of mixed values tells multisets apart whatever their order.
        np.add.at(around, sink, _mixed(colour[source] + _mixed(label, 5), 7))
    return _mixed(_mixed(colour, 11) + around, 13)


def _unique(colour: npt.NDArray[np.uint64], person: I64) -> tuple[npt.NDArray[np.uint64], I64]:
    """Colours that exactly one node has, of the nodes that are somebody, and where they are."""
    distinct, first, counts = np.unique(colour, return_index=True, return_counts=True)
    alone = (counts == 1) & (person[first] >= 0)
    return distinct[alone], first[alone]


def _hanging(rows: Rows, chosen: I64) -> tuple[I64, I64, I64]:
    """Rows under their tokens, and finer tokens below theirs."""
    token = rows.token[chosen] + rows.count
    finer = chosen[rows.level[chosen] > 0]
    below = np.unique(np.column_stack([rows.token[finer], rows.parent[finer]]), axis=0)
    return (
        np.concatenate([chosen, below[:, 0] + rows.count]),
        np.concatenate([token, below[:, 1] + rows.count]),
        np.concatenate([np.full(len(chosen), _LIES_UNDER), np.full(len(below), _FINER)]),
    )


def _shown(schema: Schema, rows: Rows) -> npt.NDArray[np.bool_]:
    """Rows that an honest linker has: the feed, and finer rows below crowded shared tokens."""
    cap = np.array([each.cap for each in schema.passes])[rows.pass_index]
    low, high = np.full(rows.tokens, 255), np.full(rows.tokens, -1)
    np.minimum.at(low, rows.token, rows.registry)
    np.maximum.at(high, rows.token, rows.registry)
    size = np.bincount(rows.token, minlength=rows.tokens)
    crowded = np.zeros(rows.tokens, bool)
    shown: npt.NDArray[np.bool_] = rows.level == 0
    for level in range(int(rows.level.max(initial=0)) + 1):
        here = np.flatnonzero(shown & (rows.level == level))
        above = (size[rows.token[here]] > cap[here]) & (low < high)[rows.token[here]]
        crowded[rows.token[here[above]]] = True
        shown |= (rows.level == level + 1) & crowded[np.maximum(rows.parent, 0)]
    return shown


def _without_lsh(schema: Schema) -> npt.NDArray[np.bool_]:
    cut = [any(part.transform == "lsh" for part in each.parts) for each in schema.passes]
    plain: npt.NDArray[np.bool_] = ~np.array(cut, bool)
    return plain


def _token_colours(rows: Rows) -> npt.NDArray[np.uint64]:
    kind = np.zeros(rows.tokens, np.uint64)
    kind[rows.token] = rows.pass_index.astype(np.uint64) * np.uint64(16) + rows.level
    return _mixed(kind, 2)


def _mixed(value: npt.NDArray[np.uint64], salt: int) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64: distinct values to values that look random."""
    with np.errstate(over="ignore"):
        z = value + np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed
