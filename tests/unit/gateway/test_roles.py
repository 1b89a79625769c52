from __future__ import annotations

import pytest
from kinlink_gateway.roles import POLICY, Action, Principal, Role

READING = {"identity.read", "registries.read", "linkages.read", "sign-in", "sign-out"}
LINKS = {"links.read", "links.export", "link.read", "cases.read", "case.read"}


@pytest.mark.parametrize(
    ("role", "granted"),
    [
        (Role.ANALYST, READING | LINKS | {"link.decide"}),
        (Role.OPERATOR, READING | {"linkage.start", "linkage.cancel", "audit.read"}),
        (Role.PROVINCE, READING | LINKS),
    ],
)
def test_a_role_has_exactly_what_the_table_grants(role: Role, granted: set[str]) -> None:
    assert {action.value for action in POLICY[role]} == granted


def test_what_no_row_grants_nobody_may() -> None:
    everyone = [Principal("t", "n", role) for role in Role]
    own = {Action.DECISION_FORGET, Action.TOKEN_CREATE, Action.TOKEN_REVOKE}
    assert not any(person.may(action) for person in everyone for action in own)
