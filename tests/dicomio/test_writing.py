"""Files come out byte for byte as pydicom writes them, whatever stands in them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SegmentationStorage

from dicomio.writing import save
from tests.dicomio.making import item

DATA = Path(pydicom.data.__file__).parent
SAMPLES = (
    "test_files/CT_small.dcm",
    "test_files/ExplVR_LitEndNoMeta.dcm",
    "test_files/UN_sequence.dcm",
    "test_files/liver_1frame.dcm",
    "test_files/nested_priv_SQ.dcm",
    "test_files/priv_SQ.dcm",
    "test_files/reportsi.dcm",
    "test_files/rtplan.dcm",
    "test_files/rtstruct.dcm",
    "charset_files/chrFrenMulti.dcm",
    "charset_files/chrH31.dcm",
    "charset_files/chrSQEncoding.dcm",
    "charset_files/chrX2.dcm",
)
"""Of each kind that pydicom brings: images, plans, a report, character sets, private and nested sequences."""


def both(dataset: Dataset) -> tuple[bytes, bytes]:
    """The file by pydicom, and ours."""
    theirs, ours = io.BytesIO(), io.BytesIO()
    dataset.save_as(theirs, enforce_file_format=True)
    save(dataset, ours)
    return theirs.getvalue(), ours.getvalue()


def of(elements: Dataset, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """A file around some elements."""
    elements.SOPClassUID, elements.SOPInstanceUID = SegmentationStorage, "1.2.3"
    elements.file_meta = FileMetaDataset()
    elements.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    elements.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    elements.file_meta.TransferSyntaxUID = syntax
    return elements


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.filterwarnings("ignore")  # what pydicom finds wrong with its own samples
def test_real_files_are_written_as_pydicom_writes_them(name: str) -> None:
    read = pydicom.dcmread(DATA / name, force=True)
    fresh = Dataset({tag: read[tag] for tag in list(read.keys())})  # converted: as if made from nothing
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        setattr(fresh, keyword, read.get(keyword, "1.2.3"))
    fresh.file_meta = of(Dataset()).file_meta
    theirs, ours = both(fresh)
    assert ours == theirs


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", ""),
        ("PatientID", "odd"),
        ("PatientID", None),
        ("ImageType", ["DERIVED", "PRIMARY"]),
        ("ImageType", []),
        ("SeriesDescription", "Größe"),
        ("PatientName", "Müller^Jörg"),
        ("SOPInstanceUID", "1.2.34"),
        ("PixelSpacing", [0.5, "0.50"]),
        ("SliceThickness", "3.0"),
        ("SliceThickness", 3),
        ("SliceThickness", ""),
        ("ImagePositionPatient", ["-100.0", "1e-3", 7]),
        ("ImagePositionPatient", []),
        ("InstanceNumber", 12),
        ("InstanceNumber", None),
        ("ReferencedFrameNumber", [1, 2, 30]),
        ("Rows", 65535),
        ("Rows", None),
        ("DimensionIndexValues", [1, 70000]),
        ("DimensionIndexValues", []),
        ("RecommendedDisplayCIELabValue", [1, 2, 65535]),
        ("PixelPaddingValue", 0),
        ("SmallestImagePixelValue", 7),
        ("DimensionIndexPointer", 0x00209128),
        ("ImageComments", "long text\\with a backslash"),
        ("ContentDate", "20260101"),
        ("EncapsulatedDocument", b"abc"),
        ("EncapsulatedDocument", b""),
        ("RealWorldValueSlope", 0.25),
        ("SourceImageSequence", []),
        ("RetrieveURI", "urn:x"),
        ("TextValue", "x" * 70001),
    ],
)
@pytest.mark.filterwarnings("ignore:.*value length")
def test_any_element_at_any_depth(keyword: str, value: Any) -> None:
    inner = Dataset()
    setattr(inner, keyword, value)
    top = Dataset()
    top.SpecificCharacterSet = "ISO_IR 192"
    top.PixelRepresentation = 1
    top.SharedFunctionalGroupsSequence = [item(PlanePositionSequence=[inner, item()]), item()]
    if keyword not in ("SOPInstanceUID",):
        setattr(top, keyword, value)
    theirs, ours = both(of(top))
    assert ours == theirs


def test_sequences_with_delimiters_keep_them() -> None:
    undefined = Sequence([item(ReferencedSOPInstanceUID="1.2")])
    top = Dataset()
    top.add(DataElement("SourceImageSequence", "SQ", undefined, is_undefined_length=True))
    loose = item(ReferencedSOPInstanceUID="1.2.3")
    loose.is_undefined_length_sequence_item = True
    top.ReferencedSeriesSequence = [loose]
    theirs, ours = both(of(top))
    assert ours == theirs


def test_private_elements_and_pixels() -> None:
    top = Dataset()
    block = top.private_block(0x0009, "SCANWARD TEST", create=True)
    block.add_new(0x01, "LO", "x")
    block.add_new(0x02, "UN", b"\1\2\3\4")
    block.add_new(0x03, "SQ", [item(PatientID="1")])
    top.Rows = top.Columns = 3
    top.BitsAllocated, top.PixelRepresentation = 16, 0
    top.PixelData = np.arange(9, dtype="<u2").tobytes()
    top["PixelData"].VR = "OW"
    theirs, ours = both(of(top))
    assert ours == theirs
    assert pydicom.dcmread(io.BytesIO(ours)).PixelData == top.PixelData


def test_another_transfer_syntax_is_left_to_pydicom() -> None:
    top = of(item(PatientID="1", SourceImageSequence=[item(PatientID="2")]), ImplicitVRLittleEndian)
    theirs, ours = both(top)
    assert ours == theirs
