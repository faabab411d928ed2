"""`scanward models` as a user starts it, on a shipped package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "brain-lgg-classifier"


def scanward(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", "models", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "scanward.yaml"
    path.write_text("data_dir: data\nengine: {backend: openvino, precision: fp32, threads: 1}\n")
    return path


def test_build_keeps_plans_and_verdicts_and_says_what_serves(config: Path) -> None:
    run = scanward("build", "-c", config, "--package", PACKAGE)
    assert run.returncode == 0, run.stderr
    assert f"{PACKAGE}: openvino" in run.stdout
    cache = config.parent / "data" / "plans"
    assert [path.name for path in (cache / "plans").glob(f"{PACKAGE}-openvino-fp32-*.plan")]
    assert list((cache / "gate").glob("*.json"))


def test_build_without_a_place_for_plans_is_wrong_usage() -> None:
    run = scanward("build", "--package", PACKAGE)
    assert run.returncode == 2
    assert "-c" in run.stderr


def test_benchmark_prints_a_table_and_leaves_one_with_a_picture(config: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib (train extra) draws the picture")
    options = ["--batch", "2", "--rounds", "3", "--no-torch", "--no-memory", "-o", tmp_path / "bench"]
    run = scanward("benchmark", "-c", config, "--package", PACKAGE, *options)
    assert run.returncode == 0, run.stderr
    assert f"{PACKAGE}, 2" in run.stdout
    assert "openvino fp32" in run.stdout
    assert f"| {PACKAGE} | openvino | fp32 | 2 |" in (tmp_path / "bench" / "engines.md").read_text()
    assert (tmp_path / "bench" / "engines.png").read_bytes().startswith(b"\x89PNG")


def test_a_package_that_is_not_there_is_wrong_usage(config: Path) -> None:
    run = scanward("benchmark", "-c", config, "--package", "no-such-package")
    assert run.returncode == 2
    assert PACKAGE in run.stderr
