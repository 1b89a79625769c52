"""Every number that the synthetic notices assume, each with its mark.

[P] published; [D] computed from a published figure; [A] assumed, to be replaced by estimates from
confirmed pairs. What is marked [A] makes the population a yardstick, not a claim about reality.
Probabilities are of one notice unless a comment says otherwise; days and years are solar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Who is lost: 55,801 notices of a volunteer platform, to the end of 2022 [P]; `other` is the rest
# [D].
CATEGORY_COUNTS: Final = {
    "given_up": 25_108,
    "lost": 10_734,
    "abducted": 7_292,
    "abandoned": 4_767,
    "runaway": 1_702,
    "other": 6_198,
}
CATEGORIES: Final = tuple(CATEGORY_COUNTS)
GIRLS, BOYS = 30_389, 25_412  # [P]
# Age at loss in whole years: first, last, notices [P].
AGE_COUNTS: Final = ((0, 4, 39_953), (5, 9, 8_370), (10, 14, 4_360), (15, 19, 2_677))
AGES: Final = 20
# How ages lean by category before they are fitted to the margins [A]: years 0 to 4, then a factor
# for each of the bands above.
YOUNG: Final = ((0.80, 0.08, 0.05, 0.04, 0.03), (0.3, 0.1, 0.05))
CHILD: Final = ((0.12, 0.18, 0.24, 0.26, 0.20), (1.0, 0.5, 0.3))
GROWN: Final = ((0.02, 0.02, 0.03, 0.05, 0.08), (2.0, 5.0, 5.0))
AGE_LEAN: Final = {
    "given_up": YOUNG,
    "lost": CHILD,
    "abducted": CHILD,
    "abandoned": YOUNG,
    "runaway": GROWN,
    "other": CHILD,
}
GIRL_LEAN: Final = {  # before fitting [A]
    "given_up": 0.68,
    "lost": 0.45,
    "abducted": 0.35,
    "abandoned": 0.60,
    "runaway": 0.50,
    "other": 0.50,
}

# When: an inverted V, high from 1981 to 2000, its peak about 1991 [P]; the corners' heights [A].
YEAR_CORNERS: Final = (
    (1950, 0.02), (1960, 0.15), (1974, 0.30), (1981, 0.75), (1991, 1.0), (2000, 0.55), (2011, 0.03),
)  # fmt: skip
SUMMER_MONTHS: Final = (6, 7, 8)  # [P]
SUMMER_FACTOR: Final = 1.35  # [A]
WEEKEND_FACTOR: Final = 1.10  # [P] in kind, [A] in size
FIRST_OF_MONTH_FACTOR: Final = 1.6  # [P] in kind, [A] in size
REUNION_DELAY_YEARS: Final = 21.8  # mean from loss to reunion [P]

# Where: population of provinces, census of 2010 (data/provinces.csv) [P]; the south-west loses more
# and the net-in provinces receive more [P] in kind; all sizes [A].
LOSING_PROVINCES: Final = ("51", "52", "53")
LOSING_FACTOR: Final = 2.0
NET_IN_PROVINCES: Final = ("41", "13", "37", "12", "11", "50", "35", "44")
NET_IN_FACTOR: Final = 2.0
STAY_SHARE: Final = {"F": 0.40, "M": 0.50}  # boys stay in the province more often [P]; sizes [A]
GRAVITY_KM: Final = 600.0  # between provinces, weight falls as exp(-distance / this) [A]
NEIGHBOUR_KM: Final = 130.0  # prefectures whose centres are nearer are neighbours [A]

# The two sides.
PARTNER_SHARE: Final = 0.30  # of the notices of either side that have a partner on the other [A]
FOUND_AS: Final = {"self_seeking": 0.70, "rescued_minor": 0.10, "adoptee": 0.20}  # [A]
SIBLING_SHARE: Final = 0.02  # found notices that are of a brother or sister of a missing child [A]
TWIN_SHARE: Final = 0.15  # of those siblings, a third of them identical [A]
SIBLING_AT_HOME_SHARE: Final = 0.5  # of those siblings, registered where the family lives [A]
NEIGHBOUR_SHARE: Final = (
    0.05  # found notices of same sex, county, birth and loss within 15 days [A]
)
NEIGHBOUR_DAYS: Final = 15

# How the family writes a date.
LUNAR_SHARE: Final = 0.35  # gives the lunar calendar's numbers [A]
CALENDAR_STATED_SHARE: Final = 0.60  # says which calendar [A]
FAMILY_BIRTH_MONTH_SHARE: Final = 0.15  # gives only month and year, solar [A]
FAMILY_LOSS_MONTH_SHARE: Final = 0.30  # [A]

# How far the date on the found side is from the true one: (first day, last day, share), stated
# minus true, uniform inside. The bins are published [P], their outer ends and the split of -30..30
# into exact, lunar numbers read as solar, and the rest are [A].
LUNAR_READ_AS_SOLAR: Final = 0.12
TABLE_KERNEL: Final = (
    (0, 0, 0.35), (-30, 30, 0.197), (31, 120, 0.122), (121, 240, 0.067), (241, 360, 0.044),
    (361, 900, 0.045), (-120, -31, 0.044), (-480, -121, 0.011),
)  # fmt: skip
# Where age is estimated by looking, or an infant was declared later [A].
ESTIMATED_KERNEL: Final = (
    (-182, 182, 0.40), (-365, -183, 0.175), (183, 365, 0.175), (-730, -366, 0.10), (366, 730, 0.10),
    (-1095, -731, 0.025), (731, 1095, 0.025),
)  # fmt: skip
HARD_SD_DAYS: Final = 365  # in the hard regime every date is that wrong: normal, cut at four sd [A]
# First trace of the found person minus the day of loss [A].
TRACE_KERNEL: Final = (
    (0, 90, 0.40), (91, 730, 0.25), (731, 4_380, 0.25), (-60, -1, 0.06), (-730, -61, 0.04),
)  # fmt: skip
# How the found side writes its dates: share of day, month and year [A].
FOUND_BIRTH_PRECISION: Final = (0.80, 0.10, 0.10)
FOUND_TRACE_PRECISION: Final = (0.30, 0.30, 0.40)
FOUND_TRACE_SHARE: Final = 0.50  # has one at all [A]
FOUND_CALENDAR_UNKNOWN_SHARE: Final = 0.30  # of dates to the day [A]
SEX_ERROR: Final = 0.005  # [A]
CATEGORY_BELIEVED_SHARE: Final = 0.60  # the found side says how it came to be separated [A]
CATEGORY_RIGHT: Final = 0.70  # [A]

# What the found side recalls of the place of loss, given that it recalls one [A].
PLACE_COUNTY: Final = 0.25
PLACE_PREFECTURE: Final = 0.20
PLACE_NEIGHBOUR: Final = 0.10
PLACE_PROVINCE: Final = 0.30
PLACE_WRONG: Final = 0.05  # each: any county, any prefecture, any province

# Names that the found side recalls, given that it recalls one [A]. Only the sound is recalled.
NICKNAME_EXACT: Final = 0.45
NICKNAME_STEM: Final = 0.25  # the stem, in any of the customary forms
NAME_RIGHT: Final = 0.65  # of a family name, of a parent's or sibling's given name
FAMILY_NICKNAME_SHARE: Final = 0.80  # the family gives one
FAMILY_NAMES_SHARE: Final = 0.90  # the family gives a parent's name; each parent
TRADITIONAL_SHARE: Final = 0.03  # writes traditional characters
PINYIN_SHARE: Final = 0.05  # writes pinyin instead of characters
NICKNAME_FORMS: Final = {  # `*` is the stem [A]
    "**": 0.34, "小*": 0.22, "*娃": 0.12, "*儿": 0.10, "阿*": 0.08, "大*": 0.05, "*子": 0.09,
}  # fmt: skip

SIBLING_COUNTS: Final = (0.12, 0.28, 0.27, 0.17, 0.09, 0.05, 0.02)  # of the child [A]
SIBLINGS_EQUAL: Final = 0.55  # recalled number, given that one is recalled [A]
SIBLINGS_NEAR: Final = 0.25  # one more or less
FAMILY_SIBLING_NAMES_MAX: Final = 3

# Marks and memories are sets: each term is there or not.
MARKS_MEAN: Final = 0.9  # marks of a child [A]
MARK_SHOWN: Final = 0.75  # the family tells a mark that the child has [A]
MARK_KEPT: Final = 0.40  # the found side has a mark of the child's recorded, the same way [A]
MARKS_NEW: Final = 0.5  # further marks on the found side [A]
MARKS_SHARE: Final = (0.50, 0.50)  # a side has the field at all: family, found [A]
MEMORIES_MEAN: Final = 18.0  # things that are so at a child's home [A]
MEMORY_SHOWN: Final = 0.50  # the family tells one of them [A]
MEMORIES_NEW: Final = 1.5  # things the found side recalls from elsewhere [A]
MEMORY_SHARE: Final = 0.70  # the family tells of its home at all [A]

# Height: z score for age; only where it was measured near the loss [A].
HEIGHT_CORRELATION: Final = 0.8
HEIGHT_SD_CM: Final = 4.5
HEIGHT_SHARE: Final = 0.5  # the family gives one
HEIGHT_FOR_AGE: Final = (
    (0, 58.0),
    (1, 76.0),
    (5, 108.0),
    (10, 138.0),
    (16, 165.0),
)  # years, cm [A]

# When a notice is entered [A]; neither date is evidence.
FAMILY_ENTRY_FIRST: Final = 2007
FAMILY_ENTRY_YEARS: Final = 15.0
ENTRY_LAST: Final = "2026-06-30"
FOUND_WAIT_SHAPE: Final = (
    4.0  # of the gamma law from first trace to notice; its mean gives the delay
)
ADULT_PHOTO_AGES: Final = (18, 45)

# Blood. Allele shares that give the groups of a Han population (O 34, A 28, B 29, AB 9 %) [D].
ABO_ALLELES: Final = {"A": 0.206, "B": 0.211, "O": 0.583}
BLOOD_ERROR: Final = 0.02  # a group that is written down is any group [A]
BLOOD_SHARE: Final = {"child": 0.25, "mother": 0.40, "father": 0.40, "found": 0.80}  # known [A]

# Faces: mean distance, in standard deviations of strangers' cosines, between two photographs of one
# person, by years between them. The last is a rank-1 rate of 60 % among 700 faces over more than
# ten years (CosFace) [D]; the others [A]. Photographs of the first year carry less (30.7 % true
# accepts at 0.1 % false ones) [D].
FACE_DIMENSION: Final = 128
FACE_GAP_YEARS: Final = (3, 10)
FACE_SEPARATION: Final = (4.4, 3.9, 3.4)
FACE_SEPARATION_INFANT: Final = 2.6
FACE_SIBLING: Final = 1.2  # between siblings [A]; identical twins as one person
FACE_MODEL: Final = "synthetic-128"
PHOTO_SHARE: Final = 0.60  # of family notices, by default; a found person can be photographed
EARLY_PHOTO_SHARE: Final = 0.30  # of found notices, taken at the first trace; else as an adult [A]


@dataclass(frozen=True)
class Regime:
    """What differs between the regimes: dates, and what is recalled by age at loss.

    Each tuple has a share for age 0, 1 and 2, 3 to 5, and 6 years or more; all [A].
    """

    dates_from_table: bool
    place: tuple[float, ...]
    nickname: tuple[float, ...]
    surname: tuple[float, ...]
    parent: tuple[float, ...]
    sibling: tuple[float, ...]
    siblings: tuple[float, ...]
    memory: tuple[float, ...]  # the found side has the field
    memory_kept: tuple[float, ...]  # recalls one thing of its home, given the field


AGE_BANDS: Final = (0, 1, 3, 6)  # first year of each
REGIMES: Final = {
    "informative": Regime(
        dates_from_table=True,
        place=(0.15, 0.20, 0.40, 0.70),
        nickname=(0.05, 0.10, 0.30, 0.60),
        surname=(0.10, 0.12, 0.30, 0.60),
        parent=(0.02, 0.04, 0.15, 0.40),
        sibling=(0.02, 0.04, 0.15, 0.40),
        siblings=(0.10, 0.15, 0.40, 0.70),
        memory=(0.10, 0.15, 0.40, 0.70),
        memory_kept=(0.03, 0.05, 0.10, 0.15),
    ),
    "hard": Regime(
        dates_from_table=False,
        place=(0.05, 0.07, 0.10, 0.20),
        nickname=(0.01, 0.03, 0.06, 0.12),
        surname=(0.02, 0.04, 0.06, 0.12),
        parent=(0.01, 0.02, 0.03, 0.06),
        sibling=(0.01, 0.02, 0.03, 0.06),
        siblings=(0.03, 0.05, 0.10, 0.20),
        memory=(0.03, 0.05, 0.10, 0.20),
        memory_kept=(0.02, 0.03, 0.05, 0.08),
    ),
}
