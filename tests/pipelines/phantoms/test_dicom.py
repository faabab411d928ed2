"""Phantoms as DICOM: valid, deterministic, and the same volume that was drawn."""

from __future__ import annotations

import stat
import subprocess

import numpy as np
import pydicom
import pytest

from dicomio.volumes.volume import load_volume
from pipelines.phantoms.dicom import PhantomTruth, write_phantom
from pipelines.phantoms.phantom import PhantomOptions, make_phantom
from pipelines.preprocess import prepare

SMALL = {"slices": 8, "matrix": 96, "seed": 5}


@pytest.fixture(scope="module", params=["brain-mr", "abdomen-ct"])
def study(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "dicom"
    return request.param, out, write_phantom(request.param, out, **SMALL)


def series_of(out, truth):
    paths = sorted(out.rglob("*.dcm"))
    return [path for path in paths if pydicom.dcmread(path).SeriesInstanceUID == truth.series_instance_uid]


def test_every_object_passes_dciodvfy(study, needs):
    dciodvfy = needs("dciodvfy", package="dicom3tools")
    _, out, truth = study
    paths = sorted(out.rglob("*.dcm"))
    assert len(paths) == truth.images
    for path in paths[:: len(paths) // 6]:
        checked = subprocess.run([dciodvfy, "-new", path], capture_output=True, text=True, check=False)
        assert "Error" not in checked.stderr, checked.stderr


def test_the_volume_read_back_is_the_volume_drawn(study):
    kind, out, truth = study
    volume = load_volume(series_of(out, truth))
    drawn, _ = make_phantom(kind, make_options(kind)).render()
    name = "ct" if kind == "abdomen-ct" else "flair"
    np.testing.assert_array_equal(np.asarray(volume.array, np.int16), drawn[name])
    assert volume.array.shape == truth.masks["lesion"].shape
    assert volume.spacing == pytest.approx(truth.spacing, abs=1e-4)


def test_serving_and_training_give_bit_equal_inputs_for_the_same_dicom(study):
    kind, out, truth = study
    volume = load_volume(series_of(out, truth))
    name, channel = ("ct-slices-v1", "ct") if kind == "abdomen-ct" else ("brain-slices-v1", "flair")
    drawn, _ = make_phantom(kind, make_options(kind)).render()
    spacing = tuple(float(value) for value in volume.spacing)
    served = prepare(name, {channel: volume.array}, spacing).inputs()
    trained = prepare(name, {channel: drawn[channel]}, spacing).inputs()
    np.testing.assert_array_equal(served, trained)


def make_options(kind):
    from dataclasses import replace

    from pipelines.phantoms.dicom import DEFAULTS

    return replace(DEFAULTS[kind], **SMALL)


def test_the_truth_is_read_back_and_adds_up(study):
    _, out, truth = study
    stored = PhantomTruth.load(out.parent / "truth")
    for name, mask in truth.masks.items():
        np.testing.assert_array_equal(stored.masks[name], mask)
    assert stored.lesion_volumes_ml == truth.lesion_volumes_ml
    voxel_ml = float(np.prod(truth.spacing)) / 1000
    assert sum(truth.lesion_volumes_ml) == pytest.approx(truth.masks["lesion"].sum() * voxel_ml)


def test_the_same_options_give_the_same_files(study, tmp_path):
    kind, out, truth = study
    again = write_phantom(kind, tmp_path / "dicom", **SMALL)
    assert again.study_instance_uid == truth.study_instance_uid
    for path in sorted(out.rglob("*.dcm")):
        assert path.read_bytes() == (tmp_path / "dicom" / path.relative_to(out)).read_bytes()


def test_other_options_give_another_study(study, tmp_path):
    kind, _, truth = study
    other = write_phantom(kind, tmp_path / "dicom", slices=4, matrix=64, seed=5)
    assert other.study_instance_uid != truth.study_instance_uid


def test_files_are_for_their_owner_only(study):
    _, out, _ = study
    for path in [*out.rglob("*.dcm"), *(out.parent / "truth").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lesion_options_reach_the_phantom(tmp_path):
    truth = write_phantom(
        "brain-mr", tmp_path / "dicom", slices=24, matrix=96, lesions=2, lesion_diameters_mm=(30.0,), seed=2
    )
    assert len(truth.lesion_volumes_ml) == 2


def test_unknown_kinds_are_named(tmp_path):
    with pytest.raises(ValueError, match="expected one of"):
        write_phantom("knee-xr", tmp_path)


def test_options_default_to_a_study_that_shows_something():
    assert PhantomOptions().slices == 24


def test_a_brain_study_has_four_sequences_that_the_rules_recognise(tmp_path):
    from daemon.intake.study_folder import read_folder
    from pipelines.rules.builtin import builtin_rules
    from pipelines.rules.routing import Route, route

    truth = write_phantom("brain-mr", tmp_path / "four", slices=12, matrix=64)
    assert set(truth.masks) == {"lesion", "edema", "non-enhancing core", "enhancing"}
    (study,) = read_folder(tmp_path / "four", lambda share: None).studies
    (found,) = route(study.facts, builtin_rules())
    assert isinstance(found, Route)
    roles = {role: study.files[uid][0].parent.name for role, uid in found.roles.items()}
    assert roles == {"flair": "flair", "t1": "t1", "t1ce": "t1ce", "t2": "t2"}

    truth = write_phantom("brain-mr", tmp_path / "three", slices=4, matrix=64, glioma=False)
    assert set(truth.masks) == {"lesion"}
    assert sorted(path.name for path in (tmp_path / "three").iterdir()) == ["flair", "t1", "t1ce"]
