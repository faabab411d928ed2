"""The brain is found in heads whose brain is known: an atlas's and a patient's, with a skull around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so
from scipy import ndimage

from dicomio.volumes.grid import resample_onto
from dicomio.volumes.registration import single_threaded_sitk
from dicomio.volumes.volume import Volume, load_volume
from pipelines.brain.extraction import Brain, extract_brain
from pipelines.brain.registration import (
    COARSE_MM,
    FIRST_SAMPLES,
    STARTS,
    _guessed_middle,
    _Pair,
    _start,
    _without_brightest,
    register_template,
)
from pipelines.brain.skull_stripped import is_stripped
from pipelines.brain.template import template
from pipelines.errors import BrainNotFound
from tests.pipelines.brain.brains import dice, head_around

AXIAL = np.array([[0, 0, 2, -110.0], [0, 2, 0, -126.0], [2, 0, 0, -96.0], [0, 0, 0, 1]])
SHAPE = (98, 124, 110)


def atlas(degrees: float, size: float, shift: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The atlas's brain, nodded, turned, resized and moved; grey values and mask on `SHAPE` at `AXIAL`."""
    known = template()
    turn = sitk.Euler3DTransform()
    turn.SetRotation(np.radians(degrees), np.radians(degrees / 3), np.radians(-degrees / 2))
    affine = np.eye(4)
    affine[:3, :3] = np.array(turn.GetMatrix()).reshape(3, 3) * size
    affine[:3, 3] = shift
    place = Volume(np.broadcast_to(np.float32(0), SHAPE), AXIAL, "1.2", "MR", "1.2.3", (), None)
    inverse = np.linalg.inv(affine)
    brain, grey = (
        resample_onto(Volume(array, known.affine, "", "MR", "", (), None), place, transform=inverse, outside=0.0)
        for array in (known.brain.astype(np.float32), np.where(known.brain, known.head, 0).astype(np.float32))
    )
    return grey, brain > 0.5


def back_on(brain: Brain, volume: Volume) -> np.ndarray:
    mask = Volume(brain.mask.astype(np.float32), brain.grid.affine, "", "MR", "", (), None)
    return np.asarray(resample_onto(mask, volume, outside=0.0) > 0.5)


@pytest.mark.parametrize(("degrees", "size", "shift"), [(0, 0.9, (0, 0, 0)), (18, 0.95, (6, 12, -14))])
def test_the_atlas_is_found_again_in_a_head(degrees: float, size: float, shift: tuple[float, float, float]) -> None:
    grey, mask = atlas(degrees, size, shift)
    head = head_around(grey, mask, AXIAL)
    assert not is_stripped(head)
    found = extract_brain({"t1": head}, {"t1": None})
    assert dice(back_on(found, head), mask) > 0.95


def test_several_threads_find_the_same_to_the_last_bit() -> None:
    head = head_around(*atlas(9, 0.93, (3, -4, 8)), AXIAL)
    found = register_template(head)
    np.testing.assert_array_equal(register_template(head), found)

    # and what rates the starts is SimpleITK's own metric, for which gradients do not matter
    pair = _Pair.at(COARSE_MM, _without_brightest(head))
    start = _start(_guessed_middle(pair.image), *STARTS[0])
    plain = pair._metric(FIRST_SAMPLES)
    plain.SetInitialTransform(start, inPlace=False)
    with single_threaded_sitk():
        assert pair.unlikeness(start) == plain.MetricEvaluate(pair.head, pair.image)
        assert pair.of_its_own().unlikeness(start) == pair.unlikeness(start)


def test_the_ends_of_the_template_are_those_of_all_its_voxels() -> None:
    known = template()
    everything = known.points(np.argwhere(known.brain).astype(np.float64))
    for direction in np.random.default_rng(0).normal(size=(20, 3)):
        assert (known.outermost @ direction).max() == pytest.approx((everything @ direction).max(), abs=1e-9)
    assert len(known.outermost) < len(everything) / 5


def test_a_t1_that_lies_elsewhere_leads_to_the_same_brain() -> None:
    grey, mask = atlas(5, 0.92, (0, 0, 0))
    head = head_around(grey, mask, AXIAL)
    shift = np.eye(4)
    shift[:3, 3] = 30, -20, 50
    elsewhere = Volume(head.array, shift @ head.affine, "1.9", "MR", "1.9.3", (), None)
    found = extract_brain({"t1": elsewhere, "flair": head}, {"t1": shift, "flair": None})
    assert dice(back_on(found, head), mask) > 0.95


def test_what_is_no_head_is_not_read_as_one() -> None:
    noise = np.random.default_rng(0).normal(300, 40, (60, 120, 120)).astype(np.float32)
    affine = np.array([[0, 0, 1.5, 0], [0, 1.5, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(BrainNotFound):
        extract_brain({"flair": Volume(noise, affine, "1.2", "MR", "1.2.3", (), None)}, {"flair": None})
    nothing = Volume(np.zeros((40, 90, 90), np.float32), affine, "1.2", "MR", "1.2.3", (), None)
    with pytest.raises(BrainNotFound):
        extract_brain({"flair": nothing}, {"flair": None})


def test_the_brain_of_a_real_patient_lies_within_the_skull(dicom_samples: Path) -> None:
    """A FLAIR of 6 mm, after an operation; there is no truth, so what surely is brain and what surely is not."""
    from dicomio.volumes.grid import reorient

    flair, _ = reorient(load_volume(sorted((dicom_samples / "brain-mr-philips-flair").glob("*.dcm"))), "axial")
    assert not is_stripped(flair)
    found = extract_brain({"flair": flair}, {"flair": None})
    mask = back_on(found, flair)
    assert 1050 < mask.sum() * flair.voxel_ml < 1600
    usual = np.median(flair.array[mask])
    scalp = flair.array > 2.6 * usual
    assert scalp[mask].mean() < 0.01
    assert ndimage.binary_erosion(mask[10], iterations=12).any()  # a slice through the ventricles is brain inside
