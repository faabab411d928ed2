"""Volumes: loading a series, slices sorted, values rescaled."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dicomio.errors import GeometryRefused, UnreadableFile
from dicomio.files.inflate import LARGEST_INFLATED
from dicomio.files.parse_errors import parse_errors_of
from dicomio.files.part10 import parse
from dicomio.files.values import plain_value, text
from dicomio.volumes.frames import Frame, frames_of
from dicomio.volumes.gate import sort_slices
from dicomio.volumes.patient import SamePatientCheck
from dicomio.volumes.refusals.content import SharedInstanceUIDs
from dicomio.volumes.refusals.images import MissingTags, MixedSeries, NoImages, NoPixelData, UndecodablePixels
from dicomio.volumes.voxels import load_voxels


@dataclass(frozen=True)
class SourceImage:
    """The image, or the frame of one, that a slice was made from.

    Attributes:
        frame: Frame number, from 1, in an enhanced multi-frame image; None for a classic image.
    """

    sop_class_uid: str
    sop_instance_uid: str
    path: Path
    frame: int | None


@dataclass(frozen=True, eq=False)
class Volume:
    """One regular volume of voxels, and where it lies in the patient.

    Attributes:
        array: (slices, rows, columns), int16 or float32: Hounsfield units, or the grey values of the modality. As
            loaded C-contiguous, the slices ascending along their normal; a reoriented volume has a view of that.
        affine: (4, 4) float64, array index (slice, row, column, 1) -> patient coordinates LPS in mm; an index means
            the centre of its voxel.
        frame_of_reference_uid: The coordinate system that the affine leads to.
        sources: The original images, in the order of the slices.
        source_axis: The axis of the array that `sources` run along: 0 as loaded, another after `grid.reorient`, None if
            the array was resampled and no slice of it is an image.
    """

    array: np.ndarray
    affine: np.ndarray
    frame_of_reference_uid: str
    modality: str
    series_instance_uid: str
    sources: tuple[SourceImage, ...]
    source_axis: int | None = 0

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(
                f"expected a 3D array and a 4 × 4 affine, received {self.array.shape}, {self.affine.shape}"
            )
        if self.source_axis is None:
            return
        slices = self.array.shape[self.source_axis]
        if len(self.sources) != slices:
            raise ValueError(f"expected {slices} sources along axis {self.source_axis}, received {len(self.sources)}")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring slices, rows and columns in mm."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def to_patient(self, index: np.ndarray) -> np.ndarray:
        """Patient coordinates of voxels.

        Args:
            index: (..., 3) array index (slice, row, column), may be fractional.

        Returns:
            (..., 3) LPS in mm.
        """
        points: np.ndarray = np.asarray(index) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return points


def load_volume(
    paths: Sequence[Path],
    *,
    allow: Collection[type[GeometryRefused]] = (),
    patient: SamePatientCheck | None = None,
    largest: int = LARGEST_INFLATED,
) -> Volume:
    """Load one series, classic or enhanced, in any transfer syntax, through the geometry gate.

    Every file is parsed once; the pixels go straight to their place in the array, one slice at a time.

    Args:
        paths: The files of the series, in any order.
        allow: TooFewSlices and LocalizerSeries may be allowed; a single slice is then as thick as its header says.
        patient: Whom the images must be of, where other series are read with this one; else only of one person.
        largest: Bytes that a deflated image may inflate to.

    Returns:
        The volume, slices sorted by position along their normal. int16 where the rescaled values are whole numbers
        that fit, else float32. See `voxels.load_voxels` for the values and `gate` for what is refused.

    Raises:
        GeometryRefused: One of the classes in `dicomio.volumes.refusals`, which says what is
            wrong and what to do.
        OSError: The disk failed, or a file is not there.
    """
    frames = _collect(paths, patient or SamePatientCheck(), largest)
    series_uid = frames[0].series_uid
    _check_instances(frames, series_uid)
    slices = sort_slices([frame.place for frame in frames], series_uid, allow=allow)
    in_order = [frames[index] for index in slices.order]
    frame_of_reference = in_order[0].place.frame_of_reference_uid
    if not frame_of_reference:  # checked last: other faults of such a series say more about it
        raise MissingTags(
            series_uid=series_uid, keywords=("FrameOfReferenceUID",), without=len(frames), total=len(frames)
        )
    return Volume(
        array=load_voxels(in_order),
        affine=slices.affine,
        frame_of_reference_uid=frame_of_reference,
        modality=in_order[0].modality,
        series_instance_uid=series_uid,
        sources=tuple(_source(frame) for frame in in_order),
    )


def _check_instances(frames: Sequence[Frame], series_uid: str) -> None:
    """Refuse different images under one UID: results refer to images by UID."""
    places: dict[tuple[str, int], tuple[float, ...]] = {}
    for frame in frames:
        if places.setdefault((frame.sop_instance_uid, frame.index), frame.place.position) != frame.place.position:
            uids = {other.sop_instance_uid for other in frames}
            raise SharedInstanceUIDs(series_uid=series_uid, images=len(frames), uids=len(uids))


def _source(frame: Frame) -> SourceImage:
    number = frame.index + 1 if frame.multiframe else None
    return SourceImage(frame.sop_class_uid, frame.sop_instance_uid, frame.pixels.path, number)


def _collect(paths: Sequence[Path], patient: SamePatientCheck, largest: int) -> list[Frame]:
    """The frames of all files; files that lack the same thing are reported together."""
    frames: list[Frame] = []
    lacking: list[NoPixelData | MissingTags] = []
    for path in paths:
        try:
            file = parse(path, largest=largest)
            with parse_errors_of(path):
                patient.add(file.dataset, text(plain_value(file.dataset, "SeriesInstanceUID")))
            frames += frames_of(file)
        except (NoPixelData, MissingTags) as refusal:
            lacking.append(refusal)
        except UnreadableFile as error:
            series_uid = frames[0].series_uid if frames else ""
            raise UndecodablePixels(series_uid=series_uid, sop_instance_uid="", path=path, reason=str(error)) from error
    found = {frame.series_uid for frame in frames} | {refusal.series_uid for refusal in lacking}
    if len(found) > 1:
        raise MixedSeries(series_uid="", series_uids=tuple(sorted(found)))
    if lacking:
        raise _together(lacking, len(frames))
    if not frames:
        raise NoImages(series_uid="")
    return frames


def _together(lacking: Sequence[NoPixelData | MissingTags], complete: int) -> GeometryRefused:
    """One refusal for all files that lack the same thing as the first."""
    total = complete + sum(refusal.total for refusal in lacking)
    same = [refusal for refusal in lacking if type(refusal) is type(lacking[0])]
    without = sum(refusal.without for refusal in same)
    if isinstance(lacking[0], NoPixelData):
        return replace(lacking[0], without=without, total=total)
    keywords = dict.fromkeys(word for refusal in same if isinstance(refusal, MissingTags) for word in refusal.keywords)
    return replace(lacking[0], keywords=tuple(keywords), without=without, total=total)
