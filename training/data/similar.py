"""Exact and near duplicates among pictures, found before a split can tear them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 12
"""Two pictures are near duplicates if at most so many of the 64 bits of their hashes differ, and ..."""
CORRELATION = 0.95
"""... their thumbnails correlate at least so well: hashes alone take any two heads on black for one another."""


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
    thumbnails = np.stack([thumbnail(path) for path in paths])
    pixels = [_digest(path) for path in paths]
    alike = _alike(thumbnails) | _alike(thumbnails, mirrored=True)
    alike |= np.equal.outer(np.array(pixels), np.array(pixels))
    count, groups = connected_components(coo_array(alike), directed=False)
    exact = len(paths) - len(set(pixels))
    return Duplicates(len(paths), exact, len(paths) - exact - int(count), tuple(int(g) for g in groups))


def thumbnail(path: Path, size: int = 32) -> NDArray[np.float32]:
    """(size, size), grey, black margins cut off, so that another border does not make another picture."""
    grey = ImageOps.exif_transpose(Image.open(path)).convert("L")
    box = grey.point(lambda value: 255 * (value > 40)).getbbox()
    return np.asarray(grey.crop(box).resize((size, size), Image.Resampling.BOX), np.float32)


def perceptual_hash(thumbnails: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n, size, size) to (n, 64): signs of the lowest 8 x 8 cosines around their median (Zauner 2010, pHash)."""
    low = dctn(thumbnails, axes=(1, 2))[:, :8, :8].reshape(len(thumbnails), 64)
    return np.asarray(low > np.median(low[:, 1:], axis=1, keepdims=True))


def _alike(thumbnails: NDArray[np.float32], *, mirrored: bool = False) -> NDArray[np.bool_]:
    """(n, n), which pictures are near duplicates, or would be if one of the two were mirrored."""
    others = thumbnails[:, :, ::-1] if mirrored else thumbnails
    bits, other_bits = perceptual_hash(thumbnails), perceptual_hash(others)
    distance = (bits[:, None] != other_bits[None]).sum(axis=2)
    one, other = _standardised(thumbnails), _standardised(others)
    alike = (distance <= BITS) & (one @ other.T >= CORRELATION)
    return np.asarray(alike | alike.T)


def _standardised(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = thumbnails.reshape(len(thumbnails), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), np.float32)


def _digest(path: Path) -> str:
    picture = Image.open(path).convert("RGB")
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
