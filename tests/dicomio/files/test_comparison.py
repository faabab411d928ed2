from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicomio.files.comparison import is_same_image
from tests.dicomio.support.series import ct_image


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an image with sequences and private elements in a transfer syntax."""

    def make(name: str, syntax: str, change: Callable[[Dataset], None] = lambda dataset: None) -> Path:
        dataset = ct_image()
        dataset.SmallestImagePixelValue = 3
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "one"
        dataset.ProcedureCodeSequence = [item]
        dataset.private_block(0x0099, "SCANWARD TEST", create=True).add_new(0x01, "LO", "private")
        dataset.PatientName, dataset.SpecificCharacterSet = "Müller^Ä", "ISO_IR 100"
        change(dataset)
        path = tmp_path / name
        if syntax == RLELossless:
            dataset.compress(RLELossless, generate_instance_uid=False)
            dataset.save_as(path, enforce_file_format=True)
            return path
        dataset.file_meta.TransferSyntaxUID = syntax
        big = syntax == ExplicitVRBigEndian
        if big:  # pydicom writes words of pixels as they are
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
        implicit = syntax == ImplicitVRLittleEndian
        pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=not big, enforce_file_format=True)
        return path

    return make


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_one_image_in_two_encodings(write: Callable[..., Path], syntax: str) -> None:
    first, second = write("first", ImplicitVRLittleEndian), write("second", syntax)
    assert first.read_bytes() != second.read_bytes()
    assert is_same_image(first, second)
    assert is_same_image(second, first)


def pixel(dataset: Dataset) -> None:
    dataset.PixelData = b"\x01" + dataset.PixelData[1:]


def value(dataset: Dataset) -> None:
    dataset.PatientName = "Müller^B"


def inner(dataset: Dataset) -> None:
    dataset.ProcedureCodeSequence[0].CodeMeaning = "two"


def private(dataset: Dataset) -> None:
    dataset[0x0099, 0x1001].value = "other"


def more(dataset: Dataset) -> None:
    dataset.StudyDescription = "more"


@pytest.mark.parametrize("change", [pixel, value, inner, private, more])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_what_differs_is_not_one_image(
    write: Callable[..., Path], syntax: str, change: Callable[[Dataset], None]
) -> None:
    assert not is_same_image(write("first", ImplicitVRLittleEndian), write("second", syntax, change))


def test_what_cannot_be_read_is_not_known_to_be_equal(write: Callable[..., Path], tmp_path: Path) -> None:
    first = write("first", ImplicitVRLittleEndian)
    (tmp_path / "half").write_bytes(first.read_bytes()[:-10])
    for other in (tmp_path / "half", tmp_path / "nothing"):
        assert not is_same_image(first, other)
