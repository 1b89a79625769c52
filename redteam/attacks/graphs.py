"""T2: graph matching with full overlap; the attacker has the plaintext of the same thousand people.

Against a CLK the linker has one filter a record, so everyone's similarity to everyone. In Kinlink
it can name handles, which live in one pass each, and subjects of disclosed pairs, and knows
distances only inside islands. Its graphs are

* for each pass: handles, those of one person merged where they are nearly alike;
* joined: linked subjects as one node, with the edges of all passes.

An edge's weight is what the seal shows of similarity. The attacker runs Kinlink on the plaintext
under a key of his own, so he has the same graphs with names; he also knows which registries a
person stands in. Both sides go through the same matching as the CLK. Nodes without an edge are not
guessed at: nothing tells them apart.

Where the attacker even has the records themselves, with their errors, two records of one person
have a distance of their own, and every node something to be known by. That is R3's attack; its
figure for a thousand people is reported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from kinlink_core.encoding.schema import SAMPLE_BITS
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from redteam.baselines import (
    CLK_HASHES,
    clk,
    dice_of_sets,
    estimated_dice,
    estimated_sizes,
    record_tokens,
)
from redteam.matching import match
from redteam.meetings import MISSING
from redteam.population import make
from redteam.results import Result
from redteam.view import build

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from redteam.places import I64
    from redteam.population import Population
    from redteam.setting import Setting
    from redteam.view import View

PEOPLE: Final = 1_000
PEOPLE_QUICK: Final = 400
REGISTRIES: Final = 3
TARGET: Final = 0.01
BASELINE_MIN: Final = 0.95
# From here on the two records of a pair are one node: nearly all records of one person are, and
# hardly any others.
SAME_LIKENESS_MIN: Final = 0.75
JOINED: Final = -1

_KEY: Final = b"one key for all of them"


@dataclass(frozen=True)
class Graph:
    """n nodes, their similarities, and the truth about them."""

    similarity: npt.NDArray[np.float64]  # (n, n)
    registries: I64  # (n,) bits: in which registries the node has records
    person: I64  # (n,) hidden


def run(setting: Setting) -> list[Result]:
    """CLK and Kinlink: clean records, records with errors, and an attacker who knows the errors."""
    people = PEOPLE_QUICK if setting.quick else PEOPLE
    clean, real = (
        make(people, REGISTRIES, setting.seed, correlated=True, overlap=1.0, errors=errors)
        for errors in (0.0, 1.0)
    )
    classical = clk_share(clean)

    def result(who: str, shares: dict[str, float], target: float | None) -> Result:
        worst = max(shares, key=lambda name: shares[name])
        return Result(
            id="T2",
            title="graph matching, full overlap",
            setting=f"{people} people, 3 registries",
            seed=setting.seed,
            measure=f"people named, {who}",
            value=shares[worst],
            target=target,
            classical=classical,
            classical_min=BASELINE_MIN,
            detail=f"Most in {worst}.",
        )

    trained = not setting.quick
    known = build(clean, trained=trained)
    found = [result("records without errors", named(build(clean, trained=trained), known), TARGET)]
    target = build(real, trained=trained)
    found.append(result("records with errors", named(target, known), TARGET))
    if not setting.quick:
        with_errors = named(target, build(real, trained=trained), own=True)
        found.append(result("errors known to the attacker", with_errors, None))
    return found


def clk_share(population: Population) -> float:
    """Share of people whose filter is matched to their plaintext."""
    order = np.random.default_rng().permutation(population.persons)
    filters = clk(population.people, _KEY)[order]
    tokens = record_tokens(population.people)
    guess = match(
        estimated_dice(filters, CLK_HASHES),
        dice_of_sets(tokens, tokens),
        estimated_sizes(filters, CLK_HASHES),
        np.array([len(each) for each in tokens]),
    )
    return float((guess == order).mean())


def named(target: View, known: View, *, own: bool = False) -> dict[str, float]:
    """Graph → share of people of whom a node is named rightly.

    `own` also uses what a node is to itself: the distance of a person's two records.
    """
    shares = {}
    joined = () if target.disclosed is None else (JOINED,)
    for index in (*joined, *range(len(target.schema.passes))):
        name = "the joined graph" if index == JOINED else target.schema.passes[index].id
        one, other = (graph(view, index, own=own) for view in (target, known))
        right = np.zeros(len(one.person), bool)
        if len(one.person) and len(other.person):
            barred = one.registries[:, None] != other.registries[None, :]
            guess = match(one.similarity, other.similarity, barred=barred, comparable=True)
            made = guess >= 0
            right[made] = other.person[guess[made]] == one.person[made]
        shares[name] = len(np.unique(one.person[right])) / target.population.persons
    return shares


def graph(view: View, index: int, *, own: bool = False) -> Graph:
    """The linker's graph of one pass, or the joined one; `own` keeps nodes without an edge."""
    if index == JOINED:
        node = _joined_nodes(view)
        chosen = np.arange(view.pairs.count)
    else:
        chosen = np.flatnonzero(view.pairs.pass_index == index)
        node = _pass_nodes(view, chosen)
    left, right = node[view.pairs.left[chosen]], node[view.pairs.right[chosen]]
    both = (left >= 0) & (right >= 0)
    left, right, weight = left[both], right[both], likeness(view)[chosen][both]
    count = int(node.max(initial=-1)) + 1
    best = np.zeros((count, count))
    np.maximum.at(best, (left, right), weight)
    best = np.maximum(best, best.T)
    if not own:
        np.fill_diagonal(best, 0)
    kept = np.flatnonzero(best.any(axis=1))
    registries, person = _truth(view, node, count)
    return Graph(best[np.ix_(kept, kept)], registries[kept], person[kept])


def likeness(view: View) -> npt.NDArray[np.float64]:
    """Similarity of each sealed pair between 0 and 1: sieve, distances and tags together."""
    pairs = view.pairs
    known = pairs.distance != MISSING
    fields = 1 - 2 * np.minimum(pairs.distance / SAMPLE_BITS, 0.5)
    total = np.where(known, fields, 0).sum(axis=1) + pairs.tags.mean(axis=1)
    shown: npt.NDArray[np.float64] = np.maximum(total / (known.sum(axis=1) + 1), 1e-3)
    return shown


def _pass_nodes(view: View, chosen: I64) -> I64:
    """Row → node of its pass, -1 where it has none."""
    pairs = view.pairs
    rows = np.unique(np.concatenate([pairs.left[chosen], pairs.right[chosen]]))
    place = np.full(view.rows.count, -1)
    place[rows] = np.arange(len(rows))
    same = chosen[likeness(view)[chosen] >= SAME_LIKENESS_MIN]
    place[rows] = _components(len(rows), place[pairs.left[same]], place[pairs.right[same]])
    return place


def _joined_nodes(view: View) -> I64:
    """Row → person as disclosure joins them; rows that were not disclosed are left out."""
    found = view.disclosed
    if found is None:
        raise ValueError("the view was made without disclosure")
    registries = len(view.population.names)
    left_row, right_row = view.pairs.left[found.pair], view.pairs.right[found.pair]
    # A subject id belongs to a registry.
    names = np.concatenate(
        [
            found.left_subject * registries + view.rows.registry[left_row],
            found.right_subject * registries + view.rows.registry[right_row],
        ]
    )
    distinct, subject = np.unique(names, return_inverse=True)
    left, right = np.split(subject.reshape(-1), 2)
    person = _components(len(distinct), left[found.linked], right[found.linked])
    node = np.full(view.rows.count, -1)
    node[left_row], node[right_row] = person[left], person[right]
    return node


def _components(count: int, left: I64, right: I64) -> I64:
    links = coo_matrix((np.ones(len(left)), (left, right)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def _truth(view: View, node: I64, count: int) -> tuple[I64, I64]:
    rows = np.flatnonzero(node >= 0)
    registries, person = np.zeros(count, np.int64), np.full(count, -1)
    np.bitwise_or.at(registries, node[rows], 1 << view.rows.registry[rows].astype(np.int64))
    person[node[rows]] = view.population.person[view.secrets.record[rows]]
    return registries, person


def export(out: Path, people: int, seed: int, *, trained: bool = True) -> tuple[int, int]:
    """Write what outside graph-matching code needs, as tab-separated edge lists.

    `out` holds the linker's graph: a node is a handle, or a subject where a handle was disclosed.
    Beside it `.plaintext.tsv`, the attacker's graph by Dice of bigrams, and `.truth.tsv`, node and
    person. Returns the numbers of nodes and edges of `out`.
    """
    population = make(people, REGISTRIES, seed, correlated=True, overlap=1.0)
    view = build(population, trained=trained)
    subject = _joined_nodes(view)
    names = np.where(
        subject >= 0, np.char.add("s", subject.astype(str)),
        np.char.add("h", np.arange(view.rows.count).astype(str)),
    )  # fmt: skip
    pairs, weight = view.pairs, likeness(view)
    _write(out, zip(names[pairs.left], names[pairs.right], weight, strict=True))
    tokens = record_tokens(population.people)
    plain = dice_of_sets(tokens, tokens)
    left, right = np.nonzero(np.triu(plain, 1) > 0)
    _write(
        out.with_suffix(".plaintext.tsv"),
        ((f"p{i}", f"p{j}", plain[i, j]) for i, j in zip(left, right, strict=True)),
    )
    person = population.person[view.secrets.record]
    used = np.unique(np.concatenate([pairs.left, pairs.right]))
    known = dict(zip(names[used], person[used], strict=True))
    lines = [f"{name}\tp{number}\n" for name, number in known.items()]
    out.with_suffix(".truth.tsv").write_text("".join(lines), encoding="utf-8")
    return len(known), pairs.count


def _write(path: Path, edges: Iterable[tuple[str, str, float]]) -> None:
    lines = [f"{one}\t{other}\t{weight:.4f}\n" for one, other, weight in edges]
    path.write_text("".join(lines), encoding="utf-8")
