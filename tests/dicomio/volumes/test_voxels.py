"""Rescaling, padding, signs and unused bits: stored values to voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomio.volumes.volume import load_volume
from tests.dicomio.support.images import (
    COLUMNS,
    ROWS,
    image,
    put,
    put_pixels,
    stack,
)

STORED = np.stack([image(number) for number in range(5)]).astype(int)


def test_each_slice_has_its_own_slope_and_intercept(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + number / 4}", number

    volume = load_volume(stack(tmp_path, change=change))
    slopes, intercepts = 0.5 + np.arange(5) / 4, np.arange(5)
    np.testing.assert_allclose(volume.array, STORED * slopes[:, None, None] + intercepts[:, None, None], rtol=1e-6)
    assert volume.array.dtype == np.float32


def test_whole_slopes_stay_whole_numbers(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path, change=put(RescaleSlope=-3, RescaleIntercept=40)))
    np.testing.assert_array_equal(volume.array, 40 - 3 * STORED)
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize("late", [0, 2, 4])
def test_values_beyond_16_bits_make_the_whole_volume_float(tmp_path: Path, late: int) -> None:
    def change(number: int, ds: Dataset) -> None:
        if number == late:
            put_pixels(ds, np.full((ROWS, COLUMNS), 60000, dtype=np.uint16))

    volume = load_volume(stack(tmp_path, change=change))
    expected = STORED - 1024.0
    expected[late] = 60000 - 1024
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.array.dtype == np.float32


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_signed_and_unsigned_of_every_size(tmp_path: Path, dtype: str) -> None:
    limits = np.iinfo(dtype)
    pixels = np.linspace(max(limits.min, -9000), min(limits.max, 9000), ROWS * COLUMNS).astype(dtype)
    volume = load_volume(
        stack(tmp_path, modality="MR", change=lambda _, ds: put_pixels(ds, pixels.reshape(ROWS, COLUMNS)))
    )
    np.testing.assert_array_equal(volume.array[3].ravel(), pixels)
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize("signed", [False, True])
def test_what_unused_bits_hold_is_thrown_away(tmp_path: Path, signed: bool) -> None:
    values = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 40 - (900 if signed else 0)

    def change(number: int, ds: Dataset) -> None:
        overlay = (np.arange(ROWS * COLUMNS) % 2 << 14).reshape(ROWS, COLUMNS)  # as before overlays had their own group
        put_pixels(ds, ((values & 0xFFF) | overlay).astype("i2" if signed else "u2"), BitsStored=12)

    volume = load_volume(stack(tmp_path, modality="MR", change=change))
    np.testing.assert_array_equal(volume.array[0], values)


def test_pixels_in_the_upper_bits_are_shifted_down(tmp_path: Path) -> None:
    pixels = (image(0) << 4).astype(np.uint16)
    paths = stack(tmp_path, modality="MR", change=lambda _, ds: put_pixels(ds, pixels, BitsStored=12, HighBit=15))
    np.testing.assert_array_equal(load_volume(paths).array[0], image(0))


def test_white_is_large_in_mr_whatever_the_photometric_interpretation(tmp_path: Path) -> None:
    inverted = load_volume(stack(tmp_path, modality="MR", change=put(PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(inverted.array, STORED.max() - STORED)


def test_hounsfield_units_are_never_inverted(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path, change=put(PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(volume.array, STORED - 1024)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_ct_padding_becomes_air(tmp_path: Path, vr: str) -> None:
    pixels = image(0).astype(np.int16)
    pixels[0] = -2000

    def change(number: int, ds: Dataset) -> None:
        put_pixels(ds, pixels)
        ds.add_new("PixelPaddingValue", vr, 63536 if vr == "US" else -2000)  # the same two bytes

    volume = load_volume(stack(tmp_path, change=change))
    assert (volume.array[:, 0] == -1024).all()
    np.testing.assert_array_equal(volume.array[2, 1:], image(0).astype(int)[1:] - 1024)
    assert volume.array.dtype == np.int16


def test_a_range_of_padding_values_becomes_air(tmp_path: Path) -> None:
    pixels = image(0).astype(np.int16)
    pixels[0], pixels[1] = -2000, -1990

    def change(number: int, ds: Dataset) -> None:
        put_pixels(ds, pixels)
        ds.add_new("PixelPaddingValue", "SS", -2000)
        ds.add_new("PixelPaddingRangeLimit", "SS", -1990)

    assert (load_volume(stack(tmp_path, change=change)).array[:, :2] == -1024).all()


def test_a_padding_value_that_bodies_have_is_a_mistake(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path, change=lambda _, ds: ds.add_new("PixelPaddingValue", "US", 1024 + 40)))
    np.testing.assert_array_equal(volume.array, STORED - 1024)
