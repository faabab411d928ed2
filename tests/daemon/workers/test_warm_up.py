"""What a worker says when it starts, in which order."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.config import LoggingSection
from daemon.workers import warm_up
from daemon.workers.warm_up import PROGRESS, WarmUp
from pipelines.worker import JobRunner


class Worker:
    """As much of Dask's worker as the plugin touches."""

    address = "tls://here"

    def __init__(self, heard: list[object]) -> None:
        self._heard = heard

    def log_event(self, topic: str, said: dict[str, Any]) -> None:
        assert topic == PROGRESS
        assert said["worker"] == self.address
        self._heard.append(said["state"])


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    happened: list[object] = []
    monkeypatch.setattr(warm_up, "open_engines", lambda runner, choices: happened.append(("opened", choices)))
    monkeypatch.setattr(warm_up, "run_on_phantoms", lambda runner, choices: happened.append(("warmed_up", choices)))
    return happened


def begun() -> WarmUp:
    """The plugin as `setup` leaves it, without the thread."""
    plugin = WarmUp({}, LoggingSection(), ())
    plugin.runner = JobRunner()
    return plugin


def test_it_is_ready_when_its_engines_are_open_and_runs_on_phantoms_then(heard: list[object]) -> None:
    begun()._warm_up(Worker(heard))
    assert heard == ["opening", ("opened", {}), "ready", ("warmed_up", {})]


def test_engines_that_do_not_open_do_not_keep_it_from_saying_so_job_by_job(
    heard: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(runner: object, choices: object) -> None:
        raise MemoryError

    monkeypatch.setattr(warm_up, "open_engines", broken)
    with pytest.raises(MemoryError):
        begun()._warm_up(Worker(heard))
    assert heard == ["opening", "ready"]
