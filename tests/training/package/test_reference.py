"""The made-up brain of the admission gate, and what the package of whole brains says."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.packages.manifest import LabelSpec
from training.experiments import EXPERIMENTS, REGIONS
from training.package.descriptions import describe
from training.package.reference import made_up_brain, reference_inputs

SHAPE = (80, 96, 80)


def test_the_brain_is_made_up_alike_every_time_and_has_nothing_around_it():
    brain = made_up_brain(SHAPE, seed=1)
    assert (brain.shape, brain.dtype) == ((4, *SHAPE), np.float32)
    np.testing.assert_array_equal(brain, made_up_brain(SHAPE, seed=1))
    inside = (brain != 0).any(axis=0)
    assert not inside[[0, -1]].any()
    assert 0.2 < inside.mean() < 0.5
    assert np.abs(brain).max() < 4


def test_it_has_a_rim_that_takes_up_contrast_within_edema():
    flair, t1, t1ce, _ = made_up_brain(SHAPE, seed=1)
    rim = t1ce - t1 > 1
    edema = (flair > 1.2) & ~rim
    assert rim.sum() > 20
    assert edema.sum() > 20
    middles = [np.argwhere(mask).mean(axis=0) for mask in (rim, edema)]
    assert np.linalg.norm(middles[0] - middles[1]) < 4


def test_it_takes_little_room_in_a_package():
    brain, stored = made_up_brain(SHAPE, seed=1), io.BytesIO()
    np.savez_compressed(stored, image=brain)
    assert len(stored.getvalue()) < brain.nbytes / 10


def test_a_network_of_slices_is_asked_about_slices_with_tumour_and_without():
    experiment = replace(EXPERIMENTS["brats-slices-unet"], served_size=SHAPE)
    slices = reference_inputs(experiment)
    assert slices.shape[1:] == (12, *SHAPE[1:])
    assert 12 <= len(slices) <= 14
    rim = ((slices[:, 6] - slices[:, 5]) > 1).any(axis=(1, 2))  # of the slice itself: T1 with contrast, T1
    assert 5 <= rim.sum() <= len(slices) - 3


@pytest.mark.parametrize("name", ["brats-slices-unet", "brats-resunet3d"])
def test_what_is_served_says_how_regions_become_segments(name):
    experiment = EXPERIMENTS[name]
    assert experiment.package_name == f"brain-{name}"
    specs = [LabelSpec.model_validate(label) for label in describe(experiment).labels]
    assert [spec.number for spec in specs] == [1, 2, 3]
    assert {name for spec in specs for name in spec.classes} == set(REGIONS)
    assert len(describe(experiment).limits) > 2


def test_what_is_not_served_goes_by_its_own_name():
    experiment = EXPERIMENTS["lgg-unet"]
    assert experiment.package_name == "lgg-unet"
    assert [label["name"] for label in describe(experiment).labels] == ["tumour"]
    assert describe(EXPERIMENTS["lgg-two-conv"]).labels == []
