"""`scanward models` as a user starts it, on a shipped package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import Result

from daemon.commands import models
from engines.benchmark.contender import Contender, Run
from engines.choose import Verification
from engines.contract import Arrays

PACKAGE = "brain-lgg-classifier"


def scanward_models(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", "models", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "scanward.yaml"
    path.write_text("data_dir: data\nengine: {backend: openvino, precision: fp32, threads: 1}\n")
    return path


def test_build_keeps_plans_and_verdicts_and_says_what_serves(config: Path) -> None:
    run = scanward_models("build", "-c", config, "--package", PACKAGE)
    assert run.returncode == 0, run.stderr
    assert f"{PACKAGE}: openvino" in run.stdout
    cache = config.parent / "data" / "plans"
    assert [path.name for path in (cache / "plans").glob(f"{PACKAGE}-openvino-fp32-*.plan")]
    assert list((cache / "gate").glob("*.json"))


def test_build_without_a_place_for_plans_is_wrong_usage() -> None:
    run = scanward_models("build", "--package", PACKAGE)
    assert run.returncode == 2
    assert "-c" in run.stderr


def test_benchmark_prints_a_table_and_leaves_one_with_a_picture(config: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib (train extra) draws the picture")
    options = ["--batch", "2", "--rounds", "3", "--no-torch", "--no-memory", "-o", tmp_path / "bench"]
    run = scanward_models("benchmark", "-c", config, "--package", PACKAGE, *options)
    assert run.returncode == 0, run.stderr
    assert f"{PACKAGE}, 2" in run.stdout
    assert "openvino fp32" in run.stdout
    assert f"| {PACKAGE} | openvino | fp32 | 2 |" in (tmp_path / "bench" / "engines.md").read_text()
    assert (tmp_path / "bench" / "engines.png").read_bytes().startswith(b"\x89PNG")


def test_verify_prints_each_engine_beside_the_reference(
    config: Path, monkeypatch: pytest.MonkeyPatch, scanward: Callable[..., Result]
) -> None:
    run = scanward("models", "verify", "-c", config, "--package", PACKAGE)
    (row,) = (line.split() for line in run.stdout.splitlines() if line.split()[:1] == [PACKAGE])
    assert run.exit_code == 0
    assert row[:3] == [PACKAGE, "openvino", "fp32"]
    assert float(row[3]) < 0.001  # the largest difference; a classifier has no Dice
    assert float(row[4]) > 0  # milliseconds
    assert row[5:] == ["serves"]

    refused = Verification("openvino", "fp32", None, None, ("too far apart",))
    monkeypatch.setattr(models, "verify", lambda package, settings: [refused])
    run = scanward("models", "verify", "-c", config, "--package", PACKAGE)
    assert run.exit_code == 1
    assert "openvino fp32: too far apart" in " ".join(run.stdout.split())


def test_ctrl_c_prints_what_was_measured_until_then(
    config: Path, monkeypatch: pytest.MonkeyPatch, scanward: Callable[..., Result]
) -> None:
    batches: list[int] = []

    @contextmanager
    def opened() -> Iterator[Run]:
        def run(feeds: Arrays) -> Arrays:
            batches.append(len(feeds["image"]))
            if batches[-1] == 2:
                raise KeyboardInterrupt
            return feeds

        yield run

    typist = [Contender("typist", "none", opened, comparable=False)]
    monkeypatch.setattr(models, "_contenders", lambda package, **options: typist)
    options = ["--package", PACKAGE, "--batch", "1", "--batch", "2", "--rounds", "3", "--no-memory"]
    run = scanward("models", "benchmark", "-c", config, *options)
    assert run.exit_code == 130
    assert f"{PACKAGE}, 1" in run.stdout
    assert f"{PACKAGE}, 2" not in run.stdout
    assert "openvino fp32" in run.stdout
    assert "Interrupted" in run.stdout


def test_a_package_that_is_not_there_is_wrong_usage(config: Path) -> None:
    run = scanward_models("benchmark", "-c", config, "--package", "no-such-package")
    assert run.returncode == 2
    assert PACKAGE in run.stderr
