from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.config import Config
from daemon.jobs.disk_space import DiskSpaceWait
from daemon.jobs.dispatch import Dispatcher
from daemon.workers.task import DiskFull, Failed, Finished, TaskResult, run_task
from db.database import Database
from db.errors import DatabaseUnavailable
from db.records import IndexedInstance, JobOrder
from db.states import Origin
from engines.contract import EngineSettings
from pipelines.job import JobDescription, Outcome, ResultFile
from pipelines.registry import model_digest, packages_for, pipeline_named
from tests.daemon.support.job_examples import JOB

NOW = datetime(2026, 1, 5, tzinfo=UTC)
AWAY = DatabaseUnavailable(url="postgresql://", reason="away")


class Bench:
    """Workers that do nothing by themselves."""

    def __init__(self) -> None:
        self.given: dict[str, JobDescription] = {}
        self.answers: list[TaskResult] = []
        self.fault: Exception | None = None

    @property
    def free(self) -> int:
        return 1 - len(self.given)

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(self.given)

    def submit(self, job: JobDescription) -> None:
        if self.fault is not None:
            raise self.fault
        self.given[job.job_id] = job

    def collect_results(self) -> Iterator[TaskResult]:
        while self.answers:
            answer = self.answers.pop()
            del self.given[answer.job_id]
            yield answer

    def cancel(self, job_id: str) -> None:
        del self.given[job_id]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    store = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
    store.upgrade()
    yield store
    store.close()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def dispatch(tmp_path: Path, database: Database, bench: Bench) -> Dispatcher:
    return Dispatcher(database, bench, Config(data_dir=tmp_path), EngineSettings())  # type: ignore[arg-type]


def order(database: Database, *, digest: str | None = None, **tags: str) -> int:
    """A routed study of one image with these tags, and its job."""
    pipeline = pipeline_named("abdomen-ct")
    names = {field.name for field in dataclasses.fields(IndexedInstance)}
    given: dict[str, Any] = dict.fromkeys(names, "") | {
        "sop_instance_uid": "1.2.3",
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.2.1",
        "frames": 1,
        "has_pixels": True,
        "rows": 1,
        "columns": 1,
        "tags": tags,
        "instance_tags": {},
        "path": Path("/nowhere/1.dcm"),
        "size": 1,
        "received_at": NOW,
        "association_id": None,
        "origin": Origin.WATCHER,
    }
    database.studies.index([IndexedInstance(**given)])
    database.studies.complete("1.2", "test")
    made = database.jobs.create(
        "1.2",
        JobOrder(
            rule="liver",
            pipeline="abdomen-ct",
            roles={"ct": "1.2.1"},
            model_digest=digest or model_digest(pipeline, packages_for(pipeline, ())),
            send_to=(),
        ),
    )
    database.studies.set_routed("1.2", "liver")
    return made.job_id


def state(database: Database, job_id: int) -> str:
    return str(database.jobs.get(job_id).state)


def test_an_answer_that_cannot_be_written_down_is_written_down_later(
    dispatch: Dispatcher, database: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = order(database)
    dispatch.step()
    bench.answers = [Finished(str(job_id), Outcome(str(job_id), summary="no lesion found"))]

    def away(*_: object) -> None:
        raise AWAY

    with monkeypatch.context() as patch:
        patch.setattr(database.jobs, "finish", away)
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                dispatch.step()
    assert state(database, job_id) == "running"
    dispatch.step()
    assert state(database, job_id) == "done"


def test_the_answer_of_the_study_is_a_row_of_its_own(dispatch: Dispatcher, database: Database, bench: Bench) -> None:
    job_id = order(database)
    dispatch.step()
    outcome = Outcome(str(job_id), answer="unclear: look", headline="x", summary="Brain tumour: unclear: look")
    bench.answers = [Finished(str(job_id), outcome)]
    dispatch.step()
    detail = database.jobs.show(job_id)
    assert [(m.subject, m.quantity, m.text) for m in detail.measurements] == [("", "Answer", "unclear: look")]
    assert detail.job.summary == "Brain tumour: unclear: look"


def test_what_served_and_how_long_it_took_is_written_down(
    dispatch: Dispatcher, database: Database, bench: Bench
) -> None:
    """Engine, precision, device, plan and gate figures, in the words of the engine (tests/engines/test_gate.py)."""
    job_id = order(database)
    dispatch.step()
    served = "tensorrt 11.4 fp16 on H200 (compute capability 9.0, CUDA 13.0), plan tiny.plan, gate: Dice 0.9990"
    outcome = Outcome(
        str(job_id),
        models={"segmenter": "abdomen-liver-unet 0.1.0"},
        engines={"segmenter": served},
        seconds={"infer": 1.5},
    )
    bench.answers = [Finished(str(job_id), outcome)]
    dispatch.step()
    row = database.jobs.get(job_id)
    assert dict(row.models or {}) == {"segmenter": "abdomen-liver-unet 0.1.0"}
    assert dict(row.engines or {}) == {"segmenter": served}
    assert dict(row.timings or {}) == {"infer": 1.5}


def test_results_that_are_gone_fail_their_job(dispatch: Dispatcher, database: Database, bench: Bench) -> None:
    job_id = order(database)
    dispatch.step()
    gone = ResultFile("report", "/nowhere/sr.dcm", "1.2", "1.2.3", "1.2.4")
    bench.answers = [Finished(str(job_id), Outcome(str(job_id), results=(gone,)))]
    dispatch.step()
    assert state(database, job_id) == "failed"
    assert "cannot be used" in (database.jobs.get(job_id).reason or "")
    assert database.jobs.get(job_id).reason_code == "results-unusable"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Finished("1", Outcome("1", refused="7 to 9", refused_as="MissingSlices")), ("refused", "missing-slices")),
        (Finished("1", Outcome("1", refused="by a worker of an older version")), ("refused", "refused")),
        (Failed("1", "ModelsDiffer: other ones", kind="ModelsDiffer"), ("failed", "models-differ")),
    ],
)
def test_why_a_job_ended_has_a_code_beside_the_words(
    dispatch: Dispatcher, database: Database, bench: Bench, answer: Finished | Failed, told: tuple[str, str]
) -> None:
    job_id = order(database)
    dispatch.step()
    bench.answers = [dataclasses.replace(answer, job_id=str(job_id))]
    dispatch.step()
    job = database.jobs.get(job_id)
    assert (job.state, job.reason_code) == told


def test_a_job_that_was_claimed_is_submitted_once_the_workers_are_back(
    dispatch: Dispatcher, database: Database, bench: Bench
) -> None:
    job_id = order(database)
    bench.fault = OSError("no scheduler")
    with pytest.raises(OSError, match="no scheduler"):
        dispatch.step()
    assert state(database, job_id) == "running"
    bench.fault = None
    dispatch.step()
    assert bench.running == (str(job_id),)


def test_a_job_that_was_claimed_goes_back_to_the_queue_at_the_end(
    dispatch: Dispatcher, database: Database, bench: Bench
) -> None:
    job_id = order(database)
    bench.fault = OSError("no scheduler")
    with pytest.raises(OSError, match="no scheduler"):
        dispatch.step()
    dispatch.stop()
    assert state(database, job_id) == "queued"


def test_a_job_for_models_that_were_replaced_leads_its_study_back_to_the_rules(
    dispatch: Dispatcher, database: Database, bench: Bench
) -> None:
    job_id = order(database, digest="0" * 64)
    dispatch.step()
    assert bench.running == ()
    assert state(database, job_id) == "cancelled"
    assert database.studies.to_route() == ["1.2"]


def test_a_phase_that_the_network_does_not_know_goes_with_the_job(
    database: Database, dispatch: Dispatcher, bench: Bench
) -> None:
    order(database, Modality="CT", SeriesDescription="Abdomen arteriell")
    dispatch.step()
    (given,) = bench.given.values()
    (note,) = given.notes
    assert "is of the arterial phase" in note


def test_a_job_that_found_no_room_waits_for_room_and_no_try_is_counted(
    dispatch: Dispatcher, database: Database, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = order(database)
    seconds, free = [1000.0], [0]
    monkeypatch.setattr(dispatch, "_disk", DiskSpaceWait(Path("/"), lambda: seconds[0]))
    monkeypatch.setattr("daemon.jobs.disk_space.shutil.disk_usage", lambda _: SimpleNamespace(free=free[0]))
    for tries, pause in enumerate((5, 10, 20)):
        dispatch.step()
        assert bench.running == (str(job_id),)
        bench.answers = [DiskFull(str(job_id), "no space on the disk (OSError)")]
        dispatch.step()
        job = database.jobs.get(job_id)
        assert (job.state, job.attempts, job.deaths) == ("queued", 0, 0), tries
        assert job.reason == "waits for disk space: no space on the disk (OSError)"
        assert "disk is full" in dispatch.notice()
        free[0] = 1 << 30
        seconds[0] += pause - 1
        dispatch.step()
        assert bench.running == ()
        free[0] = 0
        seconds[0] += 2
        dispatch.step()
        assert bench.running == ()  # the pause is over, and there is still no room
        free[0] = 1 << 30
    dispatch.step()
    bench.answers = [Finished(str(job_id), Outcome(str(job_id)))]
    dispatch.step()
    assert state(database, job_id) == "done"
    assert dispatch.notice() == ""


def test_a_full_disk_is_known_whatever_the_error_was_turned_into(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def perform(_: JobDescription) -> Outcome:
        try:
            with Path("/dev/full").open("wb", buffering=0) as full:
                full.write(b"x")
        except OSError as error:
            raise RuntimeError("the report cannot be written") from error
        raise AssertionError("/dev/full took it")

    monkeypatch.setattr("daemon.workers.task.perform", perform)
    assert run_task(JOB) == DiskFull("7", "no space on the disk (RuntimeError)")


def test_other_faults_of_the_disk_are_the_jobs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def perform(_: JobDescription) -> Outcome:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("daemon.workers.task.perform", perform)
    with pytest.raises(OSError, match="Input/output error"):
        run_task(JOB)
