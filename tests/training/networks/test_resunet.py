"""What the residual U-Net and its classifier answer."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from training.networks.resunet import ResUNet, SliceClassifier  # noqa: E402


def test_a_resunet_answers_at_the_size_of_its_input():
    pixels, slices = ResUNet(5, 2, (8, 12, 16))(torch.zeros(2, 5, 64, 48))
    assert pixels.shape == (2, 2, 64, 48)
    assert slices.shape == (2, 2)


def test_the_classifier_takes_the_weights_of_the_resunet_and_gives_its_slice_logits():
    network = ResUNet(3, 1, (8, 16)).eval()
    classifier = SliceClassifier(3, 1, (8, 16)).eval()
    classifier.load_state_dict({k: v for k, v in network.state_dict().items() if k in classifier.state_dict()})
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(classifier(image)[1], network(image)[1])
