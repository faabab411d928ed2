from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from db.database import Database
from db.errors import IllegalMove
from db.moves import move
from db.states import MOVES, DeliveryState, JobState, State, StudyState, may_move
from db.tables import Delivery, Job, JobEvent, Study

TABLES: dict[type[State], Any] = {StudyState: Study, JobState: Job, DeliveryState: Delivery}


@pytest.fixture
def rows(database: Database, routed: Callable[..., int], finish: Callable[..., None]) -> Database:
    """A database with one study, one job and one delivery."""
    finish(routed())
    return database


@pytest.mark.parametrize("states", list(TABLES))
def test_the_table_knows_every_state(states: type[State]) -> None:
    assert set(MOVES[states]) == set(states)
    assert all(target in states for targets in MOVES[states].values() for target in targets)


@pytest.mark.parametrize("states", list(TABLES))
def test_every_state_is_reached_and_none_stays_where_it_is(states: type[State]) -> None:
    first = next(iter(states))
    reached, before = {first}, set[State]()
    while reached != before:
        before = set(reached)
        reached |= {target for state in before for target in MOVES[states][state]}
    assert reached == set(states)
    assert not any(may_move(state, state) for state in states)


@pytest.mark.parametrize("states", list(TABLES))
def test_every_pair_is_either_moved_with_its_event_or_raises_and_changes_nothing(
    rows: Database, states: type[State]
) -> None:
    table = TABLES[states]
    for old, new in itertools.product(states, states):
        with rows.write() as session:
            session.execute(update(table).values(state=old))
        before = _events(rows)
        if may_move(old, new):
            with rows.write() as session:
                move(session, session.scalars(select(table)).one(), new, because="test")
            assert _state(rows, table) is new
            assert _events(rows)[len(before) :] == [f"{old} -> {new}"]
        else:
            with pytest.raises(IllegalMove, match=f"cannot go from {old} to {new}"), rows.write() as session:
                move(session, session.scalars(select(table)).one(), new, because="test")
            assert _state(rows, table) is old
            assert _events(rows) == before


def test_of_two_that_saw_the_same_state_only_one_moves(rows: Database) -> None:
    with rows.read() as session:
        seen = session.scalars(select(Job)).one()
    with rows.write() as session:
        move(session, session.get_one(Job, seen.id), JobState.CANCELLED, because="first")
    before = _events(rows)

    def second() -> None:
        with rows.write() as session:
            session.add(seen)
            move(session, seen, JobState.DONE, because="second")

    with pytest.raises(IllegalMove) as caught:
        second()
    assert caught.value.current == "cancelled"
    assert [event.because for event in caught.value.history][-1] == "first"
    assert _events(rows) == before


def test_an_illegal_move_tells_the_history(database: Database, routed: Callable[..., int]) -> None:
    job_id = routed()
    with pytest.raises(IllegalMove) as caught:
        database.jobs.refuse(job_id, "too few slices")
    assert caught.value.history[0].event == "-> queued"
    assert str(caught.value) == f"job {job_id} cannot go from queued to refused; so far: -> queued (rule liver)."


def _events(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(JobEvent.event).order_by(JobEvent.id)))


def _state(database: Database, table: Any) -> State:
    with database.read() as session:
        state: State = session.scalars(select(table.state)).one()
        return state
