"""PNGs that anybody can read, with the pixels that went in."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.png import png


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 3, 3), (40, 64, 3)])
@pytest.mark.parametrize("view", ["whole", "turned", "cut"])
def test_a_reader_sees_what_was_drawn(shape: tuple[int, int, int], view: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rgb = {"whole": rgb, "turned": rgb[::-1], "cut": np.pad(rgb, ((0, 0), (0, 2), (0, 0)))[:, :-2]}[view]
    with Image.open(io.BytesIO(png(rgb))) as read:
        read.load()
        assert (read.format, read.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(read), rgb)


def test_a_picture_that_is_mostly_the_same_packs_well() -> None:
    assert len(png(np.full((512, 512, 3), 17, np.uint8))) < 10_000
