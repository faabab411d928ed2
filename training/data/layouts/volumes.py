"""NIfTI volumes in one orientation, kept uncompressed on disk so that a slice or a patch is read without its scan."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray


def default_cache() -> Path:
    """`$SCANWARD_TRAINING_CACHE`, or a folder in the user's cache."""
    return Path(os.environ.get("SCANWARD_TRAINING_CACHE", Path.home() / ".cache" / "scanward" / "training"))


class VolumeCache:
    """Arrays that are dear to read, as memory-mapped .npy files; one is made anew when its source has changed."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or default_cache()

    def get(self, sources: tuple[Path, ...], make: Callable[[], NDArray[Any]], what: str = "") -> NDArray[Any]:
        """The array that `make` makes of `sources`, read-only and mapped; `what` tells several of the same sources."""
        path = self._folder / f"{_fingerprint(sources)}{what}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}.part")
            with part.open("wb") as file:
                np.save(file, make())
            part.replace(path)
        mapped: NDArray[Any] = np.load(path, mmap_mode="r")
        return mapped


def _fingerprint(sources: tuple[Path, ...]) -> str:
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:32]


def read_oriented(path: Path) -> NDArray[Any]:
    """A 3D volume as (slices, rows, columns), a 4D one as (channels, slices, rows, columns).

    Slices run to the head, rows to the back, columns to the patient's left, whatever way round the file has them.
    """
    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() == 3:
        return _array(image)
    size = [*image.GetSize()[:3], 0]
    parts = [SimpleITK.Extract(image, size, [0, 0, 0, channel]) for channel in range(image.GetSize()[3])]
    return np.stack([_array(part) for part in parts])


def _array(image: SimpleITK.Image) -> NDArray[Any]:
    array: NDArray[Any] = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, "LPS"))
    return array


def spacing_of(path: Path) -> tuple[float, float, float]:
    """(slice, row, column) in mm, from the header alone, in the orientation of `read_oriented`."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    dimension, spacing = reader.GetDimension(), reader.GetSpacing()
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    axes = np.abs(direction).argmax(axis=1)  # which file axis runs along x, y, z of the patient
    return float(spacing[axes[2]]), float(spacing[axes[1]]), float(spacing[axes[0]])
