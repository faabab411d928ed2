"""Reads deflated data sets (PS3.5, A.5) as a stream, up to a limit.

Two megabytes can inflate to two gigabytes. Reading a header takes the first kilobytes and the length of the rest, and
pixels are read once, from front to back. So only a window of the contents is in memory.
"""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from dicomio.errors import TooLarge

LARGEST_INFLATED = 2 << 30
"""Bytes that a deflated data set may inflate to unless the configuration says otherwise (`limits.inflated`)."""

LARGEST_HEADER = 128 << 20
"""Bytes before the pixels, which are held in memory as a whole."""

_WINDOW = 4 << 20  # behind the reading position, for readers that look twice
_PIECE = 1 << 20


class Inflated(io.RawIOBase):
    """The contents of a deflated data set as a stream; goes back a little, and forward without bound but the limit.

    Args:
        path: For the errors.
        file: Stands at the first deflated byte. Closed with this stream.
        largest: Bytes of contents beyond which it is refused.
    """

    def __init__(self, path: Path, file: BinaryIO, largest: int) -> None:
        super().__init__()
        self._path, self._file, self._largest = path, file, largest
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._window = bytearray()
        self._start = 0  # of the window in the contents
        self._at = 0
        self._read = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes, though not far back."""
        return True

    def tell(self) -> int:
        """Position in the contents."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of a file. The end is found by inflating everything, a piece at a time.

        Raises:
            TooLarge: The contents go beyond the limit.
            zlib.error: They are cut off or damaged.
            ValueError: So far back is nothing left.
        """
        if whence == os.SEEK_END:
            while self._inflate():
                self._forget(self._start + len(self._window))
            target = self._start + len(self._window) + offset
        else:
            target = offset + (self._at if whence == os.SEEK_CUR else 0)
        if target < self._start:
            raise ValueError("a deflated data set is read from front to back")
        self._at = target
        return target

    def read(self, size: int = -1) -> bytes:
        """As of a file; in all no more than LARGEST_HEADER bytes, for what is read so stays in memory."""
        found = bytearray()
        while size < 0 or len(found) < size:
            piece = self._next(_PIECE if size < 0 else min(_PIECE, size - len(found)))
            if not piece:
                break
            found += piece
            self._read += len(piece)
            if self._read > LARGEST_HEADER:
                raise TooLarge(path=self._path, what="the header inflates", limit=LARGEST_HEADER)
        return bytes(found)

    def readinto(self, buffer: Any) -> int:
        """As of a file, filling the buffer if there is enough."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (piece := self._next(min(_PIECE, len(view) - filled))):
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def close(self) -> None:
        """Closes the file too."""
        self._file.close()
        super().close()

    def _next(self, size: int) -> bytes:
        while self._start + len(self._window) < self._at + size and self._inflate():
            self._forget(self._at)
        begin = self._at - self._start
        piece = bytes(self._window[begin : begin + size])
        self._at += len(piece)
        return piece

    def _inflate(self) -> bool:
        """Adds a piece to the window; False at the end."""
        if self._inflater.eof:
            return False
        packed = self._inflater.unconsumed_tail or self._file.read(_PIECE)
        piece = self._inflater.decompress(packed, _PIECE)
        if not piece and not packed and not self._inflater.eof:
            raise zlib.error("the deflated data set is cut off")  # pydicom takes an EOFError for the end
        self._window += piece
        if self._start + len(self._window) > self._largest:
            raise TooLarge(path=self._path, what="its data set inflates", limit=self._largest)
        return True

    def _forget(self, at: int) -> None:
        """Lets go of what lies far behind a position."""
        excess = min(at, self._start + len(self._window)) - _WINDOW - self._start
        if excess > _WINDOW:
            del self._window[:excess]
            self._start += excess
