"""The synthetic notices: published margins, errors as stated, and one seed, one set of bytes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from kinlink_local.cli import main
from kinlink_local.reunion import assumptions as assumed
from kinlink_local.reunion import blood
from kinlink_local.reunion.dates import possible_days
from kinlink_local.reunion.divisions import divisions, flow
from kinlink_local.reunion.faces import read_faces
from kinlink_local.reunion.marginals import who
from kinlink_local.reunion.notices import (
    COLUMNS,
    KINDS,
    are_comparable,
    read_csv,
    read_jsonl,
    size,
    take,
    write_csv,
    write_jsonl,
)
from kinlink_local.reunion.population import (
    Config,
    Population,
    make_population,
    truth_pairs,
    write_population,
)
from kinlink_local.reunion.replay import replay_photographs

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 4_000
SMALL = Config(seed=11, notices=200, regime="informative")


@cache
def population(regime: str = "informative") -> Population:
    return make_population(Config(seed=11, notices=SIDE, regime=regime))


def tolerance(share: float, number: int) -> float:
    """Four standard deviations of a share."""
    return 4 * float(np.sqrt(share * (1 - share) / number))


def assert_share(hits: int, number: int, published: float) -> None:
    assert abs(hits / number - published) < tolerance(published, number)


def test_who_is_lost_meets_the_three_published_margins() -> None:
    table = who()
    total = sum(assumed.CATEGORY_COUNTS.values())
    assert total == 55_801 == assumed.GIRLS + assumed.BOYS
    for share, count in zip(table.sum(axis=(1, 2)), assumed.CATEGORY_COUNTS.values(), strict=True):
        assert share == pytest.approx(count / total, abs=1e-6)
    assert table[:, :, 0].sum() == pytest.approx(30_389 / 55_801, abs=1e-6)
    assert table[:, :5].sum() == pytest.approx(39_953 / 55_360, abs=1e-6)


def test_notices_have_the_published_categories_sexes_and_ages() -> None:
    family = population().family
    counts = Counter(family["category"])
    for name, count in assumed.CATEGORY_COUNTS.items():
        assert_share(counts[name], SIDE, count / 55_801)
    assert_share(family["sex"].count("F"), SIDE, 30_389 / 55_801)
    ages = np.array([int(age) for age in family["age_at_loss"]])
    for first, last, count in assumed.AGE_COUNTS:
        assert_share(int(((ages >= first) & (ages <= last)).sum()), SIDE, count / 55_360)


def test_losses_peak_about_1991_and_in_summer() -> None:
    lost = population().children.lost[:SIDE].astype("datetime64[D]")
    years = lost.astype("datetime64[Y]").astype(int) + 1970
    months = lost.astype("datetime64[M]").astype(int) % 12 + 1
    by_five = Counter((years // 5 * 5).tolist())
    assert by_five.most_common(1)[0][0] in {1985, 1990}
    assert ((years >= 1981) & (years <= 2000)).mean() > 0.6
    assert np.isin(months, (6, 7, 8)).mean() > 0.28
    firsts = (lost == lost.astype("datetime64[M]").astype("datetime64[D]")).mean()
    assert 0.035 < firsts < 0.07  # one day in thirty would be 0.033


def test_reunion_takes_as_long_as_published() -> None:
    now = population()
    rows = np.flatnonzero(now.partner >= 0)
    entered = np.array(now.found["entry_date"], "datetime64[D]").astype(int)[now.partner[rows]]
    delay = (entered - now.children.lost[rows]) / 365.2425
    assert abs(delay.mean() - 21.8) < 1.5


def test_children_move_by_the_flow_and_boys_stay_more_often() -> None:
    now = population()
    partnered = np.flatnonzero(now.partner >= 0)
    home = np.array([code[:2] for code in now.family["lost_place"]])[partnered]
    away = np.array([code[:2] for code in now.found["found_place"]])[now.partner[partnered]]
    boys = np.array(now.family["sex"])[partnered] == "M"
    assert_share(int((home == away)[boys].sum()), int(boys.sum()), assumed.STAY_SHARE["M"])
    assert_share(int((home == away)[~boys].sum()), int((~boys).sum()), assumed.STAY_SHARE["F"])
    for sex in ("F", "M"):
        assert flow(sex).sum(axis=1) == pytest.approx(1)
    sichuan, henan, tibet = (divisions().provinces.index(code) for code in ("51", "41", "54"))
    assert flow("M")[sichuan, henan] > 10 * flow("M")[sichuan, tibet]


@pytest.mark.parametrize("column", ["birth_date", "lost_date"])
def test_every_date_of_a_family_contains_the_true_day(column: str) -> None:
    now = population()
    true = now.children.born if column == "birth_date" else now.children.lost
    calendars = now.family[column.replace("date", "calendar")]
    assert set(calendars) == {"solar", "lunar", "unknown"}
    for text, calendar, day in zip(
        now.family[column], calendars, true[:SIDE].tolist(), strict=True
    ):
        assert any(first <= day <= last for first, last in possible_days(text, calendar))


def test_stated_births_err_by_the_published_table() -> None:
    now = population()
    rows = np.flatnonzero(np.array(now.found["found_as"]) != "rescued_minor")
    young = np.isin(now.children.category[SIDE:], [0, 3]) & (now.children.age[SIDE:] == 0)
    exact = [row for row in rows if len(now.found["birth_date"][row]) == 10 and not young[row]]
    stated = np.array([now.found["birth_date"][row] for row in exact], "datetime64[D]").astype(int)
    error = stated - now.children.born[SIDE:][exact]
    number = len(error)
    assert number > 1_000
    # Lunar numbers read as solar lie 19 to 54 days early: within the published bins' -30 and -120.
    assert_share(int(((error >= -54) & (error <= 30)).sum()), number, 0.667 + 0.044 * 24 / 90)
    assert_share(int(((error > 30) & (error <= 120)).sum()), number, 0.122)
    assert_share(int((error > 360).sum()), number, 0.045)


def test_hard_dates_are_a_year_off() -> None:
    now = population("hard")
    days = [i for i, text in enumerate(now.found["birth_date"]) if len(text) == 10]
    stated = np.array([now.found["birth_date"][i] for i in days], "datetime64[D]").astype(int)
    error = stated - now.children.born[SIDE:][days]
    assert error.std() == pytest.approx(365, rel=0.06)


def test_blood_groups_follow_mendel_and_the_published_shares() -> None:
    alleles = population().children.alleles
    groups = blood.GROUP_OF[alleles[:, 0], alleles[:, 1]]
    for group, share in zip(blood.GROUPS, (0.34, 0.28, 0.29, 0.09), strict=True):
        assert abs((groups == blood.GROUPS.index(group)).mean() - share) < 0.025
    lift = blood.lift()
    o, ab = blood.GROUPS.index("O"), blood.GROUPS.index("AB")
    unknown = blood.UNKNOWN
    assert lift[ab, unknown, unknown, o] < 0.1
    assert lift[o, o, unknown, ab] < 0.15
    assert lift[o, o, unknown, o] > 2.5


def test_faces_of_one_person_are_as_far_from_strangers_as_stated() -> None:
    now = make_population(replace(SMALL, notices=2_000, photos=1.0))
    ours = read_faces(now.family["face_embedding"])
    theirs = read_faces(now.found["face_embedding"])
    old = np.array([int(age) for age in now.family["photo_age"]])
    late = np.array([int(age) for age in now.found["photo_age"]])
    rows = np.flatnonzero(now.partner >= 0)
    gap = np.abs(late[now.partner[rows]] - old[rows])
    cosine = (ours[rows] * theirs[now.partner[rows]]).sum(axis=1) * np.sqrt(128)
    grown = cosine[(gap > 10) & (old[rows] >= 1)]
    assert grown.mean() == pytest.approx(3.4, abs=0.25)
    assert grown.std() == pytest.approx(0.9, abs=0.15)
    infants = cosine[old[rows] < 1]
    assert infants.mean() == pytest.approx(2.6, abs=0.25)
    strangers = (ours[:500] @ theirs[:500].T).ravel() * np.sqrt(128)
    assert strangers.std() == pytest.approx(1, abs=0.03)
    # Rank 1 among 700 faces, over more than ten years: 60 % (CosFace).
    rng = np.random.default_rng(5)
    best = rng.normal(size=(len(grown), 699)).max(axis=1)
    assert 0.48 < (grown > best).mean() < 0.72


def test_three_in_ten_have_a_partner_and_relatives_are_no_partners() -> None:
    now = population()
    assert len(truth_pairs(now)) == round(SIDE * assumed.PARTNER_SHARE)
    siblings = now.relations.sibling >= 0
    assert siblings.sum() == round(SIDE * assumed.SIBLING_SHARE)
    assert not (siblings & (now.relations.partner >= 0)).any()
    of = now.relations.sibling[siblings]
    assert (now.children.county[SIDE:][siblings] == now.children.county[of]).all()
    partnered = now.partner >= 0
    assert (now.relations.partner[now.partner[partnered]] == np.flatnonzero(partnered)).all()


def test_two_families_or_two_found_people_are_never_comparable() -> None:
    allowed = {(one, other) for one in KINDS for other in KINDS if are_comparable(one, other)}
    assert allowed == {
        ("seeking_child", "found"), ("found", "seeking_child"),
        ("seeking_child", "tip"), ("tip", "seeking_child"),
    }  # fmt: skip
    assert all(a[0] == "A" and b[0] == "B" for a, b in truth_pairs(population()))


def test_other_photographs_leave_everything_else_as_it_was() -> None:
    some, every = make_population(SMALL), make_population(replace(SMALL, photos=1.0))
    faces = {"photo_age", "face_model", "face_embedding"}
    for name in set(COLUMNS) - faces:
        assert some.family[name] == every.family[name]
        assert some.found[name] == every.found[name]
    assert all(every.family["photo_age"])
    assert 0.4 < sum(map(bool, some.family["photo_age"])) / 200 < 0.8


def run(folder: Path, *options: str) -> dict[str, bytes]:
    done = CliRunner().invoke(main, ["population", str(folder), "--notices", "150", *options])
    assert done.exit_code == 0, done.output
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    one = run(tmp_path / "one", "--seed", "3")
    again = run(tmp_path / "again", "--seed", "3")
    other = run(tmp_path / "other", "--seed", "4")
    assert one == again
    assert one["henan-seeking.csv"] != other["henan-seeking.csv"]
    assert one["truth.csv"] != other["truth.csv"]
    described = json.loads(one["generator.json"])
    assert described["synthetic"] is True
    assert described["config_sha256"] != json.loads(other["generator.json"])["config_sha256"]
    assert sum(described["files"].values()) == 300
    assert len(one) == 2 * 31 + 3


def test_json_lines_are_written_where_asked_for(tmp_path: Path) -> None:
    plain = run(tmp_path / "csv")
    lines = run(tmp_path / "jsonl", "--jsonl")
    assert "henan-found.csv" not in lines
    read = read_jsonl(tmp_path / "jsonl/henan-found.jsonl")
    assert read == read_csv(tmp_path / "csv/henan-found.csv")
    assert lines["truth.csv"] == plain["truth.csv"]


def test_the_replay_stands_in_its_provinces_and_in_the_truth(tmp_path: Path) -> None:
    run(tmp_path / "out", "--replay")
    shaanxi = read_csv(tmp_path / "out/shaanxi-seeking.csv")
    sichuan = read_csv(tmp_path / "out/sichuan-found.csv")
    row = shaanxi["record_id"].index("A61-REPLAY")
    assert (shaanxi["birth_date"][row], shaanxi["lost_date"][row]) == ("1986-02-23", "1988-10-17")
    assert shaanxi["lost_place"][row] == "610100"
    assert sichuan["kind"][-2:] == ["found", "tip"]
    truth = (tmp_path / "out/truth.csv").read_text("utf-8").splitlines()
    assert truth[-1] == "A61-REPLAY,B51-REPLAY"


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--notices", "3"), "at least 100"), (("--photos", "2"), "between 0 and 1")],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, options: tuple[str, str], message: str
) -> None:
    done = CliRunner().invoke(main, ["population", str(tmp_path / "out"), *options])
    assert done.exit_code == 2
    assert message in done.output


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x", "utf-8")
    with pytest.raises(FileExistsError):
        write_population(make_population(SMALL), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_csv_and_json_lines_hold_the_same_notices(tmp_path: Path) -> None:
    notices = take(population().found, list(range(50)))
    write_csv(tmp_path / "a.csv", notices)
    write_jsonl(tmp_path / "a.jsonl", notices)
    assert read_csv(tmp_path / "a.csv") == notices == read_jsonl(tmp_path / "a.jsonl")
    assert size(notices) == 50
    first = json.loads((tmp_path / "a.jsonl").read_text("utf-8").splitlines()[0])
    assert "" not in first.values()


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("record_id,kind\n1,found\n", "utf-8")
    with pytest.raises(ValueError, match="do not fit"):
        read_csv(tmp_path / "a.csv")


def test_the_replays_photographs_are_as_alike_as_such_ages_are_on_average() -> None:
    child, man = replay_photographs(7)
    assert (child["photo_age"], man["photo_age"]) == ("2", "33")
    one, other = read_faces([child["face_embedding"], man["face_embedding"]])
    assert float(one @ other) == pytest.approx(3.4 / np.sqrt(128), abs=0.002)
    assert replay_photographs(8)[0] != child
