"""Training and serving feed a network the same brain: a BraTS case from its NIfTI, and as a DICOM study."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so
from PIL import Image

from dicomio.volumes.grid import resample_onto
from dicomio.volumes.volume import Volume, load_volume
from pipelines.brain.alignment import align_study
from pipelines.brain.by_volume import ROLES, prepare_brain
from pipelines.brain.extraction import extract_brain
from pipelines.brain.grid import restore
from pipelines.brain.skull_stripped import is_stripped
from pipelines.brain.volume import CHANNELS, stripped_brain
from tests.pipelines.brain.brains import dice, head_around, write_series
from training.data.layouts.brains import load_brains
from training.data.layouts.volumes import VolumeCache

CASE = "BraTS2021_01476"  # the first of the archive: the others need not be read


@pytest.fixture(scope="module")
def case(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one BraTS case, in a root of its own."""
    spec = importlib.util.spec_from_file_location("unpack", shared_data / "unpack.py")
    assert spec is not None
    assert spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    root, slices, seg = tmp_path_factory.mktemp("brats"), {}, None
    for name, data in unpack.members("brain-brats-train.tar"):
        file = Path(name).name
        if not name.startswith(CASE):
            continue
        if file.endswith(".jpg"):
            slices[int(file[:3])] = np.asarray(Image.open(io.BytesIO(data)))
        elif file == "seg.npz":
            seg = np.load(io.BytesIO(data))["seg"]
        else:
            unpack.write_brats(root / CASE, CASE, json.loads(data), slices, seg)
            break
    return root / CASE


@pytest.fixture(scope="module")
def study(case: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Volume]:
    """The case as four DICOM series, loaded as serving loads them."""
    out, volumes = tmp_path_factory.mktemp("dicom"), {}
    for role in CHANNELS:
        image = sitk.ReadImage(str(case / f"{CASE}_{role}.nii.gz"))
        affine = np.eye(4)
        direction = np.array(image.GetDirection()).reshape(3, 3)
        affine[:3, :3], affine[:3, 3] = (direction * image.GetSpacing())[:, ::-1], image.GetOrigin()
        volumes[role] = load_volume(write_series(out / role, role, sitk.GetArrayFromImage(image), affine))
    return volumes


def test_the_same_numbers_to_the_last_bit(case: Path, study: dict[str, Volume], tmp_path: Path) -> None:
    (item,) = load_brains(case.parent, ("whole tumour",), VolumeCache(tmp_path / "cache"))
    trained, truth = item.read()
    prepared = prepare_brain(align_study(study, ROLES))
    np.testing.assert_array_equal(prepared.inputs, trained)
    assert prepared.inputs.dtype == np.float32
    assert np.count_nonzero(trained) > 4e6

    # and the way back: the labels of the box lie on the FLAIR where the expert drew them
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(case / f"{CASE}_seg.nii.gz"))) > 0
    there = restore(truth.astype(np.float32), prepared.box, study["flair"], np.array([0.5], np.float32))
    np.testing.assert_array_equal(there[0], drawn)


def test_the_brain_of_a_case_is_found_again_in_a_head(study: dict[str, Volume]) -> None:
    every_second = (slice(None, None, 2),) * 3
    mask = np.pad(stripped_brain(np.stack([study[role].array for role in CHANNELS]))[every_second], 12)
    affine = study["t1"].affine @ np.diag([2.0, 2, 2, 1])
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, 12)
    heads = {
        role: head_around(np.pad(study[role].array[every_second], 12), mask, affine, seed)
        for seed, role in enumerate(("t1", "flair"))
    }
    assert not any(is_stripped(head) for head in heads.values())
    found = extract_brain(heads, dict.fromkeys(heads))
    brain = Volume(found.mask.astype(np.float32), found.grid.affine, "", "MR", "", (), None)
    assert dice(resample_onto(brain, heads["t1"], outside=0.0) > 0.5, mask) > 0.95


def test_a_brain_without_its_skull_is_recognised_on_every_sequence(study: dict[str, Volume]) -> None:
    assert {role: is_stripped(volume) for role, volume in study.items()} == dict.fromkeys(CHANNELS, True)
