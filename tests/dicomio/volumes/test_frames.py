"""Whatever stands in the headers of a series: it is a volume of finite numbers, or it is refused in words."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomio.errors import BadInput
from dicomio.volumes.volume import load_volume
from tests.dicomio.support.images import stack

TEXTS = [
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "SliceThickness",
    "SpacingBetweenSlices",
    "GantryDetectorTilt",
    "NumberOfFrames",
    "ImageType",
    "PhotometricInterpretation",
    "Modality",
    "FrameOfReferenceUID",
    "InstanceNumber",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "SpecificCharacterSet",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "EchoTime",
    "TriggerTime",
]
NUMBERS = [
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
]

WRITTEN = st.one_of(
    st.sampled_from(
        [
            b"",
            b" ",
            b"0",
            b"-0",
            b"1e300",
            b"-1e300",
            b"1e-300",
            b"nan",
            b"inf",
            b"1,5",
            rb"1\2",
            rb"1e308\1e308\1e308",
            rb"1\0\0\0\1\0",
            rb"nan\nan\nan\nan\nan\nan",
            b"1e38",
            b"99999999999999999999",
            b"\xff\xfe",
            b"a" * 70,
        ]
    ),
    st.floats().map(lambda value: repr(value).encode()),
    st.lists(st.floats(-1e6, 1e6), max_size=7).map(lambda values: "\\".join(f"{value:g}" for value in values).encode()),
    st.binary(max_size=12),
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(TEXTS), WRITTEN),
        st.tuples(st.sampled_from(NUMBERS), st.integers(0, 65535).map(lambda value: value.to_bytes(2, "little"))),
        st.tuples(st.sampled_from(NUMBERS), st.binary(max_size=5)),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("modality", ["CT", "MR"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, only=st.sampled_from([None, 0, 2]))
def test_a_series_is_a_volume_or_is_refused(
    tmp_path: Path, modality: str, changes: list[tuple[str, bytes]], only: int | None
) -> None:
    def change(number: int, ds: Dataset) -> None:
        for keyword, value in changes if only in (None, number) else ():
            tag = Tag(keyword)
            vr = dictionary_VR(tag).split(" or ")[0]
            ds._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            paths = stack(tmp_path, 4, modality=modality, change=change)
        except Exception:  # pydicom cannot write it: no such file can be made this way
            return
        try:
            volume = load_volume(paths)
        except BadInput:
            return
    assert np.isfinite(volume.array).all()
    assert np.isfinite(volume.affine).all()
    assert 0 < volume.voxel_ml < 100
