"""Stored pixels whose words run the other way round."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from dicomio.volumes.refusals.geometry import TooFewSlices
from dicomio.volumes.refusals.images import UndecodablePixels
from dicomio.volumes.volume import load_volume
from tests.dicomio.support.images import classic, enhanced, write


def eight_bit(ds: Dataset, pixels: np.ndarray, vr: str) -> Dataset:
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = vr
    return ds


def as_big_endian(path: Path, needs: Callable[..., str]) -> Path:
    """By dcmtk, which keeps OW as words."""
    subprocess.run([needs("dcmconv", package="dcmtk"), "+tb", str(path), str(path) + ".be"], check=True)
    return Path(str(path) + ".be")


@pytest.mark.parametrize("vr", ["OW", "OB"])
def test_pixels_of_8_bits_in_big_endian_keep_their_order(tmp_path: Path, needs: Callable[..., str], vr: str) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    ds = eight_bit(classic(0, (0.0, 0.0, 0.0), modality="MR"), pixels, vr)
    path = as_big_endian(write(ds, tmp_path / "a.dcm"), needs)
    np.testing.assert_array_equal(load_volume([path], allow=[TooFewSlices]).array[0], pixels)


def test_frames_of_an_odd_size_share_words_in_big_endian(tmp_path: Path, needs: Callable[..., str]) -> None:
    frames = np.arange(4 * 15, dtype=np.uint8).reshape(4, 3, 5)
    ds = eight_bit(enhanced([(0, 0, height) for height in (0.0, 2.5, 5.0, 7.5)]), frames, "OW")
    path = as_big_endian(write(ds, tmp_path / "a.dcm"), needs)
    np.testing.assert_array_equal(load_volume([path]).array, frames)


def test_pixels_of_32_bits_in_big_endian_have_two_readings_and_are_refused(tmp_path: Path) -> None:
    ds = classic(0, (0.0, 0.0, 0.0), modality="MR")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 32, 32, 31
    ds.PixelData = np.arange(48, dtype=">u4").tobytes()
    path = write(ds, tmp_path / "a.dcm", ExplicitVRBigEndian)
    with pytest.raises(UndecodablePixels, match="two ways"):
        load_volume([path], allow=[TooFewSlices])
