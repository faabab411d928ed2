"""Whole brains: prepared once, cut into patches for training, shown whole for validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from pipelines.brain import volume as brain_volume  # noqa: E402
from training.data import brain_patches as brains  # noqa: E402
from training.data import dataset  # noqa: E402
from training.data.examples import batches  # noqa: E402
from training.experiment import Variation  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402

SYSTEM = replace(EXPERIMENTS["brats-resunet3d"], size=(16, 32, 32), variation=Variation(), per_epoch=6)


@pytest.fixture(scope="module")
def items(tiny_brats):
    return dataset.read(SYSTEM, tiny_brats)


def test_a_brain_is_standardised_in_the_middle_of_its_box(items):
    image, truth = items[0].read()
    assert image.shape == (4, *brain_volume.SHAPE)
    assert truth.shape == (3, *brain_volume.SHAPE)
    inside = (image != 0).any(axis=0)
    for channel in image:
        assert channel[inside].mean() == pytest.approx(0, abs=0.02)
        assert channel[inside].std() == pytest.approx(1, abs=0.05)
    assert brain_volume.centre_of(inside) == tuple(n // 2 for n in brain_volume.SHAPE)
    assert truth.any()
    assert not truth[0][~inside].any()


def test_regions_are_nested(items):
    _, (whole, core, enhancing) = items[0].read()
    assert (whole >= core).all()
    assert (core >= enhancing).all()
    assert whole.sum() > core.sum() > enhancing.sum() > 0


def test_an_unvaried_patch_is_cut_out_as_it_is(items, monkeypatch):
    monkeypatch.setattr(brains, "TURNED", 0.0)
    image, truth = items[0].read()
    patch, masks = brains.cut(Variation(), SYSTEM.size, image, truth, torch.tensor([79.5, 95.5, 79.5]))
    where = (slice(72, 88), slice(80, 112), slice(64, 96))
    np.testing.assert_array_equal(patch.numpy(), image[(slice(None), *where)])
    np.testing.assert_array_equal(masks.numpy(), truth[(slice(None), *where)])


@pytest.mark.parametrize(("plane", "order"), brains.PLANES.items())
def test_patches_come_from_the_planes_that_the_system_names(items, monkeypatch, plane, order):
    monkeypatch.setattr(brains, "TURNED", 0.0)
    monkeypatch.setattr(brains, "NOISY", 0.0)
    experiment = replace(SYSTEM, planes=(plane,), size=(8, 32, 32))
    image, truth = items[0].read()
    turned = image.transpose(0, *(1 + axis for axis in order))
    masks_turned = truth.transpose(0, *(1 + axis for axis in order))
    patches = brains.BrainPatches(experiment, items[:1])
    middles, cut = [], brains.cut

    def noting(varied, size, image, truth, middle):
        middles.append(middle)
        return cut(varied, size, image, truth, middle)

    monkeypatch.setattr(brains, "cut", noting)
    shares = []
    for _ in range(8):
        patch, masks = patches[0]
        shares.append(float(masks[0].mean()))
        low = [int(m + 0.5 - n / 2) for m, n in zip(middles[-1].tolist(), experiment.size, strict=True)]
        where = (slice(None), *(slice(a, a + n) for a, n in zip(low, experiment.size, strict=True)))
        np.testing.assert_array_equal(patch.numpy(), turned[where])
        np.testing.assert_array_equal(masks.numpy(), masks_turned[where])
    assert max(shares) > 0.05  # most of them lie on the tumour


@pytest.mark.parametrize(("planes", "size"), [(("coronal",), (8, 192, 160)), ((), (8, 32, 32))])
def test_patches_that_fit_in_no_plane_are_refused(items, planes, size):
    with pytest.raises(ValueError, match=r"brats-resunet3d: patches of .* do not fit in brains of"):
        brains.BrainPatches(replace(SYSTEM, planes=planes, size=size), items)


def test_turning_by_nothing_reads_the_same_voxels(items, monkeypatch):
    monkeypatch.setattr(brains, "TURNED", 1.0)
    image, truth = items[0].read()
    patch, masks = brains.cut(Variation(), SYSTEM.size, image, truth, torch.tensor([79.5, 95.5, 79.5]))
    where = (slice(72, 88), slice(80, 112), slice(64, 96))
    np.testing.assert_allclose(patch.numpy(), image[(slice(None), *where)], atol=1e-3)
    np.testing.assert_array_equal(masks.numpy(), truth[(slice(None), *where)])


def test_image_and_mask_move_together(monkeypatch):
    monkeypatch.setattr(brains, "TURNED", 1.0)
    torch.manual_seed(3)
    mask = np.zeros((1, *brain_volume.SHAPE), np.uint8)
    mask[0, 76:84, 90:104, 70:92] = 1
    image = np.repeat(mask.astype(np.float32), 4, axis=0)
    varied = Variation(mirror=(2,), rotation=20.0, scale=0.15)
    for _ in range(4):
        patch, masks = brains.cut(varied, (32, 48, 48), image, mask, torch.tensor([80.0, 96.0, 80.0]))
        assert masks.sum() > 500
        np.testing.assert_array_equal(patch[0].numpy() >= 0.5, masks[0].numpy() > 0)


def test_outside_the_brain_nothing_is_added(items, monkeypatch):
    monkeypatch.setattr(brains, "TURNED", 0.0)
    torch.manual_seed(0)
    image, truth = items[0].read()
    varied = Variation(gain=0.3, noise=0.3, thick=1.0)
    patch, _ = brains.cut(varied, SYSTEM.size, image, truth, torch.tensor([79.5, 80.0, 79.5]))
    again, _ = brains.cut(Variation(), SYSTEM.size, image, truth, torch.tensor([79.5, 80.0, 79.5]))
    assert (patch[:, (again == 0).all(dim=0)] == 0).all()
    assert not torch.equal(patch, again)


def test_where_nothing_takes_up_contrast_nothing_enhances(items, monkeypatch):
    monkeypatch.setattr(brains, "TURNED", 0.0)
    image, truth = items[0].read()
    middle = torch.tensor([79.5, 80.0, 79.5])
    patch, masks = brains.cut(Variation(unenhanced=1.0), SYSTEM.size, image, truth, middle)
    torch.testing.assert_close(patch[2], patch[1])
    assert not masks[2].any()
    assert masks[1].any()
    _, before = brains.cut(Variation(), SYSTEM.size, image, truth, middle)
    assert before[2].any()


def test_validation_shows_whole_brains(items):
    image, truth = next(iter(batches(SYSTEM, items[:1], training=False)))
    assert image.shape == (1, 4, *brain_volume.SHAPE)
    assert truth.shape == (1, 3, *brain_volume.SHAPE)
    image, truth = next(iter(batches(SYSTEM, items[:2], training=True)))
    assert image.shape == (2, 4, *SYSTEM.size)
    assert truth.shape == (2, 3, *SYSTEM.size)
