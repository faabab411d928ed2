"""The losses, against the truth and its opposite."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from training.loop.losses import cross_entropy, segmentation_loss, soft_dice  # noqa: E402


@pytest.mark.parametrize("loss", [soft_dice, cross_entropy])
def test_a_loss_is_small_for_the_truth_and_large_for_its_opposite(loss):
    target = (torch.rand(2, 1, 16, 16) > 0.5).float()
    trusted = torch.ones(2, 1)
    assert loss((target - 0.5) * 40, target, trusted) < 0.02
    assert loss((0.5 - target) * 40, target, trusted) > 0.9


def test_what_is_not_trusted_gives_no_gradient():
    pixels = torch.randn(2, 2, 8, 8, requires_grad=True)
    slices = torch.randn(2, 2, requires_grad=True)
    trusted = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    target = torch.ones(2, 2, 8, 8)
    segmentation_loss(pixels, slices, target, trusted, torch.ones(2, 2)).backward()
    assert pixels.grad[0, 1].abs().sum() == 0
    assert pixels.grad[1, 1].abs().sum() > 0
