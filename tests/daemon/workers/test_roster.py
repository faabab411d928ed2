"""Who gets jobs and who is due to be replaced, over time that the test makes."""

from __future__ import annotations

from daemon.workers.roster import Roster, WorkerState

A, B = "tls://a", "tls://b"
OPENING_A, OPENING_B = (A, "opening"), (B, "opening")
READY_A, READY_B = (A, "ready"), (B, "ready")


def ready(roster: Roster) -> list[str]:
    return [one.address for one in roster.ready]


def overdue(roster: Roster, limit: float, now: float) -> list[str]:
    return [one.address for one in roster.overdue(limit, now)]


def test_only_those_that_said_so_are_ready() -> None:
    roster = Roster()
    roster.update({A: 1, B: 1}, [], 0)
    assert ready(roster) == []
    roster.update({A: 1, B: 1}, [OPENING_A, OPENING_B, READY_A], 5)
    assert ready(roster) == [A]


def test_the_last_word_counts() -> None:
    """Another process may come to listen at the same address."""
    roster = Roster()
    roster.update({A: 1}, [OPENING_A, READY_A, OPENING_A], 0)
    assert ready(roster) == []


def test_who_is_gone_is_forgotten_with_what_it_said() -> None:
    roster = Roster()
    roster.update({A: 1}, [READY_A], 0)
    roster.update({}, [READY_A], 1)
    assert A not in roster
    assert list(roster) == []


def test_who_opens_for_too_long_is_overdue_and_nobody_else() -> None:
    roster = Roster()
    roster.update({A: 1}, [OPENING_A], 100)
    roster.update({A: 1, B: 1}, [OPENING_A, OPENING_B], 105)
    assert overdue(roster, 10, 110) == []
    assert overdue(roster, 10, 111) == [A]
    roster.update({A: 1, B: 1}, [OPENING_A, OPENING_B, READY_A], 112)
    assert overdue(roster, 10, 200) == [B]


def test_who_is_being_replaced_gets_no_jobs_and_is_not_overdue_again() -> None:
    roster = Roster()
    roster.update({A: 1, B: 1}, [READY_A, OPENING_B], 0)
    roster.mark_leaving(A, 5)
    roster.mark_leaving(B, 5)
    roster.update({A: 1, B: 1}, [READY_A, OPENING_B, READY_B], 6)
    assert ready(roster) == []
    assert overdue(roster, 10, 1000) == []
    assert {one.state for one in roster} == {WorkerState.LEAVING}


def test_who_could_not_be_replaced_is_taken_at_its_word_again() -> None:
    roster = Roster()
    said = [READY_A, OPENING_B]
    roster.update({A: 1, B: 1}, said, 0)
    for address in (A, B):
        roster.mark_leaving(address, 5)
        roster.mark_opening(address, 7)
    roster.update({A: 1, B: 1}, said, 8)
    assert ready(roster) == [A]
    assert overdue(roster, 10, 17) == []
    assert overdue(roster, 10, 18) == [B]


def test_since_when_is_the_moment_of_the_change() -> None:
    roster = Roster()
    roster.update({A: 1}, [OPENING_A], 0)
    (worker,) = roster
    seen = worker.seen
    roster.update({A: 2}, [OPENING_A], 3)
    assert (worker.since, worker.seen, worker.threads) == (0, seen, 2)
    roster.update({A: 2}, [READY_A], 4)
    assert worker.since == 4
    assert worker.seen >= seen


def test_strangers_neither_leave_nor_stay() -> None:
    roster = Roster()
    roster.mark_leaving(A, 0)
    roster.mark_opening(A, 0)
    assert list(roster) == []
