"""Several daemons on one database: each has connections of its own, in threads here and in processes below."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from db.database import Database
from db.errors import IllegalMove
from db.moves import move
from db.records import AlreadyExists, Created, Indexed, IndexedInstance, JobOrder, JobOutcome
from db.states import JobState
from db.tables import Job

Images = Callable[..., list[IndexedInstance]]
Routed = Callable[..., int]
Finish = Callable[..., JobState]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

CLAIM_ALL = """
import sys
from db.database import Database
database = Database(sys.argv[1])
while (job := database.jobs.claim(sys.argv[2])) is not None:
    print(job.id)
"""


def at_once(url: str, work: Callable[[Database, int], Any], number: int = 4) -> list[Any]:
    """Lets several daemons do the same at the same moment; what each returned, or raised."""
    answers: list[Any] = [None] * number
    start = threading.Barrier(number)

    def run(index: int) -> None:
        with closing(Database(url)) as database:
            database.check()
            start.wait()
            try:
                answers[index] = work(database, index)
            except Exception as error:
                answers[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def claim_all(database: Database, index: int) -> list[int]:
    claimed = []
    while (job := database.jobs.claim(f"host{index}:1")) is not None:
        claimed.append(job.id)
    return claimed


def test_each_job_is_claimed_by_one_of_many_threads(url: str, routed: Routed) -> None:
    made = [routed(f"1.{number}", number=1) for number in range(2, 42)]
    claimed = [job_id for claims in at_once(url, claim_all) for job_id in claims]
    assert sorted(claimed) == made


def test_each_job_is_claimed_by_one_of_many_processes(url: str, database: Database, routed: Routed) -> None:
    made = [routed(f"1.{number}", number=1) for number in range(2, 42)]
    command = [sys.executable, "-c", CLAIM_ALL, url]
    running = [subprocess.Popen([*command, f"p{n}:1"], stdout=subprocess.PIPE, text=True) for n in range(3)]
    claimed = [int(line) for process in running for line in process.communicate()[0].split()]
    assert sorted(claimed) == made
    assert {database.jobs.get(job_id).attempts for job_id in made} == {1}


def test_threads_of_one_daemon_share_its_database(database: Database, images: Images) -> None:
    def work(index: int) -> None:
        for first in range(1, 41, 10):
            database.studies.index(images(10, first=first, study=f"1.{index}"))
            database.jobs.find()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.study.images for line in database.jobs.find()] == [40] * 8


def test_the_same_images_indexed_at_once_get_one_row_each(url: str, database: Database, images: Images) -> None:
    batch = [image for study in ("1.2", "1.3", "1.4") for image in images(30, study=study)]

    def work(daemon: Database, index: int) -> list[Indexed]:
        mine = random.Random(index).sample(
            batch, len(batch)
        )  # each in an order of its own: no two may wait in a circle
        return [outcome.kind for part in (mine[:45], mine[45:]) for outcome in daemon.studies.index(part)]

    kinds = Counter(kind for answer in at_once(url, work) for kind in answer)
    assert kinds == {Indexed.NEW: 90, Indexed.DUPLICATE: 270}
    assert [line.study.images for line in database.jobs.find()] == [30] * 3
    assert [len(database.studies.show(uid).events) for uid in ("1.2", "1.3", "1.4")] == [1, 1, 1]


def test_other_contents_of_one_image_at_once_are_conflicts_with_one_of_them(
    url: str, database: Database, images: Images
) -> None:
    def work(daemon: Database, index: int) -> Indexed:
        return daemon.studies.index(images(1, digest=f"d{index}"))[0].kind

    assert Counter(at_once(url, work)) == {Indexed.NEW: 1, Indexed.CONFLICT: 3}
    assert len(database.studies.conflicts()) == 3


def test_the_same_job_ordered_at_once_is_made_once(
    url: str, database: Database, images: Images, order: Callable[..., JobOrder]
) -> None:
    database.studies.index(images(5))
    answers = at_once(url, lambda daemon, _: daemon.jobs.create("1.2", order()))
    assert Counter(type(answer) for answer in answers) == {Created: 1, AlreadyExists: 3}


def test_whoever_settles_the_last_delivery_ends_the_job(
    url: str, database: Database, routed: Routed, finish: Finish
) -> None:
    job_id = routed()
    finish(job_id, results=4)
    ids = [item.id for batch in database.deliveries.due(NOON) for item in batch.items]
    database.deliveries.start(ids)
    answers = at_once(url, lambda daemon, index: daemon.deliveries.accept(ids[index], 0))
    assert Counter(answers) == {JobState.DELIVERING: 3, JobState.DONE: 1}
    assert database.jobs.get(job_id).state is JobState.DONE


def test_a_delivery_is_started_by_one(url: str, database: Database, routed: Routed, finish: Finish) -> None:
    finish(routed(), results=20)
    ids = [item.id for batch in database.deliveries.due(NOON) for item in batch.items]
    started = [number for answer in at_once(url, lambda daemon, _: daemon.deliveries.start(ids)) for number in answer]
    assert sorted(started) == ids


def test_cancelling_and_sending_at_once_end_in_one_or_the_other(
    url: str, database: Database, routed: Routed, finish: Finish
) -> None:
    for number in range(2, 12):
        job_id = routed(f"1.{number}")
        finish(job_id, results=3)
        ids = [item.id for batch in database.deliveries.due(NOON) for item in batch.items]

        def work(daemon: Database, index: int, job_id: int = job_id, ids: list[int] = ids) -> Any:
            return daemon.deliveries.start(ids) if index else daemon.jobs.cancel(job_id, "by operator")

        cancelled, started = at_once(url, work, number=2)
        assert cancelled is JobState.CANCELLED
        states = [row.state.value for row in database.jobs.show(job_id).deliveries]
        assert states == (["sending"] * 3 if started else ["cancelled"] * 3)


def test_cancelling_and_finishing_at_once_end_in_one_or_the_other(url: str, database: Database, routed: Routed) -> None:
    for number in range(2, 12):
        job_id = routed(f"1.{number}", send_to=())
        database.jobs.claim("host:1")

        def work(daemon: Database, index: int, job_id: int = job_id) -> Any:
            return daemon.jobs.finish(job_id, JobOutcome()) if index else daemon.jobs.cancel(job_id, "by operator")

        answers = at_once(url, work, number=2)
        lost = [answer for answer in answers if isinstance(answer, IllegalMove)]
        assert len(lost) == 1
        assert lost[0].current == database.jobs.get(job_id).state


@pytest.mark.parametrize("statement", ["after the state", "after the event"])
def test_a_daemon_that_is_killed_between_two_statements_leaves_neither(
    url: str, database: Database, routed: Routed, statement: str
) -> None:
    job_id = routed()
    before = len(database.jobs.show(job_id).events)
    script = f"""
import os, signal, sys
from sqlalchemy import text
from db.moves import move
from db.states import JobState
from db.database import Database
from db.tables import Job
with Database(sys.argv[1]).write() as session:
    move(session, session.get_one(Job, {job_id}), JobState.RUNNING, because="to be killed")
    if {statement == "after the event"}:
        session.flush()
    assert session.scalar(text("SELECT state FROM job WHERE id = {job_id}")) == "running"
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script, url], check=False)
    assert killed.returncode == -9
    detail = database.jobs.show(job_id)
    assert (detail.job.state, len(detail.events)) == (JobState.QUEUED, before)
    assert database.jobs.claim("host:1") is not None


def test_an_error_after_a_move_takes_the_move_and_its_event_back(database: Database, routed: Routed) -> None:
    job_id = routed()
    before = database.jobs.show(job_id).events

    def broken() -> None:
        with database.write() as session:
            move(session, session.get_one(Job, job_id), JobState.RUNNING, because="claimed")
            session.flush()
            raise RuntimeError("after the move")

    with pytest.raises(RuntimeError):
        broken()
    assert database.jobs.get(job_id).state is JobState.QUEUED
    assert database.jobs.show(job_id).events == before
