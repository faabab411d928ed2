"""Whole CTs: read in their layouts, lesions drawn in and counted one by one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.packages.package import shipped_folder
from pipelines.phantoms.dicom import write_phantom
from training.cli import app
from training.data.layouts.studies import find_studies
from training.data.lesions_in_volumes import CONTRAST_HU, draw_lesions
from training.evaluate.burden import found_lesions
from training.evaluate.studies import compare, read_studies, study_figures

PACKAGE = shipped_folder() / "abdomen-liver-unet"


@pytest.fixture(scope="module")
def chaos(tmp_path_factory):
    """A healthy liver in the layout of CHAOS: DICOM, and a PNG per slice, numbered from the head."""
    root = tmp_path_factory.mktemp("chaos") / "7"
    truth = write_phantom(
        "abdomen-ct", root / "study", slices=24, matrix=128, slice_mm=8, pixel_mm=3, lesions=0, seed=5
    )
    root.joinpath("DICOM_anon").mkdir()
    for path in sorted((root / "study").rglob("*.dcm")):
        path.rename(root / "DICOM_anon" / path.name)
    root.joinpath("Ground").mkdir()
    for number, plane in enumerate(truth.masks["liver"][::-1]):
        Image.fromarray(plane.astype(np.uint8) * 255).save(root / "Ground" / f"liver_GT_{number:03d}.png")
    return root, truth


def test_masks_are_put_to_their_slices_whichever_way_they_are_numbered(chaos):
    root, truth = chaos
    (study,) = find_studies(root.parent)
    assert (study.name, study.public) == ("7", False)
    volume, liver, tumour = study.read()
    np.testing.assert_array_equal(liver, truth.masks["liver"])
    assert (volume.array.shape, tumour.any()) == (liver.shape, False)


def test_a_mask_too_few_is_refused(chaos, tmp_path):
    shutil.copytree(chaos[0], tmp_path / "8")
    next((tmp_path / "8" / "Ground").iterdir()).unlink()
    with pytest.raises(ValueError, match="expected 24 masks"):
        find_studies(tmp_path)[0].read()


@pytest.fixture(scope="module")
def liver():
    """A ball of 90 mm at 120 HU with noise, voxels of 2 x 1 x 1 mm."""
    axes = np.ogrid[-25:25, -50:50, -50:50]
    inside = (2 * axes[0]) ** 2 + axes[1] ** 2 + axes[2] ** 2 < 45**2
    noise = np.random.default_rng(0).normal(0, 10, inside.shape)
    return np.rint(np.where(inside, 120, -50) + noise).astype(np.int16), inside, (2.0, 1.0, 1.0)


def test_lesions_are_as_large_and_as_dark_as_asked_and_inside_the_liver(liver):
    ct, inside, spacing = liver
    drawn, truth = draw_lesions(ct, inside, spacing, np.random.default_rng(1), (12.0, 18.0, 28.0))
    assert not (truth & ~inside).any()
    assert (drawn[~inside] == ct[~inside]).all()
    diameters = [mm for mm, _ in found_lesions(truth, truth, 0.002)]
    np.testing.assert_allclose(diameters, (28, 18, 12), rtol=0.15)
    darker = float((ct[truth].astype(float) - drawn[truth]).mean())
    assert CONTRAST_HU[0] * 0.8 < darker < CONTRAST_HU[1] * 1.2
    assert np.corrcoef(drawn[truth].astype(float), ct[truth].astype(float))[0, 1] > 0.3  # its noise is still there
    again = draw_lesions(ct, inside, spacing, np.random.default_rng(1), (12.0, 18.0, 28.0))
    np.testing.assert_array_equal(again[0], drawn)


def test_where_there_is_no_room_nothing_is_drawn(liver):
    ct, inside, spacing = liver
    drawn, truth = draw_lesions(ct, inside, spacing, np.random.default_rng(1), (200.0,))
    assert not truth.any()
    np.testing.assert_array_equal(drawn, ct)
    assert not draw_lesions(ct, np.zeros_like(inside), spacing, np.random.default_rng(1))[1].any()


def test_figures_by_study_and_by_lesion():
    organ = np.zeros((10, 40, 40), bool)
    organ[:, :30] = True
    truth, found = np.zeros_like(organ), np.zeros_like(organ)
    truth[2:6, 4:14, 4:14] = truth[2:6, 16:26, 24:34] = True  # two of 4 ml, 19.7 mm
    found[2:6, 4:14, 6:14] = found[0, 1:3, 1:3] = True
    one = compare(("one", "A"), (organ, found), (organ, truth), 0.01)
    nothing = np.zeros_like(organ)
    healthy = compare(("two", "B"), (organ, nothing), (organ, nothing), 0.01)
    figures = {figure.metric: figure for figure in study_figures([one, healthy])}
    assert figures["lesions over 10 mm: sensitivity"].value == 0.5
    assert figures["lesions of 10 to 20 mm: sensitivity"].n == 2
    assert "lesions over 20 mm: sensitivity" not in figures
    assert figures["false tumours per study, mean"].value == 0.5
    assert figures["false tumours per study, mean"].interval == (0, 1)
    assert figures["tumour: Dice by study, mean"].n == 1
    assert figures["liver: Dice by study, mean"].value == 1
    assert figures["tumour volume: absolute error in ml, mean"].value == pytest.approx((8 - 3.24) / 2)
    assert "tumours 2 (true 2)" in str(one)


def test_lesions_that_were_drawn_in_are_called_so_and_one_patient_gives_no_interval():
    organ, lesion = np.ones((10, 40, 40), bool), np.zeros((10, 40, 40), bool)
    lesion[2:6, 4:14, 4:14] = True
    reads = [compare((name, "A"), (organ, lesion), (organ, lesion), 0.01) for name in ("first", "second")]
    figures = study_figures(reads, synthetic=True)
    assert all(figure.interval is None for figure in figures)
    sensitivities = [figure.metric for figure in figures if "lesions" in figure.metric or "Dice" in figure.metric]
    assert all(metric.startswith("synthetic") for metric in sensitivities)
    assert not [figure for figure in figures if figure.metric.startswith("liver")]


def test_lesions_drawn_into_a_study_are_looked_for(chaos):
    studies = find_studies(chaos[0])

    def perfect(volume):
        _, liver, _ = studies[0].read()
        return liver, liver & (volume.array < studies[0].read()[0].array - 10)

    reads = read_studies(perfect, studies, synthetic=2)
    assert [read.name for read in reads] == ["7 with lesions 0", "7 with lesions 1"]
    lesions = [found for read in reads for _, found in read.lesions]
    assert len(lesions) >= 4
    assert all(lesions)


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *(str(argument) for argument in arguments)])


def test_the_shipped_liver_network_is_measured_on_a_whole_ct(chaos, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "package")
    arguments = (tmp_path / "package", "--data", chaos[0], "--out", tmp_path / "figures.json")
    result = evaluate(*arguments, "--report", tmp_path / "report", "--section", "On whole CTs")
    assert result.exit_code == 0, result.output
    figures = {figure["metric"]: figure["value"] for figure in json.loads((tmp_path / "figures.json").read_text())}
    assert figures["liver: Dice by study, mean"] > 0.85
    assert "false tumours per study, mean" in figures
    card = (tmp_path / "package" / "MODEL_CARD.md").read_text()
    assert (
        f"| liver: Dice by study, mean | {figures['liver: Dice by study, mean']:.3f} |" in card.split("On whole CTs")[1]
    )
    assert "liver: Dice by study" in (tmp_path / "report" / "report.md").read_text()


def test_scattered_slices_have_no_figure_lesion_by_lesion_and_that_is_said(tiny_liver, tmp_path):
    result = evaluate(PACKAGE, "--data", tiny_liver, "--everyone", "--report", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert "no figure lesion by lesion" in result.output
    with Image.open(tmp_path / "report" / "gallery.png") as gallery:
        assert gallery.size[0] >= 1024
    assert "gallery.png" in (tmp_path / "report" / "report.md").read_text()
    refused = evaluate(PACKAGE, "--data", tiny_liver, "--everyone", "--synthetic", 2)
    assert refused.exit_code == 2
    assert "holds none" in refused.output
