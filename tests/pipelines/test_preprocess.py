"""Preprocessing: what goes onto the grid comes back, and training and serving see the very same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.phantoms.phantom import PhantomOptions, make_phantom
from pipelines.preprocess import BrainSlices, CTSlices, Intensity, head_centre, prepare


@pytest.fixture(scope="module")
def brain():
    phantom = make_phantom("brain-mr", PhantomOptions(slices=6, matrix=200, lesion_diameters_mm=(40.0,), seed=3))
    images, masks = phantom.render()
    return phantom, images, masks["lesion"]


def overlap(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_brain_inputs_have_the_declared_shape_and_channels(brain):
    phantom, images, _ = brain
    prepared = prepare("brain-slices-v1", images, phantom.spacing)
    inputs = prepared.inputs()
    assert inputs.shape == (6, 5, 192, 160) == (len(prepared), *prepared.shape)
    assert inputs.dtype == np.float32
    assert prepared.channels == ("t1", "flair", "t1ce", "flair_below", "flair_above")


def test_neighbour_channels_are_the_flair_of_the_slices_beside_and_repeat_at_the_ends(brain):
    phantom, images, _ = brain
    inputs = prepare("brain-slices-v1", images, phantom.spacing).inputs()
    np.testing.assert_array_equal(inputs[1:, 3], inputs[:-1, 1])
    np.testing.assert_array_equal(inputs[:-1, 4], inputs[1:, 1])
    np.testing.assert_array_equal(inputs[0, 3], inputs[0, 1])
    np.testing.assert_array_equal(inputs[-1, 4], inputs[-1, 1])


def test_thin_slices_take_neighbours_about_four_millimetres_away(brain):
    _, images, _ = brain
    inputs = prepare("brain-slices-v1", {"flair": images["flair"]}, (2.0, 1.2, 1.2)).inputs()
    np.testing.assert_array_equal(inputs[2:, 3], inputs[:-2, 1])


def test_missing_t1_is_replaced_by_flair(brain):
    phantom, images, _ = brain
    inputs = prepare("brain-slices-v1", {"flair": images["flair"], "t1": None}, phantom.spacing).inputs()
    np.testing.assert_array_equal(inputs[:, 0], inputs[:, 1])
    np.testing.assert_array_equal(inputs[:, 2], inputs[:, 1])


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (2, 5), (4, 99)])
def test_batches_equal_the_whole(brain, start, stop):
    phantom, images, _ = brain
    prepared = prepare("brain-slices-v1", images, phantom.spacing)
    np.testing.assert_array_equal(prepared.inputs(start, stop), prepared.inputs()[start:stop])


@pytest.mark.parametrize("spacing", [(5.0, 0.5, 0.5), (5.0, 1.2, 1.2), (5.0, 0.9, 1.3)])
def test_brain_mask_survives_the_way_to_the_grid_and_back(brain, spacing):
    phantom, images, mask = brain
    prepared = prepare("brain-slices-v1", images, phantom.spacing if spacing[1] == 1.2 else spacing)
    back = prepared.restore(prepared.place(mask)[:, None])[:, 0] >= 0.5
    assert back.shape == mask.shape
    assert overlap(back, mask) > 0.97


def test_scaling_and_shifting_grey_values_changes_nothing(brain):
    phantom, images, _ = brain
    plain = prepare("brain-slices-v1", {"flair": images["flair"].astype(np.float32)}, phantom.spacing).inputs()
    brighter = prepare("brain-slices-v1", {"flair": images["flair"] * np.float32(7.5)}, phantom.spacing).inputs()
    np.testing.assert_allclose(brighter, plain, atol=1e-3)


def test_the_head_lies_in_the_middle_of_the_grid_wherever_it_was(brain):
    phantom, images, _ = brain
    shifted = np.roll(images["flair"], (15, -10), axis=(1, 2))
    before, after = head_centre(images["flair"]), head_centre(shifted)
    assert after[0] - before[0] == pytest.approx(15, abs=1.5)
    assert after[1] - before[1] == pytest.approx(-10, abs=1.5)
    one = prepare("brain-slices-v1", {"flair": images["flair"]}, phantom.spacing).inputs()[3, 1]
    other = prepare("brain-slices-v1", {"flair": shifted}, phantom.spacing).inputs()[3, 1]
    assert np.abs(one - other).mean() < 0.2


def test_what_lies_off_the_image_is_air_not_grey():
    flair = np.full((3, 40, 40), 300.0, np.float32)  # smaller than the grid
    flair[:, 10:30, 10:30] = 600
    inputs = BrainSlices({"flair": flair}, (5.0, 1.25, 1.25)).inputs()
    assert inputs[1, 1, 0, 0] == inputs[1, 1].min()


def test_an_empty_volume_gives_finite_numbers():
    inputs = prepare("brain-slices-v1", {"flair": np.zeros((3, 64, 64), np.int16)}, (5.0, 1.0, 1.0)).inputs()
    assert np.isfinite(inputs).all()


def test_intensity_is_one_map_for_the_whole_volume(brain):
    _, images, _ = brain
    intensity = Intensity.of(images["flair"])
    np.testing.assert_array_equal(intensity.apply(images["flair"])[2], intensity.apply(images["flair"][2]))


def test_ct_is_windowed_and_halved():
    ct = np.tile(np.array([-1000, 0, 100, 255, 3000], np.int16).repeat(128)[:512], (2, 512, 1))
    inputs = CTSlices({"ct": ct}, (3.0, 0.8, 0.8)).inputs()
    assert inputs.shape == (2, 1, 256, 256)
    assert inputs.min() == 0
    assert inputs.max() == pytest.approx(1.0)
    assert inputs[0, 0, 100, 160] == pytest.approx(100 / 255, abs=1e-6)


def test_a_jpeg_sized_slice_goes_through_unchanged():
    grey = np.random.default_rng(0).integers(0, 256, (2, 256, 256)).astype(np.float32)
    inputs = CTSlices({"ct": grey}, (5.0, 1.5, 1.5)).inputs()
    np.testing.assert_allclose(inputs[:, 0] * 255, grey, atol=1e-3)


@pytest.mark.parametrize("matrix", [(512, 512), (256, 256), (320, 400), (768, 768)])
def test_ct_mask_survives_the_way_to_the_grid_and_back(matrix):
    y, x = np.ogrid[: matrix[0], : matrix[1]]
    disc = (y - 0.4 * matrix[0]) ** 2 + (x - 0.45 * matrix[1]) ** 2 < (0.2 * matrix[0]) ** 2
    ct = np.where(disc, 110, -50).astype(np.int16)[None]
    prepared = prepare("ct-slices-v1", {"ct": ct}, (3.0, 0.8, 0.8))
    back = prepared.restore(prepared.place(disc[None])[:, None])[:, 0] >= 0.5
    assert back.shape == ct.shape
    assert overlap(back[0], disc) > 0.99


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        ("no-such", {}, "expected one of"),
        ("brain-slices-v1", {"t1": np.zeros((3, 8, 8))}, "expected 'flair'"),
        ("brain-slices-v1", {"flair": np.zeros((3, 8, 8)), "t1": np.zeros((3, 8, 9))}, "FLAIR's grid"),
        ("ct-slices-v1", {"ct": np.zeros((8, 8))}, "expected 'ct'"),
    ],
)
def test_what_does_not_fit_is_named(name, images, message):
    with pytest.raises(ValueError, match=message):
        prepare(name, images, (5.0, 1.0, 1.0))


@pytest.mark.parametrize("matrix", [512, 320])
def test_a_window_of_the_source_is_restored_like_the_whole_and_holds_all_that_is_seen(matrix):
    prepared = CTSlices({"ct": np.zeros((1, matrix, matrix), np.int16)}, (3.0, 0.8, 0.8))
    seen = np.zeros((1, 1, 256, 256), np.float32)
    seen[0, 0, 60:90, 100:180] = 1
    window = prepared.source_window(seen[0, 0] > 0)
    whole, part = prepared.restore(seen), prepared.restore(seen, window)
    np.testing.assert_allclose(part, whole[..., window[0], window[1]], atol=1e-6)
    assert part.sum() == pytest.approx(whole.sum(), rel=1e-5)
    assert prepared.source_window(np.zeros((256, 256), bool)) == (slice(0, 0), slice(0, 0))
