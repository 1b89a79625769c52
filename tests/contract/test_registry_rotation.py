"""A change of the epoch as a registry's peers meet it: who lasts, who is fresh, what stays decided.

The linker of these tests lies where it can: it withholds, swaps and replays what registries seal
for each other about decided pairs.
"""

from __future__ import annotations

import copy
import dataclasses
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kinlink.registry.v1 import registry_pb2 as pb
from kinlink_core.errors import InvalidInputError, NotFoundError, Reason
from kinlink_core.wire import FeedEvent, Refusal
from unit.registry.rig import Linker, Meeting, Rig, meet, must, people, person, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEW = "2026-12"
SHARED = range(8)
# What becomes of the first pairs of a meeting: their verdict, and whether they are linked.
CONFIRMED, REJECTED, LINKED, DISCLOSED = range(4)


NAMES = ("anhui", "gansu", "sichuan")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """Three registries that hold the same people and share an epoch; nothing is linked yet."""
    rig = Rig(tmp_path_factory.mktemp("prepared"))
    homes = [rig.registry(name) for name in NAMES]
    rig.share(homes[0], *homes[1:])
    for home in homes:
        rig.fill(home, people(*SHARED))
    return rig


@contextmanager
def serving(prepared: Rig, directory: Path, *names: str) -> Iterator[tuple[Rig, list[Linker]]]:
    """Serve copies of some of them."""
    rig = copy.copy(prepared)
    rig.homes = {name: shutil.copytree(prepared.homes[name], directory / name) for name in names}
    with ExitStack() as stack:
        yield rig, [stack.enter_context(rig.linker(home)) for home in rig.homes.values()]


@pytest.fixture
def two(prepared: Rig, tmp_path: Path) -> Iterator[tuple[Rig, Linker, Linker]]:
    with serving(prepared, tmp_path, "anhui", "sichuan") as (rig, (left, right)):
        yield rig, left, right


def disclosed(met: Meeting) -> tuple[np.ndarray, np.ndarray]:
    """Subject ids of both sides; zero where a registry refused."""
    tags_l = met.left.sieve(met.to_left, tags=True).record_tag
    tags_r = met.right.sieve(met.to_right, tags=True).record_tag
    sides = ((met.left, met.to_left, tags_r), (met.right, met.to_right, tags_l))
    found = [
        linker.disclose(asked.card, asked.own, asked.theirs, tags).subjects
        for linker, asked, tags in sides
    ]
    return found[0], found[1]


def link(met: Meeting, subjects: tuple[np.ndarray, np.ndarray], row: int, side: int) -> object:
    verdicts = {CONFIRMED: pb.VERDICT_CONFIRMED, REJECTED: pb.VERDICT_REJECTED}
    asked = (met.to_left, met.to_right)[side]
    return pb.PublishedLink(
        link_id=f"link-{row}",
        subject=subjects[side][row].tobytes(),
        partner=asked.card.registry,
        partner_subject=subjects[1 - side][row].tobytes(),
        match_weight=12.5,
        match_probability=0.99,
        person_id=f"person-{row}" if row in {CONFIRMED, LINKED} else "",
        verdict=verdicts.get(row, pb.VERDICT_UNSPECIFIED),
        own_handle=asked.own[row].tobytes(),
        partner_handle=asked.theirs[row].tobytes(),
    )


@dataclasses.dataclass
class Known:
    """The pairs of a first meeting: own record and subject id of each, left and right."""

    refs: tuple[list[int], list[int]]
    subjects: tuple[np.ndarray, np.ndarray]


def met_once(left: Linker, right: Linker) -> tuple[Meeting, Known]:
    met = meet(left, right)
    refs = by_record(left, met.to_left.own), by_record(right, met.to_right.own)
    return met, Known(refs, disclosed(met))


def linked(left: Linker, right: Linker) -> Known:
    """Link two registries in the first epoch; the first pairs are decided, linked or only shown."""
    met, known = met_once(left, right)
    for side, linker in enumerate((left, right)):
        linker.publish(*(link(met, known.subjects, row, side) for row in range(4)))
    return known


def rotate(rig: Rig, *linkers: Linker) -> None:
    """Give all a new epoch, and turn to it."""
    homes = [linker.node.home.root for linker in linkers]
    rig.share(homes[0], *homes[1:], epoch=NEW)
    for linker in linkers:
        linker.node.epochs.sync()
        linker.epoch = NEW


def retire(*linkers: Linker, epoch: str = "2026-11") -> None:
    for linker in linkers:
        must(linker.node.home.root, "keys", "retire", epoch, "--yes")
        linker.node.epochs.sync()


def exchange(left: Linker, right: Linker) -> list[pb.ExchangeDecisionsResponse]:
    """Everything two registries have to say to each other, carried faithfully; what was said."""
    said = [left.exchange(right.card)]
    said.append(right.exchange(left.card, said[-1].question))
    while said[-1].question or said[-1].answer:
        speaker, listener = (left, right) if len(said) % 2 == 0 else (right, left)
        said.append(speaker.exchange(listener.card, said[-1].question, said[-1].answer))
    return said


def by_record(linker: Linker, handles: np.ndarray) -> list[int]:
    """Which record each handle is of: what only the registry itself can tell."""
    with linker.node.vault.reading() as session:
        rows = dict(session.rows("SELECT handle, ref FROM handle"))
    return [next(ref for h, ref in rows.items() if h.bytes == row.tobytes()) for row in handles]


def rows_of(met: Meeting, known: Known) -> list[int]:
    """The rows of a meeting in a new epoch, in the order of the records of the first one."""
    refs = by_record(met.left, met.to_left.own)
    return [refs.index(ref) for ref in known.refs[0]]


def test_people_with_a_link_or_a_verdict_keep_their_subject_id_and_all_others_get_fresh_ones(
    two: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = two
    known = linked(left, right)
    rotate(rig, left, right)
    exchange(left, right)
    met = meet(left, right)
    again = disclosed(met)
    rows = rows_of(met, known)
    for side in (0, 1):
        assert (again[side][rows[LINKED]] == known.subjects[side][LINKED]).all()
        fresh = {again[side][rows[row]].tobytes() for row in range(DISCLOSED, len(rows))}
        assert not fresh & {row.tobytes() for row in known.subjects[side]}
        for row in (CONFIRMED, REJECTED):
            assert not again[side][rows[row]].any()


def test_exactly_the_decided_pairs_are_refused_in_a_new_epoch_once_the_partner_has_answered(
    two: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = two
    known = linked(left, right)
    rotate(rig, left, right)
    met = meet(left, right)
    rows = rows_of(met, known)
    decided = [rows[CONFIRMED], rows[REJECTED]]
    # Until then nothing of a record with a verdict is sealed or sieved towards this partner.
    for refusal in (left.seal(met.to_left).refusal, left.sieve(met.to_left).refusal):
        assert sorted(np.flatnonzero(refusal == Refusal.WITHHELD)) == sorted(decided)
        assert (refusal == Refusal.ANSWERED).sum() == len(rows) - 2
    exchange(left, right)
    for pass_index in (0, 1):
        met = meet(left, right, pass_index)
        for linker, asked in ((left, met.to_left), (right, met.to_right)):
            # Another linkage, in which no pair was sealed in an earlier pass.
            sealed = linker.seal(asked, f"linkage {pass_index}").refusal
            for refusal in (sealed, linker.sieve(asked).refusal):
                assert (refusal == Refusal.DECIDED).sum() == 2
                assert (refusal == Refusal.ANSWERED).sum() == len(rows) - 2
    # A record with a verdict still meets the partner's other records.
    crossed = met.to_left
    assert not left.exchange(right.card).question
    row, other = rows_of(met, known)[CONFIRMED], rows_of(met, known)[LINKED]
    theirs = crossed.theirs.copy()
    theirs[row] = theirs[other]
    crossed = dataclasses.replace(crossed, theirs=theirs)
    assert left.sieve(crossed).refusal[row] == Refusal.ANSWERED


def test_what_is_said_about_decided_pairs_tells_the_linker_neither_names_nor_how_many(
    two: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = two
    linked(left, right)
    rotate(rig, left, right)
    said = exchange(left, right)
    questions = {len(each.question) for each in said} - {0}
    answers = {len(each.answer) for each in said} - {0}
    assert len(questions) == 1
    assert answers == {4096 + 28}
    assert [each.unanswered for each in said][-2:] == [0, 0]
    # Asked again, the same words are said in another way, or there is nothing left to say.
    assert left.exchange(right.card).question == b""


def test_a_linker_that_withholds_swaps_or_replays_gets_no_decided_pair(
    prepared: Rig, tmp_path: Path
) -> None:
    with serving(prepared, tmp_path, *NAMES) as (rig, (left, other, right)):
        known = linked(left, right)
        rotate(rig, left, other, right)
        met = meet(left, right)
        decided = [rows_of(met, known)[row] for row in (CONFIRMED, REJECTED)]

        def closed() -> bool:
            refusal = left.seal(met.to_left).refusal[decided]
            return bool((refusal != Refusal.ANSWERED).all())

        question = left.exchange(right.card).question
        answer = right.exchange(left.card, question).answer
        # Withheld: nothing. Swapped, sent back, as another kind, of a third one, changed, cut off:
        for liar, partner, kinds in (
            (left, other, {"answer": answer}),
            (left, right, {"answer": question}),
            (left, right, {"question": question}),
            (right, left, {"answer": answer}),
            (other, left, {"question": question}),
            (left, right, {"answer": bytes([answer[0] ^ 1]) + answer[1:]}),
            (left, right, {"answer": answer[:40]}),
            (left, right, {"answer": b"x"}),
            (left, right, {"answer": bytes((512 << 10) + 100)}),
        ):
            with pytest.raises(InvalidInputError):
                liar.exchange(partner.card, **kinds)
            assert closed()
        # Replayed in another epoch.
        left.epoch = right.epoch = "2026-11"
        with pytest.raises(InvalidInputError):
            left.exchange(right.card, answer=answer)
        left.epoch = right.epoch = NEW
        # Taken, then a record changes: its answer is asked for anew, and the old one is worth
        # nothing, however often it is sent.
        left.exchange(right.card, answer=answer)
        assert (left.seal(met.to_left).refusal[decided] == Refusal.DECIDED).all()
        changed = [person(n) | {"postcode": str(4000 + n)} for n in SHARED]
        must(left.node.home.root, "ingest", write_csv(tmp_path / "changed.csv", changed))
        met = meet(left, right)
        left.exchange(right.card, answer=answer)
        row = rows_of(met, known)[CONFIRMED]
        assert left.seal(met.to_left).refusal[row] == Refusal.WITHHELD
        # The other verdict was a rejection of what the record was before.
        assert left.exchange(right.card).unanswered == 1


def verdicts(known: Known, met: Meeting) -> dict[int, tuple[int, int]]:
    """What both registries answer when the two decided pairs are to be sealed."""
    rows = rows_of(met, known)
    sealed = [
        linker.seal(asked, f"linkage {linker.epoch}").refusal
        for linker, asked in ((met.left, met.to_left), (met.right, met.to_right))
    ]
    return {row: (sealed[0][rows[row]], sealed[1][rows[row]]) for row in (CONFIRMED, REJECTED)}


SHUT = (Refusal.DECIDED, Refusal.DECIDED)
OPEN = (Refusal.ANSWERED, Refusal.ANSWERED)


@pytest.mark.parametrize("side", [0, 1], ids=["left", "right"])
@pytest.mark.parametrize("new_epoch", [False, True], ids=["same-epoch", "next-epoch"])
def test_a_rejected_pair_is_sealed_again_once_one_of_its_records_changed_and_a_confirmed_one_never(
    two: tuple[Rig, Linker, Linker], tmp_path: Path, side: int, *, new_epoch: bool
) -> None:
    rig, left, right = two
    known = linked(left, right)
    home = (left, right)[side].node.home.root
    # The same records once more are no change.
    must(home, "ingest", write_csv(tmp_path / "same.csv", people(*SHARED)))
    exchange(left, right)
    assert verdicts(known, meet(left, right)) == {CONFIRMED: SHUT, REJECTED: SHUT}
    changed = [person(n) | {"postcode": str(4000 + n)} for n in SHARED]
    must(home, "ingest", write_csv(tmp_path / "changed.csv", changed))
    if new_epoch:
        rotate(rig, left, right)
    exchange(left, right)
    # Neither registry keeps the records from meeting others.
    assert not any(each.exchange(o.card).unanswered for each, o in ((left, right), (right, left)))
    met = meet(left, right)
    found = verdicts(known, met)
    assert found[REJECTED] == OPEN
    assert Refusal.ANSWERED not in found[CONFIRMED]
    # Rejected as they are now: shut until the next change.
    again = disclosed(met)
    for each, linker in enumerate((left, right)):
        rejected = link(met, again, rows_of(met, known)[REJECTED], each)
        rejected.link_id, rejected.verdict = f"link-{REJECTED}", pb.VERDICT_REJECTED
        linker.publish(rejected)
    exchange(left, right)
    assert verdicts(known, met)[REJECTED] == SHUT


def test_a_rejection_that_comes_after_a_change_is_about_what_was_compared(
    two: tuple[Rig, Linker, Linker], tmp_path: Path
) -> None:
    _, left, right = two
    met, known = met_once(left, right)
    late = [link(met, known.subjects, REJECTED, side) for side in (0, 1)]
    for linker, found in zip((left, right), late, strict=True):
        found.verdict = pb.VERDICT_UNSPECIFIED
        linker.publish(found)
    changed = [person(n) | {"postcode": str(4000 + n)} for n in SHARED]
    must(left.node.home.root, "ingest", write_csv(tmp_path / "changed.csv", changed))
    for linker, found in zip((left, right), late, strict=True):
        found.verdict = pb.VERDICT_REJECTED
        found.own_handle = found.partner_handle = b""
        linker.publish(found, linkage_id="")
    exchange(left, right)
    assert verdicts(known, meet(left, right))[REJECTED] == OPEN


def test_a_question_about_a_record_that_is_gone_closes_the_verdict(
    two: tuple[Rig, Linker, Linker], tmp_path: Path
) -> None:
    rig, left, right = two
    known = linked(left, right)
    names = {ref: name for name, ref in _locals(right).items()}
    gone = names[known.refs[1][CONFIRMED]]
    rotate(rig, left, right)
    must(right.node.home.root, "ingest", write_csv(tmp_path / "x.csv", [{"record_id": gone}],
         ("record_id",)), "--delete")  # fmt: skip
    assert left.exchange(right.card).unanswered == 2
    exchange(left, right)
    assert left.exchange(right.card).unanswered == 0
    with left.node.vault.reading() as session:
        assert session.value("SELECT count(*) FROM decided") == 1


def _locals(linker: Linker) -> dict[str, int]:
    from kinlink_registry import records

    with linker.node.vault.reading() as session:
        refs = np.array([row[0] for row in session.rows("SELECT ref FROM record")], np.int32)
        found = records.open_people(session, linker.node.vault.cipher, refs)
    return dict(zip(found.local_ids, found.refs.tolist(), strict=True))


def test_a_retired_epoch_is_told_in_the_next_but_for_those_who_last(
    two: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = two
    known = linked(left, right)
    rotate(rig, left, right)
    seen = left.feed()
    assert not seen.handles(FeedEvent.SUBJECT_RETIRED)
    retire(left)
    later = left.feed(seen.header.feed_id, seen.header.last_sequence)
    gone = later.handles(FeedEvent.SUBJECT_RETIRED)
    kept = {known.subjects[0][row].tobytes() for row in (CONFIRMED, REJECTED, LINKED)}
    assert gone == {row.tobytes() for row in known.subjects[0]} - kept
    # A verdict on a link of the retired epoch is still taken, and settles its pair.
    link_of_old = pb.PublishedLink(
        link_id=f"link-{LINKED}",
        subject=known.subjects[0][LINKED].tobytes(),
        partner="sichuan",
        partner_subject=known.subjects[1][LINKED].tobytes(),
        match_probability=0.5,
        verdict=pb.VERDICT_REJECTED,
    )
    left.epoch = "2026-11"
    assert left.publish(link_of_old, linkage_id="").accepted == 1
    left.epoch = NEW
    assert left.exchange(right.card).unanswered == 3
    # Nobody of it is known: nothing to take.
    link_of_old.subject = bytes(16)
    left.epoch = "2026-11"
    with pytest.raises(NotFoundError) as caught:
        left.publish(link_of_old)
    assert caught.value.reason is Reason.EPOCH_UNKNOWN


def test_a_person_who_withdraws_after_a_rotation_is_told_in_every_epoch_at_once(
    two: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = two
    known = linked(left, right)
    names = {ref: name for name, ref in _locals(left).items()}
    who = names[known.refs[0][LINKED]]
    subject = known.subjects[0][LINKED].tobytes()
    rotate(rig, left, right)
    must(left.node.home.root, "consent", "withdraw", who)
    for epoch in ("2026-11", NEW):
        left.epoch = epoch
        assert left.feed().handles(FeedEvent.SUBJECT_RETIRED) == {subject}
    # Retired before the linker has read it: the younger feed still says so, and only once.
    retire(left)
    left.epoch = NEW
    gone = left.feed().column("handle")[left.feed().column("event") == FeedEvent.SUBJECT_RETIRED]
    assert sum(row.tobytes() == subject for row in gone) == 1


def test_a_link_that_another_epoch_knew_under_another_id_takes_the_published_one(
    two: tuple[Rig, Linker, Linker],
) -> None:
    rig, left, right = two
    _, known = met_once(left, right)
    old = known.subjects
    rotate(rig, left, right)
    met = meet(left, right)
    new = disclosed(met)
    row = rows_of(met, known)[LINKED]
    assert (old[0][LINKED] != new[0][row]).any()
    wanted = link(met, new, row, 0)
    wanted.person_id, wanted.verdict = "person", pb.VERDICT_UNSPECIFIED
    assert left.publish(wanted).accepted == 1
    left.epoch = right.epoch = "2026-11"
    assert left.feed().handles(FeedEvent.SUBJECT_RETIRED) == {old[0][LINKED].tobytes()}
    met = meet(left, right)
    assert (disclosed(met)[0][rows_of(met, known)[LINKED]] == new[0][row]).all()


def test_who_lasts_lasts_over_a_time_without_any_epoch(two: tuple[Rig, Linker, Linker]) -> None:
    rig, left, right = two
    known = linked(left, right)
    retire(left, right)
    rotate(rig, left, right)
    exchange(left, right)
    met = meet(left, right)
    again = disclosed(met)
    assert (again[0][rows_of(met, known)[LINKED]] == known.subjects[0][LINKED]).all()
    assert known.subjects[0][DISCLOSED].tobytes() in left.feed().handles(FeedEvent.SUBJECT_RETIRED)
