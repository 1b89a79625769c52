from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kinlink_gateway.limits import SESSION_IDLE_SECONDS_MAX, SESSION_SECONDS_MAX
from kinlink_gateway.sessions import form_token, form_token_fits
from kinlink_gateway.store import session_table
from sqlalchemy import select
from unit.gateway.office import Office, open_office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kinlink_gateway.sessions import Session


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = open_office(tmp_path)
    yield office
    office.close()


def opened(office: Office) -> Session:
    person = office.gateway.tokens.find(office.tokens["Li Wei"])
    assert person is not None
    return office.gateway.sessions.open(person)


def test_a_session_is_found_by_its_cookie_alone(office: Office) -> None:
    session = opened(office)
    found = office.gateway.sessions.find(session.secret)
    assert found is not None
    assert found.principal.name == "Li Wei"
    assert office.gateway.sessions.find(session.secret + "x") is None


def test_the_database_holds_no_cookie(office: Office) -> None:
    session = opened(office)
    with office.gateway.store.read() as connection:
        rows = connection.execute(select(session_table)).all()
    assert session.secret not in repr(rows)
    assert session.secret not in repr(session)


def test_a_session_ends_when_it_is_idle(office: Office) -> None:
    session = opened(office)
    office.clock.pass_seconds(SESSION_IDLE_SECONDS_MAX - 1)
    assert office.gateway.sessions.find(session.secret)
    office.clock.pass_seconds(SESSION_IDLE_SECONDS_MAX - 1)
    assert office.gateway.sessions.find(session.secret)
    office.clock.pass_seconds(SESSION_IDLE_SECONDS_MAX)
    assert office.gateway.sessions.find(session.secret) is None


def test_a_session_ends_after_a_working_day_however_busy(office: Office) -> None:
    session = opened(office)
    for _ in range(SESSION_SECONDS_MAX // 1000):
        office.clock.pass_seconds(1000)
        assert office.gateway.sessions.find(session.secret)
    office.clock.pass_seconds(1000)
    assert office.gateway.sessions.find(session.secret) is None


def test_a_session_ends_with_its_token(office: Office) -> None:
    session = opened(office)
    office.gateway.tokens.revoke("Li Wei")
    assert office.gateway.sessions.find(session.secret) is None


def test_a_closed_session_is_gone(office: Office) -> None:
    session = opened(office)
    office.gateway.sessions.close(session.secret)
    assert office.gateway.sessions.find(session.secret) is None


def test_ended_sessions_are_swept_out_when_one_opens(office: Office) -> None:
    opened(office)
    office.clock.pass_seconds(SESSION_IDLE_SECONDS_MAX)
    opened(office)
    with office.gateway.store.read() as connection:
        assert len(connection.execute(select(session_table)).all()) == 1


def test_the_form_token_belongs_to_one_cookie() -> None:
    assert form_token_fits("a", form_token("a"))
    assert not form_token_fits("a", form_token("b"))
    assert not form_token_fits("a", "")
    assert "a" * 43 not in form_token("a" * 43)
