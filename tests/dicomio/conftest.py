"""Source series of every kind that results are made from, real scans, and the outside judges of what we write."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
)

from dicomio.results.attributes import Algorithm, ResultUIDs, write_result
from dicomio.results.codes import ABNORMAL_STRUCTURE, ANATOMICAL_STRUCTURE, LIVER, NEOPLASM
from dicomio.results.segmentation.encoder import SegmentSpec, encode_segmentation
from dicomio.results.uids import derived_uid
from dicomio.volumes.volume import SourceImage, Volume

AXIAL = np.array([[0, 0, 0.75, -20.5], [0, 0.8, 0, -31.25], [2.5, 0, 0, 100.0], [0, 0, 0, 1]])


def rotation(degrees: float) -> np.ndarray:
    """An affine of an oblique series with the spacing of `AXIAL`."""
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = AXIAL.copy()
    affine[:3, :3] = turn @ AXIAL[:3, :3]
    return affine


@pytest.fixture
def oblique() -> np.ndarray:
    return rotation(17.3)


@pytest.fixture
def make_series(tmp_path: Path) -> Callable[..., tuple[Volume, Dataset]]:
    """`make_series(shape=..., affine=..., PatientName=..., ...)` writes a classic CT series; None leaves a tag out."""

    def make(
        shape: tuple[int, int, int] = (9, 40, 32), affine: np.ndarray = AXIAL, **tags: Any
    ) -> tuple[Volume, Dataset]:
        folder = tmp_path / f"series{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
        sources = tuple(_write_slice(folder, array, affine, index, tags) for index in range(shape[0]))
        header = pydicom.dcmread(sources[0].path, stop_before_pixels=True)
        return _volume(array, affine, header, sources), header

    return make


def _volume(array: np.ndarray, affine: np.ndarray, header: Dataset, sources: tuple[SourceImage, ...]) -> Volume:
    return Volume(
        array=array,
        affine=affine,
        frame_of_reference_uid=str(header.FrameOfReferenceUID),
        modality=str(header.Modality),
        series_instance_uid=str(header.SeriesInstanceUID),
        sources=sources,
    )


def _write_slice(folder: Path, array: np.ndarray, affine: np.ndarray, index: int, tags: dict[str, Any]) -> SourceImage:
    dataset = _patient_and_study()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, derived_uid("slice", str(index))
    dataset.Modality, dataset.InstanceNumber = "CT", index + 1
    _put_plane(dataset, affine, index)
    _put_pixels(dataset, array[index])
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    path = folder / f"{index:04}.dcm"
    _write(dataset, path)
    return SourceImage(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), path, None)


def _patient_and_study() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "4711", "19700101"
    dataset.PatientSex = "F"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = derived_uid("study"), derived_uid("series")
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = derived_uid("frame of reference"), ""
    dataset.AccessionNumber, dataset.StudyID, dataset.SeriesNumber = "A-17", "S1", 3
    dataset.StudyDate, dataset.StudyTime = "20260301", "101500"
    dataset.ContentDate, dataset.ContentTime = "20260301", "102030.5"
    dataset.StudyDescription, dataset.ReferringPhysicianName = "Abdomen", "Roe^Richard"
    return dataset


def _put_plane(dataset: Dataset, affine: np.ndarray, index: int) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    dataset.ImagePositionPatient = _ds(affine[:3, 3] + index * affine[:3, 0])
    dataset.ImageOrientationPatient = _ds([*affine[:3, 2] / spacing[2], *affine[:3, 1] / spacing[1]])
    dataset.PixelSpacing, dataset.SliceThickness = _ds([spacing[1], spacing[2]]), "3.2"


def _ds(values: Any) -> list[str]:
    return [f"{value:.9g}" for value in values]


def _put_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.PixelData = pixels.tobytes()


def _write(dataset: Dataset, path: Path) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def make_enhanced(tmp_path: Path) -> Callable[..., tuple[Volume, Dataset]]:
    """`make_enhanced()` writes one multi-frame MR whose frames lie upside down, every other one of another echo."""

    def make(shape: tuple[int, int, int] = (6, 40, 32), affine: np.ndarray = AXIAL) -> tuple[Volume, Dataset]:
        array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
        dataset = _patient_and_study()
        dataset.SOPClassUID, dataset.SOPInstanceUID = EnhancedMRImageStorage, derived_uid("enhanced")
        dataset.Modality, dataset.InstanceNumber, dataset.NumberOfFrames = "MR", 1, 2 * shape[0]
        _put_pixels(dataset, np.repeat(array[::-1], 2, axis=0))
        plane = Dataset()
        _put_plane(plane, affine, 0)
        dataset.SharedFunctionalGroupsSequence = [
            _group(plane, "PixelMeasuresSequence", "PixelSpacing", "SliceThickness")
        ]
        dataset.PerFrameFunctionalGroupsSequence = [
            _frame(affine, index) for index in reversed(range(shape[0])) for _ in range(2)
        ]
        path = tmp_path / "enhanced.dcm"
        _write(dataset, path)
        uids = (str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
        sources = tuple(SourceImage(*uids, path, 2 * (shape[0] - index)) for index in range(shape[0]))
        return _volume(array, affine, dataset, sources), pydicom.dcmread(path, stop_before_pixels=True)

    return make


def _frame(affine: np.ndarray, index: int) -> Dataset:
    plane = Dataset()
    _put_plane(plane, affine, index)
    frame = _group(plane, "PlanePositionSequence", "ImagePositionPatient")
    frame.update(_group(plane, "PlaneOrientationSequence", "ImageOrientationPatient"))
    return frame


def _group(plane: Dataset, sequence: str, *keywords: str) -> Dataset:
    item, group = Dataset(), Dataset()
    for keyword in keywords:
        setattr(item, keyword, plane[keyword].value)
    setattr(group, sequence, [item])
    return group


@pytest.fixture
def conforms(needs: Callable[..., str]) -> Callable[[Path], None]:
    """`conforms(path)` fails with what dciodvfy calls an error."""
    program = needs("dciodvfy", package="dicom3tools")

    def check(path: Path) -> None:
        run = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
        lines = (run.stdout + run.stderr).splitlines()
        assert [line for line in lines if line.startswith(("Error", "Abort"))] == []
        assert lines, "dciodvfy said nothing at all"

    return check


@pytest.fixture
def blobs() -> Callable[[tuple[int, int, int]], dict[int, np.ndarray]]:
    """`blobs(shape)`: an organ with a gap between its slices, a lesion inside it and one voxel in the last corner."""

    def make(shape: tuple[int, int, int]) -> dict[int, np.ndarray]:
        slices, rows, columns = shape
        organ, lesion, voxel = (np.zeros(shape, dtype=bool) for _ in range(3))
        organ[1:-2, rows // 4 : rows - 3, 2 : columns // 2] = True
        organ[slices // 2] = False
        lesion[2, rows // 2 : rows // 2 + 3, 3:6] = True
        voxel[-1, -1, -1] = True
        return {1: organ, 2: lesion, 3: voxel}

    return make


@pytest.fixture
def encode() -> Callable[..., Dataset]:
    """`encode(masks, volume, header, ...)`: a segmentation with everything but the masks chosen already."""

    def make(masks: Mapping[int, Any], volume: Volume, header: Dataset | None = None, **options: Any) -> Dataset:
        return encode_segmentation(
            masks,
            [segment(number) for number in masks],
            volume,
            Algorithm("abdomen-net", "1.2.0", parameters=("threshold=0.5",)),
            **{
                "uids": ResultUIDs(derived_uid("seg series"), derived_uid("seg")),
                "series_number": 9001,
                "series_description": "Scanward segmentation",
                "created": datetime(2026, 11, 20, 8, 15, 30),
                "header": header,
                **options,
            },
        )

    return make


@pytest.fixture
def case(make_series: Callable[..., Any], blobs: Callable[..., Any]) -> Callable[..., tuple[Volume, Dataset, Any]]:
    """`case(shape=..., PatientName=..., ...)`: a CT series, its first header, and masks to encode on it."""

    def make(shape: tuple[int, int, int] = (9, 40, 32), **options: Any) -> tuple[Volume, Dataset, Any]:
        return *make_series(shape, **options), blobs(shape)

    return make


@pytest.fixture
def encode_file(encode: Callable[..., Dataset], tmp_path: Path) -> Callable[..., Path]:
    """As `encode`, but the segmentation is written to a file."""

    def make(*arguments: Any, **options: Any) -> Path:
        write_result(encode(*arguments, **options), tmp_path / "seg.dcm")
        return tmp_path / "seg.dcm"

    return make


def segment(number: int) -> SegmentSpec:
    """Description of a segment: 1 is the liver, the others are lesions in it."""
    organ = number == 1
    return SegmentSpec(
        number=number,
        label="Liver" if organ else f"Lesion {number - 1}",
        category=ANATOMICAL_STRUCTURE if organ else ABNORMAL_STRUCTURE,
        type=LIVER if organ else NEOPLASM,
        colour=(0, 160, 80) if organ else (255, 60, 0),
        tracking_id="Liver" if organ else f"Lesion {number - 1}",
        tracking_uid=derived_uid("tracking", str(number)),
        anatomic_region=None if organ else LIVER,
    )
