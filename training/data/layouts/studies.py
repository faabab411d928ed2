"""Whole abdominal CTs with their truth: CHAOS (DICOM and a mask per slice) and LiTS (NIfTI)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomio.volumes.volume import Volume, load_volume
from training.data.layouts.volumes import read_oriented, spacing_of

Mask = NDArray[np.bool_]
Read = tuple[Volume, Mask, Mask]

# Folders of a CHAOS case: as published, and as the shared samples have them.
_CHAOS = (("DICOM_anon", "Ground"), ("dicom", "liver-masks"))


@dataclass(frozen=True, eq=False)
class LabelledStudy:
    """One CT, read when it is wanted.

    Attributes:
        name: As the data set has it.
        read: The volume in HU, the liver with its tumours, and the tumours, all (slices, rows, columns).
        public: Whether it belongs to the data that liver packages are trained on (LiTS), so that a package may know it.
    """

    name: str
    read: Callable[[], Read]
    public: bool


def find_studies(root: Path) -> list[LabelledStudy]:
    """The CTs under `root`, or none where it has another layout; `root` may be a CHAOS case itself."""
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    chaos = [
        LabelledStudy(folder.name, partial(_read_chaos, folder / images, folder / masks), public=False)
        for folder in folders
        for images, masks in _CHAOS
        if (folder / images).is_dir() and (folder / masks).is_dir()
    ]
    truths = {_number(path): path for path in sorted(root.rglob("segmentation-*.nii*"))}
    volumes = sorted(root.rglob("volume-*.nii*"), key=lambda path: int(_number(path)))
    lits = [
        LabelledStudy(f"volume-{_number(path)}", partial(_read_lits, path, truths[_number(path)]), public=True)
        for path in volumes
        if _number(path) in truths
    ]
    return [*chaos, *lits]


def _number(path: Path) -> str:
    return path.name.split(".")[0].split("-")[1]


def _read_chaos(images: Path, masks: Path) -> Read:
    """The livers of CHAOS are those of healthy donors: there is no tumour.

    Raises:
        ValueError: There is not one mask per slice.
        GeometryRefused: The series is no volume.
    """
    files = sorted(path for path in images.iterdir() if path.is_file())
    volume = load_volume(files)
    planes = [np.asarray(Image.open(path).convert("L")) > 0 for path in sorted(masks.glob("*.png"))]
    if len(planes) != len(volume.sources) or planes[0].shape != volume.array.shape[1:]:
        raise ValueError(f"{masks}: expected {len(volume.sources)} masks of the slices' size, received {len(planes)}")
    rank = {path: index for index, path in enumerate(files)}
    liver = in_order(volume, np.stack(planes), np.array([rank[source.path] for source in volume.sources]))
    return volume, liver, np.zeros_like(liver)


def in_order(volume: Volume, masks: Mask, rank: NDArray[np.intp]) -> Mask:
    """The masks in the order of the slices.

    Which way the masks are numbered differs from case to case; the right way, grey values inside vary by noise, the
    wrong way by everything from air to bone.

    Args:
        volume: The CT.
        masks: (slices, rows, columns), by number.
        rank: For every slice of the volume, the number of its file among the files.
    """
    ways = masks[rank], masks[::-1][rank]
    return min(ways, key=lambda mask: float(volume.array[mask].std()) if mask.any() else np.inf)


def _read_lits(path: Path, truth: Path) -> Read:
    labels, (along, down, across) = read_oriented(truth).astype(np.uint8), spacing_of(path)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, across], [0, down, 0], [along, 0, 0]])
    volume = Volume(
        array=np.clip(read_oriented(path), -32768, 32767).astype(np.int16),
        affine=affine,
        frame_of_reference_uid="",
        modality="CT",
        series_instance_uid="",
        sources=(),
        source_axis=None,
    )
    return volume, labels >= 1, labels == 2
