"""Pictures are changed together with their masks."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from training.data.augment import augment, replace_missing  # noqa: E402
from training.experiment import Augmentation  # noqa: E402


def test_augmentation_moves_image_and_mask_together():
    torch.manual_seed(0)
    image = torch.zeros(4, 1, 64, 64)
    image[:, :, 20:40, 24:44] = 1
    still = Augmentation(gain=0, noise=0, blur=0)
    moved, mask = augment(still, image, image.clone())
    assert not torch.equal(moved, image)
    torch.testing.assert_close(moved, mask)


def test_missing_sequences_are_replaced_by_flair():
    torch.manual_seed(1)
    inputs = torch.arange(5.0).reshape(1, 5, 1, 1).repeat(400, 1, 1, 1)
    replaced = replace_missing(inputs)
    assert 0.1 < (replaced[:, 0] == 1).float().mean() < 0.4
    assert (replaced[:, 1] == 1).all()
    assert torch.equal(inputs[0].flatten(), torch.arange(5.0))  # the original is left alone
