"""The case the project was started for, retold with invented people.

In the true story a boy of two was taken in Xi'an on 17 October 1988 and found in Sichuan 32 years
later. Only that shape is kept: both records below are fictional, names, birth dates, addresses and
marks included.

What the two records share is what such a case can share: the sex, the year of birth (he was
registered anew, months late), the city he was lost in and remembers, when he left it, what he was
called as a small child, a birthmark, the blood group. Name, address, place of registration and
birthday differ; the family's notice has neither telephone nor number for a child of two.
"""

from __future__ import annotations

from typing import Final

from kinlink_local.clerk import Values

CASE_PERSON: Final = "P1988-1017"

FAMILY_NOTICE: Final = Values(
    name="苗知远",
    birth_date="1986-02-19",
    sex="男",
    address="陕西省西安市莲湖区西大街88号5栋204室",
    place="610104",
    origin="6101",
    moved_on="1988-10-17",
    childhood_name="石榴娃",
    mark="左耳后胎记",
    blood_group="B",
)

FOUND_PERSON: Final = Values(
    name="卓明川",
    birth_date="1986年11月23日",
    sex="男",
    address="四川省绵阳市三台县柳家湾3组27号",
    place="510722",
    phone="12700019881",
    national_id="510722198611234116",
    origin="6101",
    moved_on="1988年11月",
    childhood_name="石榴",
    mark="左耳后胎记",
    blood_group="B",
)
