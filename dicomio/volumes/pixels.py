"""Stored pixels of one file: checks that they are complete, and reads them frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, count
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import uid
from pydicom.encaps import generate_frames

from dicomio.files.part10 import PixelElement, open_values
from dicomio.volumes.decoders import COMPRESSED, UNCOMPRESSED, Encoded, decode, with_sign


class PixelError(Exception):
    """The pixels of a file cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """The pixels of one file, grey, with one or more frames.

    Attributes:
        path: The file.
        element: Where in it they are.
        inflated: Whether `element.offset` counts in the inflated file.
        encoded: Form of a frame.
        high_bit: Position of the highest bit that counts; bits_stored - 1 but in very old archives.
        frames: Number of frames.
    """

    path: Path
    element: PixelElement
    inflated: bool
    encoded: Encoded
    high_bit: int
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Size of an uncompressed frame."""
        rows, columns = self.encoded.shape
        return rows * columns * self.encoded.bits_allocated // 8

    def check(self) -> None:
        """Make sure, without reading them, that the pixels can be decoded and are all there.

        Raises:
            PixelError: The transfer syntax is not supported, or there are fewer bytes than the header announces.
        """
        syntax = self.encoded.transfer_syntax
        if self.element.length is None:
            if syntax in UNCOMPRESSED:
                raise PixelError(f"the pixels are compressed, though the file says {uid.UID(syntax).name}")
            if syntax not in COMPRESSED:
                raise PixelError(f"the compression {uid.UID(syntax).name} is not supported")
            return
        if syntax not in UNCOMPRESSED:
            raise PixelError(f"the pixels are not compressed as {uid.UID(syntax).name} says")
        if self.frames * self.frame_bytes > self.element.length:
            announced = f"{self.frames} frame(s) of {self.encoded.shape[0]} × {self.encoded.shape[1]}"
            raise PixelError(
                f"{announced} need {self.frames * self.frame_bytes} bytes, there are {self.element.length}"
            )
        if self._in_big_endian_words and self.encoded.bits_allocated > 16:
            raise PixelError(
                "pixels of 32 bits in Explicit VR Big Endian are written in two ways, and do not say which"
            )

    @property
    def _in_big_endian_words(self) -> bool:
        """OW is words of 16 bits whatever a pixel has (PS3.5, 6.2): the first of two 8-bit pixels is the low half."""
        return self.encoded.transfer_syntax == uid.ExplicitVRBigEndian and self.element.vr == "OW"

    def read(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Frames by their 0-based index, which must ascend.

        Yields:
            (rows, columns) stored values, native byte order, signed as the header says; overwritten by the next one.

        Raises:
            PixelError: A frame is missing or cannot be decoded.
            OSError: The disk failed.
        """
        with open_values(self.path, inflated=self.inflated) as stream:
            if self.element.length is None:
                yield from self._decompressed(stream, wanted)
            else:
                yield from self._uncompressed(stream, wanted)

    def _uncompressed(self, stream: BinaryIO, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        buffer = bytearray(self.frame_bytes)
        big = self.encoded.transfer_syntax == uid.ExplicitVRBigEndian
        swapped = self._in_big_endian_words and self.encoded.bits_allocated == 8
        kind = f"{'>' if big else '<'}{'i' if self.encoded.signed else 'u'}{self.encoded.bits_allocated // 8}"
        frame = np.frombuffer(buffer, dtype=kind).reshape(self.encoded.shape)
        for index in wanted:
            stream.seek(self.element.offset + index * self.frame_bytes)
            if swapped:
                buffer[:] = self._swapped(stream, index * self.frame_bytes)
            elif stream.readinto(buffer) < self.frame_bytes:  # type: ignore[attr-defined]
                raise PixelError("the file became shorter while it was read")
            yield self._without_unused_bits(frame.astype(frame.dtype.newbyteorder("="), copy=False))

    def _swapped(self, stream: BinaryIO, start: int) -> bytes:
        """The bytes of a frame out of the words that hold them; with an odd size a word may hold two frames' pixels."""
        first, end = start & ~1, (start + self.frame_bytes + 1) & ~1
        stream.seek(self.element.offset + first)
        words = stream.read(end - first)
        if len(words) < end - first:
            raise PixelError("the file became shorter while it was read")
        return np.frombuffer(words, np.uint16).byteswap().tobytes()[start - first :][: self.frame_bytes]

    def _decompressed(self, stream: BinaryIO, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        stream.seek(self.element.offset)
        chosen = set(wanted)
        frames = generate_frames(stream, number_of_frames=self.frames)
        found = 0
        try:
            for encoded in compress(frames, (index in chosen for index in count())):
                yield self._without_unused_bits(decode(encoded, self.encoded))
                found += 1
        except (ValueError, RuntimeError, EOFError) as error:
            raise PixelError(f"{uid.UID(self.encoded.transfer_syntax).name}: {error}") from error
        if found < len(wanted):
            raise PixelError(f"{found} of {len(wanted)} frames are there")

    def _without_unused_bits(self, frame: np.ndarray) -> np.ndarray:
        """The frame without the contents of unused bits, such as old overlays or a copied sign."""
        bits = self.encoded.bits_stored
        if self.high_bit >= bits and not self.high_bit >= 8 * frame.dtype.itemsize:
            frame = frame >> (self.high_bit - bits + 1)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if self.encoded.signed else (0, (1 << bits) - 1)
        if frame.size and (int(frame.min()) < low or int(frame.max()) > high):
            frame = with_sign(frame, bits, signed=self.encoded.signed)
        return frame
