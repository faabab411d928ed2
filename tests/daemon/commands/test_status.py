"""`scanward status`, from the file that a daemon leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import Result

from daemon.workers.roster import WorkerState
from daemon.workers.status import (
    REFRESH,
    DaemonStatus,
    PartState,
    PartStatus,
    Replaced,
    StatusFile,
    WorkerStatus,
    listener_status,
    read_status,
)
from db.database import Database
from dicomio.network.listener.supervisor import ListenerState, ProcessState


def written_status(*workers: WorkerStatus, replaced: tuple[Replaced, ...] = ()) -> DaemonStatus:
    return DaemonStatus(wanted=3, workers=workers, replaced=replaced)


@pytest.fixture
def two() -> DaemonStatus:
    """Of this moment: what a file says is told as so long ago."""
    now = datetime.now(UTC)
    return written_status(
        WorkerStatus(address="tls://a", state=WorkerState.READY, since=now - timedelta(minutes=61), job="17"),
        WorkerStatus(address="tls://b", state=WorkerState.OPENING, since=now - timedelta(seconds=75)),
        replaced=(Replaced(when=now, worker="tls://c", reason="its engines were not open after 1800 s"),),
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "scanward.yaml"
    path.write_text("data_dir: data\n")
    (tmp_path / "data").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'data' / 'scanward.sqlite'}")
    database.upgrade()
    database.close()
    return path


@pytest.fixture
def file(config: Path) -> Path:
    return config.parent / "data" / "status.json"


Status = Callable[..., tuple[int, str]]


@pytest.fixture
def status(config: Path, scanward: Callable[..., Result]) -> Status:
    """Exit code and words."""

    def ask(*options: str) -> tuple[int, str]:
        run = scanward("status", "-c", config, *options)
        return run.exit_code, run.stdout

    return ask


def test_no_daemon_is_said_and_is_no_success(status: Status) -> None:
    code, said = status()
    assert code == 1
    assert "is not running" in said
    assert "0 queued, 0 running" in said


def test_workers_their_states_and_who_was_replaced_why(status: Status, file: Path, two: DaemonStatus) -> None:
    StatusFile(file, lambda: two).step()
    code, said = status()
    assert code == 0, said
    lines = [line.split() for line in said.splitlines()]
    assert ["tls://a", "ready", "1", "h", "1", "min", "17"] in lines
    assert any(line[:4] == ["tls://b", "opening", "1", "min"] for line in lines)
    assert ["starting"] in [line[:1] for line in lines]  # of three that are wanted
    assert "tls://c was replaced: its engines were not open after 1800 s" in " ".join(said.split())


def test_the_listener_and_what_it_lacks(status: Status, file: Path, two: DaemonStatus) -> None:
    processes = (
        ProcessState(pid=4711, ready=True, connections=3, trouble=""),
        ProcessState(pid=4712, ready=True, connections=0, trouble="Too many open files"),
        ProcessState(pid=None, ready=False, connections=0, trouble="Cannot allocate memory"),
    )
    for watched in (True, False):
        stands = listener_status(ListenerState(processes, watched=watched))
        StatusFile(file, lambda stands=stands: two.model_copy(update={"listener": stands})).step()  # type: ignore[misc]
        code, said = status()
        assert code == 0, said
        lines = [line.split() for line in said.splitlines()]
        assert ["4711", "ready", "3"] in lines
        assert ["4712", *["cannot", "store", "images:", "Too", "many", "open", "files"], "0"] in lines
        assert [*["Cannot", "allocate", "memory"], "0"] in lines
        assert ("Listener processes that die are no longer replaced" in said) is not watched
    _, said = status("--json")
    assert [one["pid"] for one in json.loads(said)["listener"]["processes"]] == [4711, 4712, None]


def test_parts_that_do_not_work_are_told_with_the_reason(status: Status, file: Path, two: DaemonStatus) -> None:
    now = datetime.now(UTC)
    parts = (
        PartStatus(name="intake", state=PartState.WORKING, since=now),
        PartStatus(name="watch-inbox", state=PartState.WORKING, since=now, reason="scanned regularly"),
        PartStatus(
            name="dispatch", state=PartState.FAILING, since=now - timedelta(minutes=3), reason="OSError: No space left"
        ),
    )
    StatusFile(file, lambda: two.model_copy(update={"parts": parts})).step()
    code, said = status()
    assert code == 0, said
    lines = [line.split() for line in said.splitlines()]
    assert ["watch-inbox", "working", "0", "s", "scanned", "regularly"] in lines
    assert ["dispatch", "failing", "3", "min", "0", "s", "OSError:", "No", "space", "left"] in lines
    assert not [line for line in lines if line[:1] == ["intake"]]
    _, said = status("--json")
    assert [part["state"] for part in json.loads(said)["parts"]] == ["working", "working", "failing"]


def test_a_database_that_is_away_hides_nothing_else(
    status: Status, file: Path, two: DaemonStatus, config: Path, tmp_path: Path
) -> None:
    config.write_text(f"data_dir: data\ndatabase: postgresql+psycopg://postgres@/nowhere?host={tmp_path}\n")
    StatusFile(file, lambda: two).step()
    code, said = status()
    assert code == 1
    assert "tls://a" in said
    assert "is not available" in said


def test_a_daemon_that_does_not_look_any_more_is_not_taken_for_one_that_works(
    status: Status, file: Path, two: DaemonStatus
) -> None:
    looked = datetime.now(UTC) - timedelta(seconds=5 * REFRESH)
    file.write_text(two.model_copy(update={"looked": looked}).model_dump_json())
    code, said = status()
    assert code == 1
    assert "was killed or hangs" in said
    code, said = status("--json")
    assert code == 1
    assert json.loads(said)["running"] is False


def test_json_has_it_all(status: Status, file: Path, two: DaemonStatus) -> None:
    StatusFile(file, lambda: two).step()
    code, said = status("--json")
    found = json.loads(said)
    assert code == 0
    assert [worker["state"] for worker in found["workers"]] == ["ready", "opening"]
    assert found["replaced"][0]["reason"] == "its engines were not open after 1800 s"
    assert found["running"] is True
    assert found["jobs"] == {"queued": 0, "running": 0, "delivering": 0, "failed": 0, "refused": 0}


def test_the_file_is_written_when_something_changes_and_now_and_then(
    file: Path, two: DaemonStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [two]
    keeper = StatusFile(file, lambda: asked[0])
    keeper.step()
    first = file.stat().st_ino
    assert file.stat().st_mode & 0o777 == 0o600
    keeper.step()
    assert file.stat().st_ino == first
    asked[0] = written_status()
    keeper.step()
    assert (read_status(file) or two).workers == ()
    monkeypatch.setattr("daemon.workers.status.REFRESH", -1.0)
    asked[0] = two
    keeper.step()
    third = file.read_bytes()
    keeper.step()
    assert file.read_bytes() != third  # the moment of the last look


def test_a_file_of_another_version_counts_as_none(file: Path) -> None:
    file.write_text('{"wanted": "many"}')
    assert read_status(file) is None
