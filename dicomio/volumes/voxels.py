"""Rescales the frames of a series into one array, in as little memory as the values allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dicomio.volumes.frames import Frame
from dicomio.volumes.pixels import PixelError
from dicomio.volumes.refusals.images import UndecodablePixels, UnsupportedPixels

AIR_HU = -1024  # what CT padding becomes: just below the air of any calibrated scanner
TISSUE_HU = range(-900, 3072)  # a "padding value" among these is a mistake in the header: bodies have such values
_INT16 = np.iinfo(np.int16)


def load_voxels(frames: Sequence[Frame]) -> np.ndarray:
    """Read, decode and rescale all frames.

    Values are `stored * slope + intercept` with each frame's own slope and intercept (PS3.3 C.11.1.1.2); the private
    scale of Philips is not applied. CT padding becomes AIR_HU. Grey values of other modalities whose smallest value is
    white (MONOCHROME1) are turned over as a whole, between their own minimum and maximum; Hounsfield units never are.

    Args:
        frames: In the order of the slices, all of the same size.

    Returns:
        (slices, rows, columns), int16 where all values are whole numbers that fit, else float32.

    Raises:
        UndecodablePixels: With the image that is at fault.
        UnsupportedPixels: A slope or intercept that cannot be meant, or two kinds of grey in one series.
    """
    _check(frames)
    whole = all(frame.slope.is_integer() and frame.intercept.is_integer() for frame in frames)
    shape = (len(frames), *frames[0].pixels.encoded.shape)
    array = np.empty(shape, dtype=np.int16 if whole else np.float32)
    array = _fill(array, frames)
    if frames[0].inverted and frames[0].modality != "CT":
        _invert(array)
    return array


def _check(frames: Sequence[Frame]) -> None:
    reason = ""
    if odd := next((frame for frame in frames if not _plausible(frame)), None):
        reason = f"RescaleSlope is {odd.slope:g}, RescaleIntercept {odd.intercept:g}"
    elif len({frame.inverted for frame in frames}) > 1:
        reason = "some images are MONOCHROME1, others MONOCHROME2"
    if reason:
        raise UnsupportedPixels(series_uid=frames[0].series_uid, reason=reason)


def _plausible(frame: Frame) -> bool:
    """Whether slope and intercept are plausible; Hounsfield units end at some thousands."""
    if frame.modality == "CT":
        return 0 < abs(frame.slope) <= 100 and abs(frame.intercept) <= 1e5
    return 1e-15 < abs(frame.slope) < 1e12 and abs(frame.intercept) < 1e12


def _fill(array: np.ndarray, frames: Sequence[Frame]) -> np.ndarray:
    """Fill the array slice by slice, each file opened once; moves to float32 when a slice does not fit 16 bits."""
    done: list[int] = []
    for slots in _by_file(frames):
        reading = frames[slots[0]].pixels.read([frames[slot].index for slot in slots])
        for slot in slots:
            stored = _next(reading, frames[slot])
            if not _rescale(stored, frames[slot], array[slot]):
                wider = np.empty(array.shape, dtype=np.float32)
                wider[done] = array[done]
                array = wider
                _rescale(stored, frames[slot], array[slot])
            done.append(slot)
    return array


def _by_file(frames: Sequence[Frame]) -> list[list[int]]:
    """Slots of the array grouped by file, within a file in the order of its frames."""
    files: dict[int, list[int]] = {}
    for slot, frame in enumerate(frames):
        files.setdefault(id(frame.pixels), []).append(slot)
    return [sorted(slots, key=lambda slot: frames[slot].index) for slots in files.values()]


def _next(reading: Iterator[np.ndarray], frame: Frame) -> np.ndarray:
    try:
        return next(reading)
    except PixelError as error:
        raise UndecodablePixels(
            series_uid=frame.series_uid,
            sop_instance_uid=frame.sop_instance_uid,
            path=frame.pixels.path,
            reason=str(error),
        ) from error


def _rescale(stored: np.ndarray, frame: Frame, out: np.ndarray) -> bool:
    """Write the values of one slice to `out`, int16 or float32; False, with nothing written, if int16 is too narrow."""
    padding = _padding_mask(stored, frame)
    if out.dtype == np.int16:
        kept = stored if padding is None else stored[~padding]
        if not _fits(kept, int(frame.slope), int(frame.intercept)):
            return False
        _rescale_whole(stored, int(frame.slope), int(frame.intercept), out)
    else:
        out[...] = stored * np.float64(frame.slope) + frame.intercept
    if padding is not None:
        out[padding] = AIR_HU
    return True


def _fits(stored: np.ndarray, slope: int, intercept: int) -> bool:
    if stored.size == 0:
        return True
    ends = sorted((int(stored.min()) * slope + intercept, int(stored.max()) * slope + intercept))
    return bool(_INT16.min <= ends[0] and ends[1] <= _INT16.max)


def _rescale_whole(stored: np.ndarray, slope: int, intercept: int, out: np.ndarray) -> None:
    """The result fits 16 bits, so arithmetic modulo 2**16 gives it exactly, whatever the steps on the way give."""
    factor, summand = np.array([slope, intercept], dtype=np.int64).astype(np.int16)
    narrow = stored.view(np.int16) if stored.dtype.itemsize == 2 else stored.astype(np.int16)
    if factor == 1:
        np.add(narrow, summand, out=out)
    else:
        np.multiply(narrow, factor, out=out)
        out += summand


def _padding_mask(stored: np.ndarray, frame: Frame) -> np.ndarray | None:
    """(rows, columns) bool: CT pixels outside of the reconstruction; None if there are none."""
    if frame.padding is None or frame.modality != "CT":
        return None
    first, last = frame.padding
    if any(round(end * frame.slope + frame.intercept) in TISSUE_HU for end in (first, last)):
        return None
    mask: np.ndarray = (stored >= first) & (stored <= last)
    return mask if mask.any() else None


def _invert(array: np.ndarray) -> None:
    """Exchange large and small values, in place."""
    total = array.min().item() + array.max().item()
    for image in array:
        image[...] = total - image.astype(np.int32 if array.dtype == np.int16 else np.float64)
