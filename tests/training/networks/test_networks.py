"""Networks and losses."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from training.data.augment import augment, replace_missing  # noqa: E402
from training.data.lesions import insert_lesions  # noqa: E402
from training.experiment import Augmentation  # noqa: E402
from training.loop.losses import cross_entropy, segmentation_loss, soft_dice  # noqa: E402
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


def test_lesions_are_drawn_into_healthy_livers_only_and_are_darker():
    torch.manual_seed(2)
    inputs, targets = torch.full((3, 1, 128, 128), 0.2), torch.zeros(3, 2, 128, 128)
    inputs[:, :, 30:100, 30:100] = 0.45
    targets[:, 0, 30:100, 30:100] = 1
    trusted = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # the second may hold unlabelled tumours
    targets[2, 1, 50:60, 50:60] = 1  # the third has one already
    before, positive = inputs.clone(), torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    insert_lesions(inputs, targets, trusted, positive, share=1.0)
    lesion = targets[0, 1] > 0.5
    assert lesion.any()
    assert positive[0, 1] == 1
    assert inputs[0, 0][lesion].mean() < 0.43
    assert (targets[0, 1] <= targets[0, 0]).all()
    assert torch.equal(inputs[1:], before[1:])
