"""Turns whatever goes wrong while a header is parsed into UnreadableHeader, with the file and, if known, the element.

A header is bytes from anywhere. What pydicom or we trip over in one (AttributeError, NotImplementedError, struct.error,
RecursionError, ...) is the file's fault: that file goes to quarantine with the reason, and takes nothing else with it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomio.errors import DicomError, UnreadableHeader

_BY_CONTENTS = frozenset({None, errno.EINVAL, errno.EOVERFLOW})
"""What an OSError says when a place in the file was asked for that no file has; the disk says other things."""
_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),\s?([0-9A-Fa-f]{4})\)")


class DamagedElement(Exception):  # noqa: N818 - named by what it is; `parse_errors_of` makes the error of it
    """An element holds what it cannot hold.

    Args:
        tag: Which.
        reason: What is wrong with it; never its value.
    """

    def __init__(self, tag: int, reason: str) -> None:
        super().__init__(reason)
        self.tag = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@contextmanager
def parse_errors_of(path: Path) -> Iterator[None]:
    """What goes wrong inside is the fault of this file.

    Raises:
        UnreadableHeader: For anything but our own errors and those of the disk, which pass.
    """
    try:
        yield
    except DamagedElement as error:
        raise UnreadableHeader(path=path, reason=str(error), tag=error.tag) from error
    except DicomError:
        raise
    except OSError as error:
        if error.errno not in _BY_CONTENTS:
            raise
        raise _unreadable(path, error) from error
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UnreadableHeader:
    """Of the text of a foreign error only a tag is used: the rest may hold values."""
    found = _TAG.search(str(error))
    tag = f"({found[1]},{found[2]})".upper() if found else ""
    return UnreadableHeader(path=path, reason=f"it is not valid DICOM ({type(error).__name__})", tag=tag)
