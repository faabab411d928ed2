from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from dicomio.files.file_meta import PREAMBLE, read_file_meta
from dicomio.files.without_file_meta import BEGINNING, missing_file_meta


@pytest.fixture
def small() -> Path:
    return Path(str(get_testdata_file("CT_small.dcm", download=False)))


FILES = ["MR_small_implicit.dcm", "MR_small.dcm", "MR_small_bigendian.dcm"]


def bare(path: Path) -> bytes:
    return path.read_bytes()[read_file_meta(path).offset :]


@pytest.mark.parametrize("name", FILES)
def test_a_bare_data_set_gets_a_head_that_tells_the_truth(tmp_path: Path, name: str) -> None:
    source = Path(str(get_testdata_file(name, download=False)))
    head = missing_file_meta(bare(source)[:BEGINNING])
    assert head is not None
    (tmp_path / "b.dcm").write_bytes(head + bare(source))
    dataset, original = pydicom.dcmread(tmp_path / "b.dcm"), pydicom.dcmread(source)
    assert dataset.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert dataset.file_meta.MediaStorageSOPInstanceUID == original.SOPInstanceUID
    assert dataset.file_meta.MediaStorageSOPClassUID == original.SOPClassUID
    assert dataset == original


def test_a_whole_file_lacks_nothing(small: Path) -> None:
    assert missing_file_meta(small.read_bytes()[:BEGINNING]) == b""


def test_a_file_that_lacks_its_preamble(small: Path) -> None:
    assert missing_file_meta(small.read_bytes()[132:][:BEGINNING]) == PREAMBLE


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
def test_a_data_set_that_does_not_tell_what_it_is(small: Path, keyword: str) -> None:
    value = str(pydicom.dcmread(small)[keyword].value).encode()
    data = bare(small)
    assert missing_file_meta(data[:BEGINNING]) is not None
    assert missing_file_meta(data.replace(value, b"x" * len(value))[:BEGINNING]) is None


@pytest.mark.parametrize(
    "data", [b"", b"\x08\x00", b"text " * 100, b"\x08\x00\x16\x00" * 50, b"PK\x03\x04" + bytes(500), os.urandom(4096)]
)
def test_what_is_something_else(data: bytes) -> None:
    assert missing_file_meta(data) is None


@given(st.binary(max_size=200), st.sampled_from([b"\x08\x00", b"\x00\x08", b"\x08\x00\x16\x00UI", b"\x02\x00"]))
def test_arbitrary_bytes_do_no_harm(data: bytes, start: bytes) -> None:
    assert missing_file_meta(start + data) in {None, PREAMBLE}
