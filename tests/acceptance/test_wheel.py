"""A wheel, installed where no checkout is: everything that the application needs comes with it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("daemon", "db", "dicomio", "engines", "pipelines", "training")
WHERE = f"import {', '.join(OURS)}; print(*(package.__file__ for package in ({', '.join(OURS)})), sep='\\n')"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel of this tree; the libraries are those of the environment that tests it."""
    folder = tmp_path_factory.mktemp("wheel")
    python = [sys.executable, "-m"]
    build = [*python, "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("scanward-*.whl")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    there = str(folder / "venv" / "bin" / "python")
    subprocess.run([*python, "pip", "--quiet", "--python", there, "install", "--no-deps", str(wheel)], check=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A folder named in a .pth is searched last, and its own .pth files (one names the checkout) are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv"


@pytest.fixture
def run(environment: Path, tmp_path: Path) -> Run:
    """Runs a program of that environment in an empty folder, and returns what it printed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SCANWARD_"))}

    def run(program: str, *arguments: str, code: int = 0) -> str:
        command = [str(environment / "bin" / program), *arguments]
        ended = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout

    return run


def test_everything_of_ours_comes_from_the_wheel(environment: Path, run: Run) -> None:
    found = [Path(line) for line in run("python", "-c", WHERE).splitlines()]
    assert len(found) == len(OURS)
    assert all(path.is_relative_to(environment) for path in found), found
    command = ["git", "ls-files", *OURS, "models"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    site = found[0].parents[1]
    assert [name for name in tracked.stdout.splitlines() if not (site / name).is_file()] == []


def test_the_light_commands(environment: Path, run: Run, tmp_path: Path) -> None:
    assert run("scanward", "--version").startswith("scanward ")
    examples = environment / "share" / "scanward"
    assert run("scanward", "rules", "schema") == (examples / "rules.schema.json").read_text()
    for name in ("scanward.yaml", "rules.yaml"):
        (tmp_path / name).write_text((examples / name).read_text())
    assert "brain-lgg-resunet" in run("scanward", "models", "list")
    run("scanward", "db", "upgrade", "-c", "scanward.yaml")
    trains = importlib.util.find_spec("torch") is not None  # its commands are entry points, offered where torch is
    assert ("cross-validate" in run("scanward", "--help")) == trains


@pytest.mark.slow
def test_the_demo(run: Run, tmp_path: Path) -> None:
    said = run("scanward", "demo")
    assert "Found and true values" in said
    assert (tmp_path / "demo-out" / "data" / "outbox").is_dir()
