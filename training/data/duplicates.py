"""Exact and near duplicates among pictures, found before a split can tear them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.data.head_box import Box, head_box

BITS = 12
"""Two pictures are near duplicates if at most so many of the 64 bits of their hashes differ, and ..."""
CORRELATION = 0.95
"""... their thumbnails correlate at least so well: hashes alone take any two heads on black for one another, ..."""
HEAD_CORRELATION = 0.90
"""... or the thumbnails of their heads do: a caption on one of two copies moves the first, not the second."""


@dataclass(frozen=True)
class Duplicates:
    """What was found among `pictures`; `groups` gives each picture the number of its cluster."""

    pictures: int
    exact: int
    near: int
    groups: tuple[int, ...]

    def __str__(self) -> str:
        distinct = len(set(self.groups))
        return f"{self.pictures} pictures: {self.exact} exact and {self.near} near duplicates, {distinct} distinct"


def find_duplicates(paths: Sequence[Path]) -> Duplicates:
    """Clusters pictures of the same pixels, or nearly so (rescaled, recompressed, captioned, mirrored).

    `exact` counts the files beyond the first of equal pixels, `near` those that a cluster holds beyond that.
    """
    pixels = [_digest(path) for path in paths]
    alike = _alike(paths, _without_margins, CORRELATION) | _alike(paths, head_box, HEAD_CORRELATION)
    alike |= np.equal.outer(np.array(pixels), np.array(pixels))
    count, groups = connected_components(coo_array(alike), directed=False)
    exact = len(paths) - len(set(pixels))
    return Duplicates(len(paths), exact, len(paths) - exact - int(count), tuple(int(g) for g in groups))


def thumbnail(path: Path, box: Callable[[Image.Image], Box | None], size: int = 32) -> NDArray[np.float32]:
    """(size, size), grey, cut to what `box` says of the picture; None is the whole picture."""
    grey = ImageOps.exif_transpose(Image.open(path)).convert("L")
    return np.asarray(grey.crop(box(grey)).resize((size, size), Image.Resampling.BOX), np.float32)


def _without_margins(grey: Image.Image) -> Box | None:
    """So that another border does not make another picture."""
    return grey.point(lambda value: 255 * (value > 40)).getbbox()


def perceptual_hash(thumbnails: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n, size, size) to (n, 64): signs of the lowest 8 x 8 cosines around their median (Zauner 2010, pHash)."""
    low = dctn(thumbnails, axes=(1, 2))[:, :8, :8].reshape(len(thumbnails), 64)
    return np.asarray(low > np.median(low[:, 1:], axis=1, keepdims=True))


def _alike(paths: Sequence[Path], box: Callable[[Image.Image], Box | None], correlation: float) -> NDArray[np.bool_]:
    """(n, n), which pictures are near duplicates, or would be if one of the two were mirrored."""
    thumbnails = np.stack([thumbnail(path, box) for path in paths])
    bits, one = perceptual_hash(thumbnails), _standardised(thumbnails)
    alike = np.zeros((len(paths), len(paths)), np.bool_)
    for others in (thumbnails, thumbnails[:, :, ::-1]):
        distance = (bits[:, None] != perceptual_hash(others)[None]).sum(axis=2)
        alike |= (distance <= BITS) & (one @ _standardised(others).T >= correlation)
    return np.asarray(alike | alike.T)


def _standardised(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = thumbnails.reshape(len(thumbnails), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), np.float32)


def _digest(path: Path) -> str:
    picture = Image.open(path).convert("RGB")
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
