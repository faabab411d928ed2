"""Data sets that are encoded otherwise than their file says: read as they are, or refused with the right words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from dicomio.errors import NotDicom
from dicomio.files.file_meta import LENGTH_OF_4_BYTES, encode_file_meta, read_file_meta
from dicomio.files.part10 import parse
from dicomio.volumes.refusals.geometry import TooFewSlices
from dicomio.volumes.refusals.images import UndecodablePixels
from dicomio.volumes.volume import load_volume
from tests.dicomio.support.images import classic, image, stack, write

IMPLICIT_BIG_ENDIAN = "1.2.840.113619.5.2"


def relabelled(path: Path, syntax: str) -> Path:
    """The same data set under another transfer syntax."""
    head = read_file_meta(path)
    data = path.read_bytes()[head.offset :]
    named = {"sop_class_uid": head.sop_class_uid, "sop_instance_uid": head.sop_instance_uid}
    path.write_bytes(encode_file_meta(transfer_syntax_uid=syntax, **named) + data)
    return path


@pytest.mark.filterwarnings("ignore:Expected implicit VR:UserWarning")
def test_explicit_vr_labelled_implicit_is_read_as_it_is(tmp_path: Path) -> None:
    paths = [relabelled(path, ImplicitVRLittleEndian) for path in stack(tmp_path)]
    volume = load_volume(paths)
    np.testing.assert_array_equal(volume.array, [image(number).astype(int) - 1024 for number in range(5)])


@pytest.mark.filterwarnings("ignore:Expected implicit VR:UserWarning")
def test_a_small_frame_before_many_bytes_is_not_read_four_bytes_off(tmp_path: Path) -> None:
    ds = classic(3, (0.0, 0.0, 0.0))
    ds.add_new(0xFFFCFFFC, "OB", bytes(200_000))  # what follows the pixels; makes a wrong length seem possible
    path = relabelled(write(ds, tmp_path / "a.dcm"), ImplicitVRLittleEndian)
    assert parse(path).pixels.length == image(3).nbytes
    np.testing.assert_array_equal(load_volume([path], allow=[TooFewSlices]).array[0], image(3).astype(int) - 1024)


@pytest.mark.filterwarnings("ignore:Expected explicit VR:UserWarning")
def test_implicit_vr_labelled_explicit_is_read_as_it_is(tmp_path: Path) -> None:
    paths = [relabelled(path, ExplicitVRLittleEndian) for path in stack(tmp_path, syntax=ImplicitVRLittleEndian)]
    np.testing.assert_array_equal(load_volume(paths).array[4], image(4).astype(int) - 1024)


def implicit_big_endian(path: Path) -> Path:
    """A data set as GE wrote it: Implicit VR, its elements, numbers and words in big endian."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
    body = b""
    for element in ds:
        value = str(element.value).encode()
        value += b"\0" * (len(value) % 2)
        body += element.tag.group.to_bytes(2, "big") + element.tag.element.to_bytes(2, "big")
        body += len(value).to_bytes(4, "big") + value
    named = {"sop_class_uid": ds.SOPClassUID, "sop_instance_uid": ds.SOPInstanceUID}
    path.write_bytes(encode_file_meta(transfer_syntax_uid=IMPLICIT_BIG_ENDIAN, **named) + body)
    return path


def test_implicit_big_endian_is_called_by_its_name(tmp_path: Path) -> None:
    path = implicit_big_endian(tmp_path / "ge.dcm")
    with pytest.raises(NotDicom, match="Implicit VR Big Endian"):
        parse(path)
    with pytest.raises(UndecodablePixels, match="Implicit VR Big Endian"):
        load_volume([path])


@pytest.mark.parametrize(
    ("written", "labelled", "words"),
    [
        (ExplicitVRBigEndian, ExplicitVRLittleEndian, "is in Explicit VR Big Endian"),
        (ExplicitVRBigEndian, ImplicitVRLittleEndian, "is in Explicit VR Big Endian"),
        (ExplicitVRLittleEndian, ExplicitVRBigEndian, "is in little endian"),
    ],
)
def test_a_wrong_byte_order_is_said(tmp_path: Path, written: str, labelled: str, words: str) -> None:
    (path,) = stack(tmp_path, 1, syntax=written)
    with pytest.raises(NotDicom, match=words):
        parse(relabelled(path, labelled))


def test_lengths_of_four_bytes_are_those_that_pydicom_knows() -> None:
    assert {vr.decode() for vr in LENGTH_OF_4_BYTES} == {str(vr) for vr in EXPLICIT_VR_LENGTH_32}
