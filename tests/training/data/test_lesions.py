"""Lesions that are drawn into livers without any."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from training.data.lesions import insert_lesions  # noqa: E402


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
