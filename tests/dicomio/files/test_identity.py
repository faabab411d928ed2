"""What a damaged file still says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomio.files.identity import Identity, identity_of
from dicomio.results.uids import derived_uid
from tests.dicomio.support.images import SERIES, classic, item, write

STUDY = derived_uid("study")


def referring(number: int) -> Dataset:
    """An image that names other studies and series before and after its own."""
    ds = classic(number, (1.5, -2, 30))
    other = item(SeriesInstanceUID="1.9.9", StudyInstanceUID="1.9.8", ReferencedSOPInstanceUID="1.9.7")
    ds.ReferencedSeriesSequence = [other]
    ds.RequestAttributesSequence = [item(StudyInstanceUID="1.9.6")]
    return ds


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.name,
)
def test_every_encoding_tells_whose_it_is(tmp_path: Path, syntax: UID) -> None:
    path = write(referring(4), tmp_path / "x.dcm", syntax, source_ae="CT1")
    path.write_bytes(path.read_bytes()[:-60])
    assert identity_of(path) == Identity(
        study_uid=STUDY,
        series_uid=SERIES,
        sop_uid=derived_uid("image", "4"),
        number="996",
        position=(1.5, -2.0, 30.0),
        source_ae="CT1",
    )


def test_a_header_without_a_study_still_has_a_series(tmp_path: Path) -> None:
    ds = classic(4, (0, 0, 0))
    del ds.StudyInstanceUID
    found = identity_of(write(ds, tmp_path / "x.dcm"))
    assert (found.study_uid, found.series_uid, found.sop_uid) == ("", SERIES, derived_uid("image", "4"))


def test_a_file_cut_within_its_header_has_the_image_of_its_file_meta(tmp_path: Path) -> None:
    path = write(classic(4, (0, 0, 0)), tmp_path / "x.dcm")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x08\x00\x18\x00UI")])
    assert identity_of(path) == Identity(sop_uid=derived_uid("image", "4"))


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(5000), b"x" * 140, b"\x20\x00\x0d\x00UI\xff\xff" * 9])
def test_what_is_no_image_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert identity_of(tmp_path / "x") == Identity()
