"""Refusals because images are missing, unreadable, or of more than one series.

    GeometryRefused
    ├── NoImages                nothing to load
    ├── NoPixelData             objects without an image
    ├── UndecodablePixels       one image is damaged, or compressed in a way that we cannot read
    ├── UnsupportedPixels       colour, one bit, floating point, ...
    ├── UnsupportedMultiframe   frames without a place in the patient
    ├── MissingTags
    └── MixedSeries             files of several series

What the slices' geometry is refused for is in `dicomio.volumes.refusals.geometry`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dicomio.errors import GeometryRefused


@dataclass(eq=False, kw_only=True)
class NoImages(GeometryRefused):
    """A series without a file to load."""

    message: ClassVar[str] = "There are no images to load. Send the series again."


@dataclass(eq=False, kw_only=True)
class NoPixelData(GeometryRefused):
    """A series with objects that hold no image, such as reports.

    Attributes:
        without: Number of objects without pixel data.
        total: Number of objects.
    """

    message: ClassVar[str] = "{without} of {total} objects in the series contain no image. Send the images themselves."

    without: int
    total: int


@dataclass(eq=False, kw_only=True)
class UndecodablePixels(GeometryRefused):
    """An image that is damaged, or compressed in a way that we cannot read.

    Attributes:
        sop_instance_uid: The image that is at fault, '' if not even that can be read.
        path: Its file.
        reason: What the reader or decoder said.
    """

    message: ClassVar[str] = (
        "Image {sop_instance_uid} ({path}) is damaged or cannot be decompressed: {reason}. "
        "Send it again, or uncompressed."
    )

    sop_instance_uid: str
    path: Path
    reason: str


@dataclass(eq=False, kw_only=True)
class UnsupportedPixels(GeometryRefused):
    """Images whose pixels are colours, single bits, floats, or anything but grey values.

    Attributes:
        reason: What they are instead.
    """

    message: ClassVar[str] = "The pixels are not greyscale values: {reason}. Send the original images."

    reason: str


@dataclass(eq=False, kw_only=True)
class UnsupportedMultiframe(GeometryRefused):
    """A multi-frame image whose frames have no position or orientation.

    Attributes:
        reason: What is missing.
    """

    message: ClassVar[str] = (
        "The frames of a multi-frame image have no position or orientation: {reason}. Send single-frame images."
    )

    reason: str


@dataclass(eq=False, kw_only=True)
class MissingTags(GeometryRefused):
    """Images without an attribute that places them or scales their pixels.

    Attributes:
        keywords: DICOM keywords of the attributes that are missing or empty.
        without: Number of images that lack one of them.
        total: Number of images.
    """

    message: ClassVar[str] = (
        "{without} of {total} images lack {names}, so they cannot be placed in space or measured. "
        "Export them again from the scanner."
    )

    keywords: tuple[str, ...]
    without: int
    total: int

    @property
    def names(self) -> str:
        """The keywords as text."""
        return ", ".join(self.keywords)


@dataclass(eq=False, kw_only=True)
class MixedSeries(GeometryRefused):
    """Files of more than one series.

    Attributes:
        series_uids: The Series Instance UIDs that were found.
    """

    message: ClassVar[str] = "The images belong to {count} series. Load one series at a time."

    series_uids: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of series."""
        return len(self.series_uids)
