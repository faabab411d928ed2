"""Phantoms: the truth is what was drawn, and the same seed draws the same thing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from pipelines.phantoms.phantom import PHANTOMS, PhantomOptions, make_phantom


@pytest.mark.parametrize("kind", sorted(PHANTOMS))
def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(kind):
    options = PhantomOptions(slices=5, matrix=96, lesions=2, seed=4)
    one, again = make_phantom(kind, options).render(), make_phantom(kind, options).render()
    for name, image in one[0].items():
        np.testing.assert_array_equal(image, again[0][name])
    other = make_phantom(kind, PhantomOptions(slices=5, matrix=96, lesions=2, seed=5)).render()
    assert any((image != other[0][name]).any() for name, image in one[0].items())


@pytest.mark.parametrize("kind", sorted(PHANTOMS))
def test_a_slice_computed_alone_equals_the_slice_of_the_series(kind):
    phantom = make_phantom(kind, PhantomOptions(slices=7, matrix=96, seed=1))
    images, masks = phantom.render()
    alone = phantom[4]
    for name, image in alone.images.items():
        np.testing.assert_array_equal(image, images[name][4])
    np.testing.assert_array_equal(alone.masks["lesion"], masks["lesion"][4])


@pytest.mark.parametrize(("kind", "diameters"), [("brain-mr", (30.0, 22.0)), ("abdomen-ct", (34.0, 24.0))])
def test_as_many_lesions_as_asked_for_of_about_the_size_asked_for(kind, diameters):
    phantom = make_phantom(
        kind, PhantomOptions(slices=60, matrix=192, lesions=2, lesion_diameters_mm=diameters, seed=2)
    )
    _, masks = phantom.render()
    _, count = ndimage.label(masks["lesion"])
    assert count == 2
    wanted = sum(np.pi / 6 * d**3 / 1000 for d in diameters)
    assert masks["lesion"].sum() * phantom.voxel_ml == pytest.approx(wanted, rel=0.45)


def test_no_lesions_is_possible():
    _, masks = make_phantom("brain-mr", PhantomOptions(slices=5, matrix=64, lesions=0)).render()
    assert not masks["lesion"].any()


def test_brain_lesions_are_bright_on_flair_and_dark_on_t1():
    phantom = make_phantom(
        "brain-mr", PhantomOptions(slices=24, matrix=160, lesions=1, lesion_diameters_mm=(40.0,), seed=1)
    )
    images, masks = phantom.render()
    lesion = masks["lesion"]
    around = ndimage.binary_dilation(lesion, iterations=6) & ~ndimage.binary_dilation(lesion, iterations=2)
    assert np.median(images["flair"][lesion]) > 1.2 * np.median(images["flair"][around])
    assert np.median(images["t1"][lesion]) < np.median(images["t1"][around])


def test_liver_holds_its_lesions_which_are_darker_and_everything_is_in_plausible_hounsfield_units():
    phantom = make_phantom("abdomen-ct", PhantomOptions(slices=40, matrix=256, lesions=2, seed=6))
    images, masks = phantom.render()
    ct, liver, lesion = images["ct"], masks["liver"], masks["lesion"]
    assert (lesion & ~liver).sum() == 0
    assert 80 < np.median(ct[liver & ~lesion]) < 150
    assert np.median(ct[lesion]) < np.median(ct[liver & ~lesion]) - 20
    assert np.median(ct[:, :3]) < -900  # air around
    assert 900 < liver.sum() * phantom.voxel_ml < 2200


def test_default_slices_cover_the_organ():
    assert make_phantom("abdomen-ct", PhantomOptions(slices=46)).spacing[0] == pytest.approx(5.0)
    assert make_phantom("abdomen-ct", PhantomOptions(slices=1000)).spacing[0] == 0.5


def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match="expected one of"):
        make_phantom("knee-xr", PhantomOptions())


def test_a_slice_that_is_not_there_ends_the_iteration():
    phantom = make_phantom("brain-mr", PhantomOptions(slices=3, matrix=64))
    assert len(list(phantom)) == 3
    with pytest.raises(IndexError):
        phantom[3]


def test_a_glioma_has_parts_that_exclude_each_other_and_look_as_such():
    options = PhantomOptions(slices=24, matrix=128, lesion_diameters_mm=(44.0,), seed=3, glioma=True)
    images, masks = make_phantom("brain-mr", options).render()
    assert list(images) == ["flair", "t1", "t1ce", "t2"]
    edema, core, enhancing = (masks[name] for name in ("edema", "non-enhancing core", "enhancing"))
    np.testing.assert_array_equal(edema.astype(int) + core + enhancing, masks["lesion"])
    assert min(part.sum() for part in (edema, core, enhancing)) > 50
    grey = {name: {part: np.median(images[name][masks[part]]) for part in masks} for name in images}
    assert grey["flair"]["edema"] > grey["flair"]["non-enhancing core"]
    assert grey["t1ce"]["enhancing"] > 1.4 * grey["t1ce"]["edema"]
    assert grey["t1ce"]["enhancing"] > 1.4 * grey["t1"]["enhancing"]
    assert grey["t1"]["non-enhancing core"] < 0.8 * grey["t1"]["edema"]
    assert grey["t2"]["non-enhancing core"] > grey["t2"]["edema"] > grey["t2"]["enhancing"]


def test_three_sequences_are_drawn_as_before_and_the_glioma_is_where_the_lesion_is():
    options = {"slices": 6, "matrix": 96, "lesion_diameters_mm": (40.0,), "seed": 3}
    plain, masks = make_phantom("brain-mr", PhantomOptions(**options)).render()
    assert list(plain) == ["flair", "t1", "t1ce"]
    assert list(masks) == ["lesion"]
    _, parts = make_phantom("brain-mr", PhantomOptions(**options, glioma=True)).render()
    np.testing.assert_array_equal(parts["lesion"], masks["lesion"])
