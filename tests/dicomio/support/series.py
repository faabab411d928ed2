"""Small series to send, and waiting for what another thread or process does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from dicomio.files.file_meta import read_file_meta
from dicomio.results.uids import derived_uid

NODELAY = os.environ | {"TCP_NODELAY": "1"}


def ct_image(
    number: int = 1, *, size: int = 16, series: str = "series", syntax: UID = ExplicitVRLittleEndian
) -> Dataset:
    """A CT image; its pixels and UIDs follow from `series` and `number`."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, derived_uid(series, str(number))
    image.StudyInstanceUID, image.SeriesInstanceUID = derived_uid("study"), derived_uid(series)
    image.PatientName, image.PatientID, image.Modality = "Never^Logged", "P1", "CT"
    image.StudyDate, image.StudyTime, image.AccessionNumber, image.ReferringPhysicianName = "20260101", "", "", ""
    image.PatientBirthDate = image.PatientSex = image.StudyID = ""
    image.SeriesNumber, image.InstanceNumber = 1, number
    image.Rows = image.Columns = size
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation, image.SamplesPerPixel, image.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    pixels = np.random.default_rng(number).integers(0, 4096, size * size, dtype=np.uint16)
    image.PixelData = pixels.astype(">u2" if not syntax.is_little_endian else "<u2").tobytes()
    return image


def write_series(folder: Path, count: int, *, size: int = 16, series: str = "series") -> list[Path]:
    """A series of `count` files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.dcm" for number in range(1, count + 1)]
    for number, path in enumerate(paths, start=1):
        ct_image(number, size=size, series=series).save_as(path, enforce_file_format=True)
    return paths


def data_set(path: Path) -> bytes:
    """The bytes after the file meta information."""
    return path.read_bytes()[read_file_meta(path).offset :]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
