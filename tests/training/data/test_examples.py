"""Pictures are decoded once, as far as memory goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from training.data import examples  # noqa: E402
from training.data.items import Item  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402

SYSTEM = replace(EXPERIMENTS["lgg-unet"], size=(32, 32))


@pytest.fixture
def counted():
    """Four pictures, 4 KiB each with its mask, and how often each was read."""
    reads = [0] * 4

    def item(index):
        def read():
            reads[index] += 1
            slope = np.arange(-16, 16)
            grey = 50 * (index + 1) + np.tile(slope, (3, 32, 1))
            return grey.astype(np.uint8), np.ones((1, 32, 32), np.uint8)

        return Item(str(index), str(index), "site", positive=True, read=read)

    return [item(index) for index in range(4)], reads


def test_a_picture_is_decoded_once_and_varied_each_time(counted):
    items, reads = counted
    dataset = examples.Examples(SYSTEM, items, training=True)
    seen = [dataset[3][0] for _ in range(8)]
    assert reads == [0, 0, 0, 1]
    assert all(float(image[0, 16, 16]) == pytest.approx(200 / 255, abs=0.05) for image in seen)
    assert not any(torch.equal(seen[0], image) for image in seen[1:])


def test_what_does_not_fit_is_decoded_again(counted, monkeypatch):
    items, reads = counted
    monkeypatch.setattr(examples, "MEMORY", 2 * 4096)
    dataset = examples.Examples(SYSTEM, items, training=False)
    for _ in range(2):
        assert [round(float(dataset[index][0][0, 0, 16]) * 255) for index in range(4)] == [50, 100, 150, 200]
    assert reads == [1, 1, 2, 2]
