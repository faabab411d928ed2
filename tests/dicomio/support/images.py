"""Small DICOM files with known contents: classic stacks and enhanced objects, each with whatever fault a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from dicomio.results.uids import derived_uid

ROWS, COLUMNS = 6, 8
SPACING = (0.8, 0.7)  # rows, columns: different, so that confusing them shows
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SERIES = derived_uid("series")

Change = Callable[[int, Dataset], None]


def image(slice_number: int) -> np.ndarray:
    """Stored values that say where they are: 100 * slice + 10 * row + column."""
    rows, columns = np.indices((ROWS, COLUMNS))
    return (100 * slice_number + 10 * rows + columns).astype(np.uint16)


def common(modality: str) -> Dataset:
    """What all images of the series share, at the top level of classic and enhanced ones alike."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.StudyDate = "20261120"
    ds.Modality = modality
    ds.AccessionNumber = "A1"
    ds.StudyDescription = "HEAD"
    ds.PatientName = "Never^Shown"
    ds.PatientID = "P1"
    ds.BodyPartExamined = ""
    ds.StudyInstanceUID = derived_uid("study")
    ds.SeriesInstanceUID = SERIES
    ds.FrameOfReferenceUID = derived_uid("frame of reference")
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    return ds


def classic(slice_number: int, position: Sequence[float], *, modality: str = "CT") -> Dataset:
    """One classic image at a position; its instance number runs against its position."""
    ds = common(modality)
    ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    ds.SOPInstanceUID = derived_uid("image", str(slice_number))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = 1000 - slice_number
    ds.SliceThickness = 5
    ds.ImagePositionPatient = [f"{value:.6f}" for value in position]
    ds.ImageOrientationPatient = list(AXIAL)
    ds.PixelSpacing = list(SPACING)
    if modality == "CT":
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = image(slice_number).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write(ds: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian, *, source_ae: str = "") -> Path:
    """Write a Part 10 file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    meta.TransferSyntaxUID = syntax
    if source_ae:
        meta.SourceApplicationEntityTitle = source_ae
    ds.file_meta = meta
    ds.save_as(path, enforce_file_format=True)
    return path


def stack(
    folder: Path,
    count: int = 5,
    *,
    step: Sequence[float] = (0.0, 0.0, 2.5),
    modality: str = "CT",
    change: Change | None = None,
    syntax: UID = ExplicitVRLittleEndian,
) -> list[Path]:
    """A series of `count` slices from (-10, -20, 30) upwards; the names of the files tell nothing of their order."""
    paths = []
    for number in range(count):
        position = [start + number * part for start, part in zip((-10.0, -20.0, 30.0), step, strict=True)]
        ds = classic(number, position, modality=modality)
        if change is not None:
            change(number, ds)
        paths.append(write(ds, folder / f"{(number * 7 + 3) % count:03d}.dcm", syntax))
    return sorted(paths)


def item(**values: Any) -> Dataset:
    """One item of a sequence."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def enhanced(
    positions: Sequence[Sequence[float]],
    *,
    modality: str = "MR",
    change: Callable[[int, Dataset], None] | None = None,
    frames: Sequence[np.ndarray] | None = None,
) -> Dataset:
    """An enhanced multi-frame object with a frame at each position, in that order.

    Args:
        change: Called with the number and the functional group item of every frame.
        frames: Stored values; by default `image` of the frame's number.
    """
    ds = common(modality)
    ds.SOPClassUID = EnhancedCTImageStorage if modality == "CT" else EnhancedMRImageStorage
    ds.SOPInstanceUID = derived_uid("enhanced")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.InstanceNumber = 1
    ds.NumberOfFrames = len(positions)
    ds.SharedFunctionalGroupsSequence = [_shared(modality)]
    groups = []
    for number, position in enumerate(positions):
        group = item(
            PlanePositionSequence=[item(ImagePositionPatient=[f"{value:.6f}" for value in position])],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=number + 1, TemporalPositionIndex=1)],
        )
        if change is not None:
            change(number, group)
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    pixels = frames if frames is not None else [image(number) for number in range(len(positions))]
    ds.PixelData = np.stack(pixels).tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _shared(modality: str) -> Dataset:
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=list(SPACING), SliceThickness=5, SpacingBetweenSlices=2.5)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=-1024 if modality == "CT" else 0)],
    )
    if modality == "MR":
        shared.MRTimingAndRelatedParametersSequence = [item(RepetitionTime=9000, FlipAngle=90, EchoTrainLength=16)]
        shared.MREchoSequence = [item(EffectiveEchoTime=120.0)]
    return shared


def compressed(ds: Dataset, frames: Sequence[bytes], path: Path, syntax: UID) -> Path:
    """Write an image with frames that are compressed already."""
    ds.PixelData = encapsulate(list(frames))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return write(ds, path, syntax)


def put(**values: object) -> Callable[[int, Dataset], None]:
    """Give every image these values; None removes one."""

    def change(number: int, ds: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return change


def put_pixels(ds: Dataset, pixels: np.ndarray, **form: int) -> None:
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = form.get("BitsStored", ds.BitsAllocated)
    ds.HighBit = form.get("HighBit", ds.BitsStored - 1)
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
