"""Slices of a brain for a network that sees some beside each other."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.brain.volume import NeighbourSlices


def numbered(slices: int = 6) -> np.ndarray:
    """Two channels, in which every voxel says its channel and slice; the first and the last slice are empty."""
    volume = np.zeros((2, slices, 3, 4), np.float32)
    for channel in range(2):
        volume[channel] = 100 * channel + np.arange(slices)[:, None, None]
    volume[:, [0, -1]] = 0
    return volume


def test_neighbours_come_one_after_the_other_each_with_all_channels() -> None:
    stacked = NeighbourSlices(numbered(), (-2, 0, 2)).inputs(2, 4)
    assert stacked.shape == (2, 6, 3, 4)
    assert stacked[:, :, 0, 0].tolist() == [[0, 0, 2, 102, 4, 104], [1, 101, 3, 103, 0, 0]]
    assert stacked.flags.c_contiguous


def test_beyond_the_ends_the_last_slice_stands() -> None:
    volume = numbered()
    volume[0, 0], volume[0, -1] = 7, 9
    stacked = NeighbourSlices(volume, (-2, 0, 2)).inputs(0, 6)
    assert stacked[0, :, 0, 0].tolist() == [7, 0, 7, 0, 2, 102]
    assert stacked[5, :, 0, 0].tolist() == [3, 103, 9, 0, 9, 0]


def test_slices_without_brain_are_not_shown_and_hold_nothing() -> None:
    slices = NeighbourSlices(numbered(), (0,))
    assert slices.shown.tolist() == [1, 2, 3, 4]
    answers = [(1, np.full((2, 3, 3, 4), 0.25, np.float32)), (3, np.full((2, 3, 3, 4), 0.5, np.float32))]
    joined = slices.joined(answers, 3)
    assert joined.shape == (3, 6, 3, 4)
    assert joined[1, :, 0, 0].tolist() == [0, 0.25, 0.25, 0.5, 0.5, 0]


def test_the_training_s_network_sees_the_same_slices() -> None:
    torch = pytest.importorskip("torch", reason="training needs the `train` extra")
    from training.networks.slices_unet import NEIGHBOURS, SlicesUNet

    torch.manual_seed(0)
    network = SlicesUNet(2, 3, widths=(8, 8, 8, 16)).eval()
    volume = np.random.default_rng(0).normal(size=(2, 5, 32, 64)).astype(np.float32)
    with torch.inference_mode():
        whole = network(torch.from_numpy(volume)[None])[0].numpy()
        stacked = NeighbourSlices(volume, NEIGHBOURS).inputs(0, 5)
        one_by_one = network.slices(torch.from_numpy(stacked)).numpy()
    np.testing.assert_allclose(np.moveaxis(one_by_one, 0, 1), whole, atol=1e-5)
