"""A linker in memory, with the data of a small federation that looks like a real one."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kinlink_core.errors import NotFoundError, Reason
from kinlink_gateway.cases import (
    Candidate,
    CandidatePage,
    Case,
    CaseFilter,
    CaseKey,
    CasePage,
)
from kinlink_gateway.linkage_quality import (
    BlockingLoss,
    CalibrationBand,
    Expected,
    LinkageQuality,
    RegistryQuality,
    ThresholdAdvice,
    WeightBin,
)
from kinlink_gateway.linker import (
    Evidence,
    ExplainedLink,
    Link,
    Linkage,
    LinkagePage,
    LinkageState,
    LinkFilter,
    LinkOrder,
    LinkPage,
    MissingRegistry,
    PairState,
    PassCounts,
    Registry,
    RegistryState,
    RuledOutBy,
    Seeker,
    Stage,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
PROVINCES = ("shaanxi", "sichuan", "henan")
STAGES = (
    ("connect", 0.4, 3, 3),
    ("collect", 2.1, 61_044, 61_044),
    ("candidates", 0.9, 48_210, 48_210),
    ("sieve", 3.2, 48_210, 48_210),
    ("chance", 1.7, 30_000, 30_000),
    ("seal", 6.3, 9_702, 9_702),
    ("score", 2.8, 9_702, 9_702),
    ("disclose", 0.8, 4_120, 4_120),
    ("persons", 0.2, 2_871, 2_871),
    ("publish", 0.5, 2_871, 2_871),
)
PRIOR_WEIGHT = -12.4
FIELDS = (
    ("name_zh", "same name", 9.8, 0.71, 0.0008),
    ("birth_date", "same year and month", 7.3, 0.18, 0.0011),
    ("sex", "same", 0.97, 0.99, 0.505),
    ("birth_place", "close", 3.6, 0.3, 0.025),
    ("address", "different", -1.9, 0.24, 0.89),
    ("phone", "missing", 0.0, 1.0, 1.0),
    ("blood_group", "same", 1.6, 0.93, 0.31),
)


# Registries of families' notices, and of found people's; either name may sort first.
FAMILIES = ("shaanxi", "henan")
FOUND = ("sichuan", "fujian")
# How many candidates each family's notice has.
CANDIDATES_OF = (14, 6, 9, 3, 11, 2, 5, 1)
NOTICE_FIELDS = (
    ("born", "within half a year", 2.2, 0.26, 0.06),
    ("sex", "equal", 0.99, 0.995, 0.501),
    ("parted", "within two years", 1.7, 0.46, 0.14),
    ("arrival", "where very many go", 2.4, 0.2, 0.038),
    ("place", "missing", 0.0, 1.0, 1.0),
    ("nickname", "close", 3.9, 0.15, 0.01),
    ("surname", "none of these", -0.9, 0.5, 0.93),
    ("siblings", "as many", 1.1, 0.55, 0.26),
    ("marks", "one", 3.2, 0.4, 0.043),
    ("memories", "two", 2.6, 0.25, 0.041),
    ("blood", "likely", 0.4, 0.4, 0.3),
    ("height", "missing", 0.0, 1.0, 1.0),
)


def identifier(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def make_link(number: int, *, linkage: str, pair: tuple[str, str], weight: float) -> Link:
    probability = 1 / (1 + 2**-weight)
    linked = probability >= 0.5
    return Link(
        id=identifier("link", number),
        linkage_id=linkage,
        registry_l=min(pair),
        subject_l=identifier("subject", number, min(pair)),
        registry_r=max(pair),
        subject_r=identifier("subject", number, max(pair)),
        match_weight=weight,
        match_probability=probability,
        linked=linked,
        person_id=identifier("person", number // 2) if linked else "",
        blocking_pass="name_birth" if number % 3 else "birth_place_lsh",
        created_at=START + timedelta(minutes=number),
        missing_registries=("henan",) if linkage == "lk-partial" else (),
    )


def make_candidate(number: int, rank: int, linkage: str) -> Link:
    """A found person's notice for a family's; the registry of smaller name is on the left."""
    family = (FAMILIES[number % 2], identifier("family", number))
    found = (FOUND[rank % 2], identifier("found", number, rank))
    (left, right) = sorted((family, found))
    weight = round(6.5 - number * 1.3 - rank * 1.1 - 0.07 * rank**2, 2)
    probability = 1 / (1 + 2**-weight)
    return Link(
        id=identifier("candidate", number, rank),
        linkage_id=linkage,
        registry_l=left[0],
        subject_l=left[1],
        registry_r=right[0],
        subject_r=right[1],
        match_weight=weight,
        match_probability=probability,
        linked=probability >= 0.5,
        person_id=identifier("person of", number) if probability >= 0.5 else "",
        blocking_pass="away_1",  # noqa: S106 - a name, not a secret
        created_at=START + timedelta(hours=31 * number + rank),
        seeker=Seeker.L if left == family else Seeker.R,
    )


def make_quality() -> LinkageQuality:
    """Estimates of a linkage of three provinces, one of them badly served."""
    linked = Expected(0.0, 0.5, 2_870, 2_790, 0.972, 0.955, 0.71, 0.86, 0.913)
    served = (
        ("shaanxi", "", 20_411, 1_910, 4_610, 1_980, 1_930, 0.094, 0.981, 0.969, 0.08, 0.24, ()),
        ("sichuan", "", 22_870, 1_880, 4_450, 1_950, 1_890, 0.082, 0.979, 0.965, 0.09, 0.25, ()),
        (
            "henan", "", 17_763, 1_150, 3_020, 1_370, 1_160, 0.065, 0.949, 0.812, 0.19, 0.41,
            ("linked_share", "recall"),
        ),
    )  # fmt: skip
    rows = [
        RegistryQuality(*row)  # type: ignore[arg-type]
        for row in served
    ]
    pairs = [
        replace(row, partner=other.registry, links=row.links // 2, worse=())
        for row in rows
        for other in rows
        if other is not row
    ]
    weights = [
        (bits, round(900 * math.exp(-((bits + 9) ** 2) / 12)), 1 / (1 + 2.0**-bits))
        for bits in range(-16, 31)
    ]
    bins = tuple(
        WeightBin(bits, bits + 1, others + peak(bits), round(others * chance) + peak(bits))
        for bits, others, chance in weights
    )
    return LinkageQuality(
        linked,
        BlockingLoss(2_920, (430, 520, 610, 640, 720), 320, 1_010, 0.099, 0.257),
        (
            ThresholdAdvice("f1", replace(linked, weight=-0.7, probability=0.38, links=2_940)),
            ThresholdAdvice("precision_0.99", replace(linked, weight=4.3, probability=0.952)),
        ),
        bins,
        tuple(rows),
        tuple(pairs),
        (CalibrationBand(0.99, 1.0, 120, 110, 1.0, 0.85, 0.96),),
    )


def peak(bits: int) -> int:
    """Matches of a weight."""
    return round(240 * math.exp(-((bits - 14) ** 2) / 40))


class FakeLinker:
    """Implements `Linker`; its attributes may be changed by a test."""

    def __init__(self) -> None:
        self.sides = False
        self.registries = {
            "shaanxi": Registry(
                "shaanxi", RegistryState.READY, "", "2026-11", 20_411, 81_250, 0, START
            ),
            "sichuan": Registry(
                "sichuan", RegistryState.READY, "", "2026-11", 22_870, 90_112, 128, START
            ),
            "henan": Registry(
                "henan",
                RegistryState.UNREACHABLE,
                "No answer within 10 seconds.",
                "2026-11",
                17_763,
                70_004,
                2_310,
                START - timedelta(days=2),
            ),
        }
        self.qualities = {"lk-partial": make_quality(), "lk-first": make_quality()}
        done = tuple(Stage(*stage) for stage in STAGES)
        self.linkages = {
            "lk-running": Linkage(
                id="lk-running",
                state=LinkageState.RUNNING,
                epoch="2026-11",
                threshold_probability=0.5,
                created_at=START + timedelta(hours=3),
                created_by="gateway",
                stages=(*done[:5], Stage("seal", 2.2, 4_100, 9_702)),
                candidate_pairs=48_210,
                disclosed_pairs=0,
                links=0,
                persons=0,
                em_iterations=0,
            ),
            "lk-partial": Linkage(
                id="lk-partial",
                state=LinkageState.PARTIAL,
                epoch="2026-11",
                threshold_probability=0.5,
                created_at=START + timedelta(hours=1),
                ended_at=START + timedelta(hours=1, seconds=19),
                created_by="gateway",
                stages=done,
                passes=(
                    PassCounts("name_birth", 41_200, 8_120, 14, 6, 0, 21_844, 15_002, 6_842, 0),
                    PassCounts(
                        "birth_place_lsh", 19_844, 5_031, 210, 92, 1, 26_366, 23_506, 2_860, 4
                    ),
                ),
                missing_registries=(
                    MissingRegistry("henan", "UNREACHABLE", "No answer within 10 seconds."),
                ),
                candidate_pairs=48_210,
                disclosed_pairs=4_120,
                links=2_871,
                persons=2_644,
                em_iterations=11,
                bytes_received={"shaanxi": 8_412_003, "sichuan": 9_018_220},
            ),
            "lk-first": Linkage(
                id="lk-first",
                state=LinkageState.SUCCEEDED,
                epoch="2026-11",
                threshold_probability=0.5,
                created_at=START,
                ended_at=START + timedelta(seconds=21),
                created_by="gateway",
                stages=done,
                candidate_pairs=60_002,
                disclosed_pairs=5_003,
                links=3_010,
                persons=2_800,
                em_iterations=9,
                bytes_received=dict.fromkeys(PROVINCES, 7_000_000),
            ),
        }
        pairs = (("shaanxi", "sichuan"), ("henan", "sichuan"), ("henan", "shaanxi"))
        self.links = {
            link.id: link
            for link in (
                make_link(
                    number,
                    linkage="lk-first" if number % 4 else "lk-partial",
                    pair=pairs[number % 3 if number % 4 else 0],
                    weight=round(24 - number * 0.2, 2),
                )
                for number in range(132)
            )
        }
        self.calls: list[str] = []
        self.fail: Exception | None = None
        self.fail_stream_after: int | None = None

    def list_registries(self) -> tuple[Registry, ...]:
        self._begin("list_registries")
        return tuple(self.registries[name] for name in sorted(self.registries))

    def create_linkage(
        self,
        *,
        threshold_probability: float | None,
        registries: tuple[str, ...],
        purpose: str,
        requested_by: str,
    ) -> Linkage:
        order = f"{threshold_probability} {registries} {requested_by}: {purpose}"
        self._begin(f"create_linkage {order}")
        linkage = Linkage(
            id=f"lk-new{len(self.linkages)}",
            state=LinkageState.PENDING,
            epoch="2026-11",
            threshold_probability=threshold_probability or 0.5,
            created_at=START + timedelta(days=1),
            purpose=purpose,
            requested_by=requested_by,
        )
        self.linkages[linkage.id] = linkage
        return linkage

    def get_linkage(self, linkage_id: str) -> Linkage:
        self._begin("get_linkage")
        if linkage_id not in self.linkages:
            raise NotFoundError(Reason.LINKAGE_NOT_FOUND)
        return self.linkages[linkage_id]

    def linkage_quality(self, linkage_id: str) -> LinkageQuality | None:
        self._begin("linkage_quality")
        if linkage_id not in self.linkages:
            raise NotFoundError(Reason.LINKAGE_NOT_FOUND)
        return self.qualities.get(linkage_id)

    def list_linkages(self, *, page_size: int, page_token: str) -> LinkagePage:
        self._begin("list_linkages")
        ordered = sorted(self.linkages.values(), key=lambda item: item.created_at or START)[::-1]
        first = int(page_token or 0)
        more = first + page_size < len(ordered)
        return LinkagePage(
            tuple(ordered[first : first + page_size]), str(first + page_size) if more else ""
        )

    def cancel_linkage(self, linkage_id: str) -> Linkage:
        self._begin("cancel_linkage")
        linkage = replace(self.linkages[linkage_id], state=LinkageState.CANCELLED, ended_at=START)
        self.linkages[linkage_id] = linkage
        return linkage

    def list_links(
        self, link_filter: LinkFilter, *, order: LinkOrder, page_size: int, page_token: str
    ) -> LinkPage:
        self._begin("list_links")
        keys = {
            LinkOrder.WEIGHT_DESC: lambda link: -link.match_weight,
            LinkOrder.WEIGHT_ASC: lambda link: link.match_weight,
            LinkOrder.CREATED_DESC: lambda link: -(link.created_at or START).timestamp(),
        }
        matching = sorted(self._matching(link_filter), key=keys[order])
        first = int(page_token or 0)
        more = first + page_size < len(matching)
        return LinkPage(
            tuple(matching[first : first + page_size]),
            str(first + page_size) if more else "",
            len(matching),
        )

    def stream_links(self, link_filter: LinkFilter) -> Iterator[tuple[Link, ...]]:
        self._begin("stream_links")
        matching = self._matching(link_filter)
        for first in range(0, len(matching), 20):
            if self.fail_stream_after is not None and first >= self.fail_stream_after:
                raise RuntimeError("the stream broke")
            yield tuple(matching[first : first + 20])

    def get_link(self, link_id: str) -> ExplainedLink:
        self._begin("get_link")
        if link_id not in self.links:
            raise NotFoundError(Reason.LINK_NOT_FOUND)
        link = self.links[link_id]
        fields = NOTICE_FIELDS if link.seeker else FIELDS
        known = sum(weight for _, _, weight, _, _ in fields[1:])
        first = round(link.match_weight - PRIOR_WEIGHT - known, 6)
        name, level, _, m, _ = fields[0]
        evidence = (
            Evidence(name, level, first, m, m / 2**first if math.isfinite(first) else 1.0),
            *(Evidence(*field) for field in fields[1:]),
        )
        return ExplainedLink(link, evidence, PRIOR_WEIGHT)

    def add_cases(self) -> None:
        """Turn it into the linker of a federation with two sides, with some families' notices."""
        self.sides = True
        self.registries["fujian"] = Registry(
            "fujian", RegistryState.READY, "", "2026-11", 1_240, 22_320, 0, START
        )
        for number, count in enumerate(CANDIDATES_OF):
            for rank in range(count):
                link = make_candidate(number, rank, self.linkages["lk-first"].id)
                self.links[link.id] = link
        (first, second, third) = self.links_of(0)[1:4]
        self.links[first.id] = replace(
            first, verdict=Verdict.REJECTED, verdict_reason="", verdict_by="Zhao Min (analyst)",
            verdict_at=START - timedelta(days=40), ruled_out_by=RuledOutBy.BIRTH,
            state=PairState.RETURNED, changed_fields=("born", "marks"),
        )  # fmt: skip
        self.links[second.id] = replace(
            second, verdict=Verdict.UNSURE, state=PairState.UNSURE, verdict_by="Li Wei (analyst)"
        )
        self.decide_link(
            third.id,
            verdict=Verdict.REJECTED,
            reason="",
            by="Li Wei (analyst)",
            ruled_out_by=RuledOutBy.DNA,
        )

    def links_of(self, number: int) -> list[Link]:
        """The pairs of a family's notice, best first."""
        family = (FAMILIES[number % 2], identifier("family", number))
        found = [link for link in self.links.values() if link.family == family]
        return sorted(found, key=lambda link: -link.match_weight)

    def two_sided(self) -> bool:
        return self.sides

    def list_cases(
        self, case_filter: CaseFilter, *, order: LinkOrder, page_size: int, page_token: str
    ) -> CasePage:
        self._begin("list_cases")
        families = sorted({link.family for link in self.links.values() if link.seeker})
        cases = [self._case(*family, case_filter.touching) for family in families]
        chosen = [
            case
            for case in cases
            if case.candidates
            and case_filter.registry in {"", case.registry}
            and (case_filter.include_confirmed or not case.confirmed)
        ]
        keys = {
            LinkOrder.WEIGHT_DESC: lambda case: -case.best_weight,
            LinkOrder.CREATED_DESC: lambda case: -(case.newest_at or START).timestamp(),
        }
        chosen.sort(key=keys[order])
        first = int(page_token or 0)
        more = first + page_size < len(chosen)
        return CasePage(
            tuple(chosen[first : first + page_size]),
            str(first + page_size) if more else "",
            len(chosen),
        )

    def get_case(self, key: CaseKey, *, page_size: int, page_token: str) -> CandidatePage:
        self._begin("get_case")
        case = self._case(key.registry, key.subject, key.touching)
        if not case.candidates and not case.ruled_out:
            raise NotFoundError(Reason.CASE_NOT_FOUND)
        states = key.states or tuple(each for each in PairState if each is not PairState.RULED_OUT)
        links = [
            link
            for link in self._of_case(key.registry, key.subject, key.touching)
            if link.state in states
        ]
        first = int(page_token or 0)
        more = first + page_size < len(links)
        return CandidatePage(
            case,
            tuple(
                Candidate(first + number, self.get_link(link.id))
                for number, link in enumerate(links[first : first + page_size], 1)
            ),
            str(first + page_size) if more else "",
            len(links),
        )

    def _of_case(self, registry: str, subject: str, touching: str) -> list[Link]:
        found = [
            link
            for link in self.links.values()
            if link.family == (registry, subject) and (not touching or link.touches(touching))
        ]
        return sorted(found, key=lambda link: -link.match_weight)

    def _case(self, registry: str, subject: str, touching: str) -> Case:
        links = self._of_case(registry, subject, touching)
        states = [link.state for link in links]
        candidates = [link for link in links if link.state is not PairState.RULED_OUT]
        return Case(
            registry,
            subject,
            len(candidates),
            max((link.match_weight for link in candidates), default=0.0),
            max((link.match_probability for link in candidates), default=0.0),
            max((link.created_at for link in candidates if link.created_at), default=None),
            states.count(PairState.RETURNED),
            states.count(PairState.CONFIRMED),
            states.count(PairState.RULED_OUT),
        )

    def decide_link(
        self,
        link_id: str,
        *,
        verdict: Verdict,
        reason: str,
        by: str,
        ruled_out_by: RuledOutBy | None = None,
    ) -> Link:
        self._begin("decide_link")
        link = replace(
            self.links[link_id],
            verdict=verdict,
            verdict_reason=reason,
            verdict_by=by,
            verdict_at=START + timedelta(days=2),
            ruled_out_by=ruled_out_by,
            state={
                Verdict.CONFIRMED: PairState.CONFIRMED,
                Verdict.REJECTED: PairState.RULED_OUT,
                Verdict.UNSURE: PairState.UNSURE,
            }[verdict],
            changed_fields=(),
        )
        if verdict is Verdict.REJECTED:
            link = replace(link, linked=False, person_id="")
        self.links[link_id] = link
        return link

    def close(self) -> None:
        self._begin("close")

    def _begin(self, call: str) -> None:
        self.calls.append(call)
        if self.fail is not None:
            raise self.fail

    def _matching(self, link_filter: LinkFilter) -> list[Link]:
        high = 1.0 if link_filter.probability_max is None else link_filter.probability_max

        def fits(link: Link) -> bool:
            return (
                link_filter.linkage_id in {"", link.linkage_id}
                and (not link_filter.registry or link.touches(link_filter.registry))
                and link_filter.probability_min <= link.match_probability <= high
                and link_filter.person_id in {"", link.person_id}
                and (not link_filter.verdicts or link.verdict in link_filter.verdicts)
                and not (
                    link_filter.undecided_only
                    and link.state not in {PairState.OPEN, PairState.RETURNED}
                )
                and (not link_filter.states or link.state in link_filter.states)
                and (link.linked or link.verdict or link_filter.include_disclosed)
            )

        return [link for link in self.links.values() if fits(link)]
