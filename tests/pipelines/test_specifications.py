from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from pipelines.registry import PIPELINES
from pipelines.specifications import BRAIN_MR

CODE = (
    *("SimpleITK", "highdicom", "scipy", "engines.backends"),
    *("pipelines.worker", "pipelines.results", "pipelines.networks", "pipelines.preprocess"),
)


def loaded_by(program: str) -> list[str]:
    """Modules of a fresh Python after a program."""
    command = [sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "module", ["daemon.jobs.dispatch", "daemon.jobs.assembly", "daemon.commands.rules", "pipelines.rules.explain"]
)
def test_who_only_names_pipelines_imports_no_code_of_theirs(module: str) -> None:
    loaded = loaded_by(f"import {module}, pipelines.registry")
    assert "pipelines.registry" in loaded
    theirs = tuple(pipeline.module.rpartition(".")[0] for pipeline in PIPELINES.values())
    assert [name for name in loaded if name.startswith((*theirs, *CODE))] == []


@pytest.mark.parametrize("module", ["daemon.service", "daemon.commands.process", "pipelines.worker"])
def test_the_code_of_a_pipeline_is_imported_when_it_runs(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert [name for name in loaded if name.startswith(("SimpleITK", "pipelines.brain", "pipelines.abdomen"))] == []


def test_packages_are_found_and_checked_without_the_pipelines_code() -> None:
    program = "from pipelines.registry import *\nfor pipeline in PIPELINES.values(): packages_for(pipeline, ())"
    loaded = loaded_by(program)
    assert "pipelines.packages" in loaded
    assert [name for name in loaded if name.startswith(("pipelines.brain", "pipelines.abdomen", *CODE))] == []


@pytest.mark.parametrize("name", PIPELINES)
def test_the_code_is_where_the_specification_says(name: str) -> None:
    assert callable(import_module(PIPELINES[name].module).run)


def test_the_volume_that_a_package_must_take_is_the_one_that_is_prepared() -> None:
    from pipelines.brain import by_volume
    from pipelines.brain.volume import CHANNELS, SHAPE

    needed = BRAIN_MR.volume_inputs[by_volume.SEGMENTER]
    assert (needed.channels, needed.shape) == (len(CHANNELS), SHAPE)
    assert set(CHANNELS) == {*BRAIN_MR.roles, *BRAIN_MR.optional_roles}
