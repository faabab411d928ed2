"""LiTS volumes, whole: the same voxels as slice by slice, and through the pipeline that serves."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from typer.testing import CliRunner  # noqa: E402

from engines.packages.package import shipped_folder  # noqa: E402
from training.cli import app  # noqa: E402
from training.data.layouts.liver import load_lits  # noqa: E402
from training.data.layouts.studies import find_studies  # noqa: E402
from training.evaluate.studies import (  # noqa: E402
    by_slices,
    read_studies,
    study_figures,
)
from training.experiments import EXPERIMENTS  # noqa: E402


def test_a_volume_is_its_slices(tiny_lits):
    studies = {study.name: study for study in find_studies(tiny_lits)}
    assert len(studies) == 4
    assert all(study.public for study in studies.values())
    items = [item for item in load_lits(tiny_lits, (64, 64)) if item.group == "volume-3"]
    volume, liver, tumour = studies["volume-3"].read()
    np.testing.assert_array_equal(volume.array, np.stack([item.read()[0][0] for item in items]))
    np.testing.assert_array_equal(liver, np.stack([item.read()[1][1:].any(axis=0) for item in items]))
    np.testing.assert_array_equal(tumour, np.stack([item.read()[1][2] > 0 for item in items]))
    assert volume.spacing == pytest.approx((20.0, 6.0, 6.0))


def test_a_system_that_answers_with_the_truth_finds_every_lesion(tiny_lits):
    experiment = EXPERIMENTS["lits-munet"]
    studies = find_studies(tiny_lits)
    truth = iter([plane for study in studies for plane in zip(*study.read()[1:], strict=True)])

    def predict(inputs):
        liver, tumour = (np.kron(mask, np.ones((8, 8))) for mask in next(truth))
        classes = np.stack([1 - liver, liver - tumour, tumour])
        assert inputs.shape == (1, 1, 512, 512)
        return classes[None].astype(np.float32)

    figures = {f.metric: f for f in study_figures(read_studies(by_slices(experiment, predict), studies))}
    assert figures["liver: Dice by study, mean"].value == 1
    assert figures["lesions over 10 mm: sensitivity"].value == 1
    assert figures["lesions over 10 mm: sensitivity"].n > 0
    assert figures["tumour burden: absolute error in percentage points, mean"].value == 0
    assert figures["false tumours per study, mean"].value == 0


def test_volumes_that_training_may_have_seen_are_measured_only_if_told_so(tiny_lits, tmp_path):
    package = tmp_path / "package"
    shutil.copytree(shipped_folder() / "abdomen-liver-unet", package)
    command = ["evaluate", str(package), "--data", str(tiny_lits), "--out", str(tmp_path / "figures.json")]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "--everyone" in refused.output
    measured = CliRunner().invoke(app, [*command, "--everyone"])
    assert measured.exit_code == 0, measured.output
    figures = {figure["metric"]: figure["n"] for figure in json.loads((tmp_path / "figures.json").read_text())}
    assert figures["liver: Dice by study, mean"] == 4
    assert figures["lesions over 10 mm: sensitivity"] > 0
