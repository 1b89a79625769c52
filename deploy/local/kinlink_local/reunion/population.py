"""A synthetic population of notices: both sides, the truth about them, and their files."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion.children import (
    Bools,
    Children,
    Ints,
    draw_children,
    make_neighbours,
    make_siblings,
    stream,
)
from kinlink_local.reunion.divisions import divisions
from kinlink_local.reunion.family_side import write_family_notices
from kinlink_local.reunion.found_side import NOBODY, Relations, write_found_notices
from kinlink_local.reunion.notices import COLUMNS, Notices, size, take, write_csv, write_jsonl
from kinlink_local.reunion.registries import write_registries
from kinlink_local.reunion.replay import FOUND_ID, SEEKING_ID, with_replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

FORMAT_VERSION: Final = 1
NOTICES_MIN: Final = 100
SIDES: Final = ("seeking", "found")
PEOPLE_COLUMNS: Final = (
    "record_id", "person_id", "family_id", "mother_id", "father_id", "relation",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What a population is drawn from, besides the numbers of `assumptions`."""

    seed: int
    notices: int
    regime: str
    photos: float = assumed.PHOTO_SHARE
    replay: bool = False

    def digest(self) -> str:
        """Hex SHA-256 of this, the format and every assumed number."""
        return hashlib.sha256(json.dumps(self.described(), sort_keys=True).encode()).hexdigest()

    def described(self) -> dict[str, Any]:
        """All that decides the bytes of the files, but the libraries' versions."""
        numbers = {
            name: value
            for name, value in vars(assumed).items()
            if name.isupper() and name != "REGIMES"
        }
        return {
            "format": FORMAT_VERSION,
            **asdict(self),
            "assumptions": numbers,
            "recall": asdict(assumed.REGIMES[self.regime]),
        }


@dataclass(frozen=True)
class Population:
    """Notices of both sides, in the order of `children`: the families', then the found.

    `partner` has for each family's notice the row of its child among the found, or NOBODY.
    """

    config: Config
    family: Notices
    found: Notices
    children: Children
    relations: Relations
    partner: Ints


def make_population(config: Config) -> Population:
    """Draw a population; the same configuration gives the same notices.

    Raises:
        ValueError: The regime is unknown, there are fewer notices a side than `NOTICES_MIN`, or
            the share of photographs is none.
    """
    if config.regime not in assumed.REGIMES:
        raise ValueError(f"a regime is one of {', '.join(assumed.REGIMES)}")
    if config.notices < NOTICES_MIN:
        raise ValueError(f"a side needs at least {NOTICES_MIN} notices, not {config.notices}")
    if not 0 <= config.photos <= 1:
        raise ValueError("a share of photographs is between 0 and 1")
    seed, number = config.seed, config.notices
    pairs = round(number * assumed.PARTNER_SHARE)
    children = draw_children(seed, 2 * number - pairs)
    rng = stream(seed, "relations")
    missing = rng.permutation(number)
    partnered = missing[:pairs]
    strangers = np.arange(number, len(children))
    siblings = round(number * assumed.SIBLING_SHARE)
    neighbours = round(number * assumed.NEIGHBOUR_SHARE)
    hosts = rng.permutation(number)[: siblings + neighbours]
    children, identical = make_siblings(seed, children, strangers[:siblings], hosts[:siblings])
    near = strangers[siblings : siblings + neighbours]
    children = make_neighbours(seed, children, near, hosts[siblings:])
    # The found side in an order that tells nothing.
    rows = rng.permutation(np.concatenate([partnered, strangers]))
    relations = _relations(rows, number, strangers[:siblings], hosts[:siblings], identical)
    family, faces = write_family_notices(seed, children.take(np.arange(number)), config.photos)
    found = write_found_notices(
        seed,
        children.take(rows),
        assumed.REGIMES[config.regime],
        relations,
        family_faces=faces,
        family_photo_ages=family["photo_age"],
    )
    partner = np.full(number, NOBODY)
    known = np.flatnonzero(relations.partner != NOBODY)
    partner[relations.partner[known]] = known
    return Population(
        config,
        _numbered(family, "A", "lost_place"),
        _numbered(found, "B", "found_place"),
        children.take(np.concatenate([np.arange(number), rows])),
        relations,
        partner,
    )


def _relations(rows: Ints, number: int, siblings: Ints, hosts: Ints, identical: Bools) -> Relations:
    sibling = np.full(rows.max() + 1, NOBODY)
    sibling[siblings] = hosts
    twin = np.zeros(rows.max() + 1, bool)
    twin[siblings] = identical
    return Relations(
        partner=np.where(rows < number, rows, NOBODY), sibling=sibling[rows], identical=twin[rows]
    )


def _numbered(notices: Notices, side: str, place: str) -> Notices:
    """With record ids that start with the side and the province whose office holds the notice."""
    ids = [f"{side}{code[:2]}-{row:06d}" for row, code in enumerate(notices[place], start=1)]
    return {name: ids if name == "record_id" else notices[name] for name in COLUMNS}


def write_population(
    population: Population, folder: Path, *, jsonl: bool = False, registries: int = 0
) -> dict[str, int]:
    """Write a file for each province and side, `truth.csv`, `people.csv` and `generator.json`.

    With `replay` the notices of the 1988 case stand at the ends of their provinces' files. Where
    `registries` is not 0, a folder of that name has as many for each side of a rehearsal.

    Returns:
        Notices by file name.

    Raises:
        FileExistsError: The folder holds something.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    ending, write = ("jsonl", write_jsonl) if jsonl else ("csv", write_csv)
    written: dict[str, int] = {}
    sides = (population.family, population.found)
    pairs = truth_pairs(population)
    if population.config.replay:
        sides = with_replay(*sides)
        pairs.append((SEEKING_ID, FOUND_ID))
    for side, notices in zip(SIDES, sides, strict=True):
        provinces = np.array([record_id[1:3] for record_id in notices["record_id"]])
        for code, registry in zip(divisions().provinces, divisions().registries, strict=True):
            rows = np.flatnonzero(provinces == code).tolist()
            name = f"{registry}-{side}.{ending}"
            write(folder / name, take(notices, rows))
            written[name] = len(rows)
    if registries:
        by_side = dict(zip(SIDES, sides, strict=True))
        write_registries(folder / "registries", by_side, pairs, registries)
    _write_rows(folder / "truth.csv", ("seeking_id", "found_id"), pairs)
    _write_rows(folder / "people.csv", PEOPLE_COLUMNS, people(population))
    described = {
        "synthetic": True,
        "config_sha256": population.config.digest(),
        "config": population.config.described(),
        "files": written,
    }
    text = json.dumps(described, indent=1, ensure_ascii=False)
    (folder / "generator.json").write_text(text + "\n", "utf-8")
    return written


def truth_pairs(population: Population) -> list[tuple[str, str]]:
    """Record ids of one child's two notices."""
    ids, found = population.family["record_id"], population.found["record_id"]
    return [
        (ids[row], found[other])
        for row, other in enumerate(population.partner.tolist())
        if other != NOBODY
    ]


def people(population: Population) -> list[tuple[str, ...]]:
    """Of each notice its person, family, parents and relation to a missing child; for DNA, later.

    Relations are `self`, `sibling`, `identical_twin`, or none.
    """
    relations, number = population.relations, size(population.family)
    family = population.children.family.tolist()
    lines: list[tuple[str, ...]] = []
    ids = [*population.family["record_id"], *population.found["record_id"]]
    for row, record_id in enumerate(ids):
        person, relation = f"P{family[row]:06d}", ""
        if row >= number:
            other = row - number
            if relations.partner[other] != NOBODY:
                relation = "self"
            elif relations.sibling[other] != NOBODY:
                relation = "identical_twin" if relations.identical[other] else "sibling"
                person = f"S{other:06d}"
        kin = f"F{family[row]:06d}"
        lines.append((record_id, person, kin, f"M{kin[1:]}", f"V{kin[1:]}", relation))
    return lines


def _write_rows(path: Path, header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
