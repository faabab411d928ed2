"""The residual U-Net in three dimensions."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from training.networks.resunet_3d import ResUNet3D, fold, unfold  # noqa: E402


def test_unfolding_undoes_folding():
    image = torch.randn(2, 3, 4, 6, 8)
    assert fold(image).shape == (2, 24, 2, 3, 4)
    torch.testing.assert_close(unfold(fold(image)), image)


def test_the_network_answers_at_the_image_s_resolution():
    network = ResUNet3D(4, 3, widths=(8, 8, 16)).eval()
    assert network(torch.zeros(1, 4, 16, 24, 8)).shape == (1, 3, 16, 24, 8)
