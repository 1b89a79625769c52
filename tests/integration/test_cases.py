"""Casework over real registries: whose case a pair is, and when a ruled out pair comes back."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from kinlink.linker.v1 import linker_pb2 as pb
from kinlink.linker.v1 import linker_pb2_grpc
from kinlink.registry.v1 import registry_pb2
from kinlink_core.runtime.channel import open_channel
from kinlink_gateway.linker_client import GrpcLinker
from kinlink_registry import records
from unit.gateway.office import open_office
from unit.linker.federation import (
    RealFederation,
    federation,
    serving_linker,
    write_linker_home,
)
from unit.registry.rig import HEADER, SCHEMA, Row, must, person, write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Both offices hold both sides: the linker cannot tell from a registry whose notice is the family's.
SIDES = {
    "anhui": {number: "SEEKING" if number < 15 else "FOUND" for number in range(30)},
    "sichuan": {number: "FOUND" if number < 15 else "SEEKING" for number in range(30)},
}
TWO_SIDED = SCHEMA.replace(
    "name: small\n", "name: small\nsides: {field: role, wants: SEEKING}\n"
).replace(
    "fields:\n",
    "fields:\n  - {name: role, kind: code, entropy_bits: 1, columns: [kind],"
    " normalise: {values: {SEEKING: [seeking], FOUND: [found]}}}\n",
)
SECONDS_MAX = 120.0
DECIDED = 3  # in anhui a family seeks this one, in sichuan it was found


def row(name: str, number: int, **changed: str) -> Row:
    return {**person(number), "kind": SIDES[name][number], **changed}


def ingest(made: RealFederation, name: str, *rows: Row) -> None:
    home = made.rig.homes[name]
    must(home, "ingest", write_csv(home / "input.csv", rows, (*HEADER, "kind")))


@contextmanager
def searching(directory: Path) -> Iterator[RealFederation]:
    """A federation with two sides that was linked once, and is followed since."""
    with federation(
        directory, dict.fromkeys(SIDES, ()), serve=False, schema_text=TWO_SIDED
    ) as made:
        for name, sides in SIDES.items():
            ingest(made, name, *(row(name, number) for number in sides))
        write_linker_home(made)
        settings = made.linker_home / "linker.toml"
        text = settings.read_text().replace("idle_seconds = 2", "idle_seconds = 20")
        settings.write_text(f"{text}standing = true\n")
        with serving_linker(made.linker_home) as made.linker:
            linkage = made.link()
            assert linkage["state"] == "LINKAGE_STATE_SUCCEEDED", linkage
            yield made


@contextmanager
def stub(made: RealFederation) -> Iterator[linker_pb2_grpc.LinkerServiceStub]:
    tls = made.rig.federation.tls("gateway", "gateway")
    channel = open_channel(made.address, tls, role="linker", name="linker")
    try:
        yield linker_pb2_grpc.LinkerServiceStub(channel)
    finally:
        channel.close()


def subjects(made: RealFederation, name: str) -> dict[str, int]:
    """Subject ids of a registry's records, in hex, to who they are: only it can tell."""
    node = made.served[name].node
    with node.vault.reading() as session:
        rows = session.rows("SELECT DISTINCT subject, ref FROM subject")
        found = records.open_people(session, node.vault.cipher, _refs(rows))
    names = dict(zip(found.refs.tolist(), found.local_ids, strict=True))
    return {subject.hex: int(names[ref][1:]) for subject, ref in rows}


def _refs(rows: list[tuple[object, int]]) -> object:
    import numpy as np

    return np.unique(np.array([ref for _, ref in rows], np.int32))


def becomes(check: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS_MAX
    while not check():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[RealFederation]:
    with searching(tmp_path) as made:
        yield made


def test_cases_are_the_families_notices_where_offices_hold_both_sides(
    made: RealFederation, tmp_path: Path
) -> None:
    (tmp_path / "gateway").mkdir()
    with stub(made) as linker:
        assert linker.ListRegistries(pb.ListRegistriesRequest(), timeout=60).two_sided
        cases = linker.ListCases(pb.ListCasesRequest(page_size=100), timeout=60).cases
        assert len(cases) > 20
        people = {name: subjects(made, name) for name in SIDES}
        for case in cases:
            number = people[case.registry][case.subject]
            assert SIDES[case.registry][number] == "SEEKING"
            asked = pb.GetCaseRequest(registry=case.registry, subject=case.subject)
            best = linker.GetCase(asked, timeout=60).candidates[0].link
            # The same person in the other office, as a found one.
            assert {
                people[best.registry_l][best.subject_l], people[best.registry_r][best.subject_r]
            } == {number}  # fmt: skip
        assert {case.registry for case in cases} == set(SIDES)
        case = cases[0]
    # What the gateway shows of it.
    tls = made.rig.federation.tls("gateway", "gateway")
    office = open_office(tmp_path / "gateway")
    metrics = office.gateway.runtime_metrics
    object.__setattr__(office.gateway, "linker", GrpcLinker(made.address, tls, metrics=metrics))
    try:
        browser = office.browser("Li Wei")
        path = f"/cases/{case.registry}/{case.subject}"
        assert path in browser.get("/cases?registry=" + case.registry).text
        page = browser.get(path).text
        assert "waterfall-wide" in page
        assert "postcode" in page
        assert browser.get(f"/cases/{case.registry}/{'0' * 32}").status_code == 404
        name = {"anhui": "Shaanxi", "sichuan": "Henan"}[case.registry]
        # Provinces of other registries have no part in it.
        assert office.browser(name).get(path).status_code == 404
    finally:
        office.gateway.linker.close()
        office.close()


def test_a_ruled_out_pair_comes_back_with_other_evidence_and_not_without(
    made: RealFederation,
) -> None:
    with stub(made) as linker:

        def pair() -> pb.Link:
            return linker.GetLink(pb.GetLinkRequest(id=link_id), timeout=60).link

        def shown() -> set[str]:
            chosen = pb.LinkFilter(include_disclosed=True)
            request = pb.ListLinksRequest(filter=chosen, page_size=200)
            return {link.id for link in linker.ListLinks(request, timeout=60).links}

        def reject() -> None:
            request = pb.DecideLinkRequest(
                id=link_id,
                verdict=registry_pb2.VERDICT_REJECTED,
                decided_by="li",
                ruled_out_by=pb.RULED_OUT_BY_BIRTH,
            )
            assert linker.DecideLink(request, timeout=60).link.state == pb.PAIR_STATE_RULED_OUT

        def is_out() -> bool:
            return pair().state == pb.PAIR_STATE_RULED_OUT and link_id not in shown()

        def linked_anew() -> None:
            linkage = made.link()
            assert linkage["state"] == "LINKAGE_STATE_SUCCEEDED", linkage

        wanted = {subject: number == DECIDED for subject, number in subjects(made, "anhui").items()}
        everyone = pb.ListLinksRequest(page_size=200)
        link_id = next(
            link.id
            for link in linker.ListLinks(everyone, timeout=60).links
            if wanted[link.subject_l]
        )
        assert pair().seeker == pb.SEEKER_LEFT
        reject()
        assert is_out()

        # The same records once more, and a new linkage: nothing of it is sealed.
        for name in SIDES:
            ingest(made, name, row(name, DECIDED))
        linked_anew()
        assert is_out()

        # Another postcode in one of the offices: it is back, and says why.
        ingest(made, "sichuan", row("sichuan", DECIDED, postcode="9999"))
        becomes(lambda: pair().state == pb.PAIR_STATE_RETURNED)
        assert list(pair().changed_fields) == ["postcode"]
        assert pair().ruled_out_by == pb.RULED_OUT_BY_BIRTH
        assert pair().verdict_by == "li"
        assert pair().verdict_at.seconds
        assert link_id in shown()
        for home in made.rig.homes.values():
            becomes(lambda home=home: '"unsure"' in must(home, "links", "--id", "p3", "--json"))

        # Ruled out as it is now: out, in a new linkage and in a new epoch too.
        reject()
        linked_anew()
        assert is_out()
        made.rig.share(*made.rig.homes.values(), epoch="2026-12")
        for served in made.served.values():
            served.node.epochs.sync()
        linked_anew()
        assert is_out()

        # A change that changes no level: compared anew, and it stays out.
        sealed = len(shown())
        ingest(made, "sichuan", row("sichuan", DECIDED, postcode="9998"))
        linked_anew()
        assert is_out()
        assert len(shown()) == sealed
        # The first office corrects it as well: the pair agrees as it did at first.
        ingest(made, "anhui", row("anhui", DECIDED, postcode="9998"))
        becomes(lambda: pair().state == pb.PAIR_STATE_RETURNED)
        assert list(pair().changed_fields) == ["postcode"]
