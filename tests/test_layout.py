"""The house rules that no linter checks."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("daemon", "db", "dicomio", "engines", "pipelines", "training")


@pytest.mark.parametrize("name", OURS)
def test_no_other_distribution_claims_our_import_names(name: str) -> None:
    claimants = set(importlib.metadata.packages_distributions().get(name, ["scanward"]))
    assert claimants <= {"scanward"}, f"{claimants} would shadow our folder {name}/"


def tracked() -> list[Path]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in run.stdout.decode().split("\0") if name]


def test_nothing_large_is_tracked_and_the_packages_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in tracked() if path.is_file()}
    assert max(sizes.values()) < 50e6
    assert sum(size for path, size in sizes.items() if "models" in path.relative_to(ROOT).parts) < 60e6


def test_no_scan_is_tracked() -> None:
    images = {".dcm", ".nii", ".gz", ".tif", ".tiff", ".jpg", ".jpeg", ".tar", ".xz"}
    assert [path for path in tracked() if path.suffix in images] == []


def test_the_shipped_files_of_the_installed_application_are_there() -> None:
    from db.schema import head
    from engines.packages.package import find_packages, shipped_folder
    from pipelines.registry import PIPELINES

    shipped = find_packages(shipped_folder())
    wanted = {name for pipeline in PIPELINES.values() for name in pipeline.models.values()}
    assert wanted <= set(shipped)
    assert head()


def test_no_network_names_the_machine_that_it_was_trained_on() -> None:
    from engines.packages.package import shipped_folder

    for network in shipped_folder().glob("*/model.onnx"):
        content = network.read_bytes()
        assert not [trace for trace in (b'File "', b"site-packages", b".venv/", b"/home/") if trace in content], network
