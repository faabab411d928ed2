"""One worker per GPU, with real worker processes; which GPU a network would get is asked of the worker itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.config import Config, WorkersSection, load_config
from daemon.errors import BadConfiguration
from daemon.settings import engine_settings
from daemon.workers.pool import WorkerPool
from daemon.workers.warm_up import WarmUp, gpu_of


def config(folder: Path, text: str) -> Config:
    path = folder / "scanward.yaml"
    path.write_text(f"data_dir: data\n{text}\n")
    return load_config(path)


def own_gpu(dask_worker: Any) -> int | None:
    """Runs in a worker: the GPU that its jobs are given."""
    gpu: int | None = dask_worker.plugins[WarmUp.name].runner.gpu
    return gpu


@pytest.mark.parametrize(
    ("name", "gpus", "expected"),
    [(0, (3, 1), 3), (1, (3, 1), 1), (2, (3, 1), 3), (0, (), None), ("tls://other:8786", (3, 1), None)],
)
def test_gpus_are_dealt_out_by_the_workers_number(name: object, gpus: tuple[int, ...], expected: int | None) -> None:
    assert gpu_of(name, gpus) == expected


def test_one_number_or_a_list(tmp_path: Path) -> None:
    assert config(tmp_path, "engine: {gpu: 1}").engine.gpu == (1,)
    several = config(tmp_path, "engine: {gpu: [0, 2], max_batch: 4}\nworkers: {count: 2}")
    assert several.engine.gpu == (0, 2)
    assert (engine_settings(several).gpu, engine_settings(several).max_batch) == (0, 4)
    assert engine_settings(config(tmp_path, "engine: {precision: int8}")).precision == "int8"


@pytest.mark.parametrize(
    ("workers", "engine", "threads"), [(1, "{}", 8), (3, "{}", 2), (9, "{}", 1), (4, "{threads: 6}", 6)]
)
def test_eight_cores_are_shared_out_among_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, engine: str, threads: int
) -> None:
    monkeypatch.setattr("daemon.settings.usable_cores", lambda: 8)
    wanted = config(tmp_path, f"workers: {{count: {workers}}}\nengine: {engine}")
    assert engine_settings(wanted).threads == threads


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("engine: {gpu: [0, 1]}", "names 2 GPUs, but workers.count is 1: one worker per GPU"),
        ("engine: {gpu: [1, 1]}\nworkers: {count: 2}", "names a GPU twice"),
        ("engine: {gpu: []}", "at least 1 item"),
        ("engine: {gpu: -1}", "greater than or equal to 0"),
        ("engine: {max_batch: 0}", "greater than or equal to 1"),
    ],
)
def test_what_cannot_work_is_said_at_start_up(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadConfiguration, match=message):
        config(tmp_path, text)


def test_the_environment_may_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANWARD_ENGINE__GPU", "[2, 3]")
    monkeypatch.setenv("SCANWARD_WORKERS__COUNT", "2")
    assert config(tmp_path, "").engine.gpu == (2, 3)


@pytest.mark.slow
def test_each_worker_has_its_own_and_keeps_it_when_it_is_replaced(tmp_path: Path) -> None:
    with WorkerPool(WorkersSection(count=2), tmp_path / "dask", gpus=(5, 7)) as pool:
        before = pool.client.run(own_gpu)
        assert sorted(before.values()) == [5, 7]
        pool.client.restart_workers([next(iter(before))], timeout=60)
        pool.client.wait_for_workers(2, timeout=60)
        assert sorted(pool.client.run(own_gpu).values()) == [5, 7]


def test_a_job_runs_on_the_workers_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engines.contract import EngineSettings
    from engines.packages.package import shipped_folder
    from pipelines.job import EngineChoice
    from pipelines.networks import EnginePool
    from pipelines.worker import JobRunner

    asked: list[int] = []
    monkeypatch.setattr(EnginePool, "network", lambda pool, package, settings: asked.append(settings.gpu))
    choice = EngineChoice(str(shipped_folder() / "brain-lgg-classifier"), EngineSettings(gpu=1))
    for own in (7, None):
        JobRunner(own).network_of(choice)
    assert asked == [7, 1]
