"""Why a series is not one regular volume: one class per reason, with its figures and what to do.

    GeometryRefused
    ├── NoImages                nothing to load
    ├── NoPixelData             objects without an image
    ├── UndecodablePixels       one image is damaged, or compressed in a way that we cannot read
    ├── UnsupportedPixels       colour, one bit, floating point, ...
    ├── UnsupportedMultiframe   frames without a place in the patient
    ├── MissingTags
    ├── MixedSeries             files of several series
    ├── LocalizerSeries
    ├── TooFewSlices
    ├── MixedFrameOfReference
    ├── MixedOrientation
    ├── MixedMatrix             rows, columns or pixel spacing differ
    ├── InvalidGeometry         direction cosines or spacings that are none
    ├── Tilted
    ├── DuplicatePositions
    ├── ShiftedSlices
    ├── MissingSlices
    └── UnevenSpacing

Who reads the messages has the scanner's console before him: they say what is wrong, how much, and what to do.
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


@dataclass(eq=False, kw_only=True)
class LocalizerSeries(GeometryRefused):
    """A series with localizers (scouts).

    Attributes:
        localizers: Number of images whose Image Type says LOCALIZER.
        total: Number of images.
    """

    message: ClassVar[str] = (
        "{localizers} of {total} images are localizers (scouts), which do not form a volume. "
        "Send the diagnostic series."
    )

    localizers: int
    total: int


@dataclass(eq=False, kw_only=True)
class TooFewSlices(GeometryRefused):
    """A series with so few slices that a gap could not be noticed.

    Attributes:
        slices: Number of slices that came.
        minimum: Number that is needed: with fewer, an irregular distance cannot be noticed.
    """

    message: ClassVar[str] = (
        "The series has {slices} slice(s); a volume needs at least {minimum}. Send the whole series."
    )

    slices: int
    minimum: int


@dataclass(eq=False, kw_only=True)
class MixedFrameOfReference(GeometryRefused):
    """Images in more than one coordinate system.

    Attributes:
        frames_of_reference: The Frame of Reference UIDs that were found.
    """

    message: ClassVar[str] = (
        "The images use {count} coordinate systems (Frame of Reference): the patient was repositioned. "
        "Send each as its own series."
    )

    frames_of_reference: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of frames of reference."""
        return len(self.frames_of_reference)


@dataclass(eq=False, kw_only=True)
class MixedOrientation(GeometryRefused):
    """Images that are not parallel.

    Attributes:
        orientations: The distinct orientations, six direction cosines each.
        angle_deg: Largest angle between the row, or the column, directions of two images.
    """

    message: ClassVar[str] = (
        "The images lie in {count} orientations, up to {angle_deg:.1f}° apart. Send each orientation as its own series."
    )

    orientations: tuple[tuple[float, ...], ...]
    angle_deg: float

    @property
    def count(self) -> int:
        """Number of orientations."""
        return len(self.orientations)


@dataclass(eq=False, kw_only=True)
class MixedMatrix(GeometryRefused):
    """Images that differ in rows, columns or pixel spacing.

    Attributes:
        matrices: The distinct (rows, columns, row spacing in mm, column spacing in mm).
    """

    message: ClassVar[str] = "The images have different sizes: {sizes}. Send each size as its own series."

    matrices: tuple[tuple[int, int, float, float], ...]

    @property
    def sizes(self) -> str:
        """Up to four of the sizes as text."""
        shown = [f"{rows} × {columns} at {dy:g} × {dx:g} mm" for rows, columns, dy, dx in self.matrices[:4]]
        return ", ".join(shown) + (", ..." if len(self.matrices) > len(shown) else "")


@dataclass(eq=False, kw_only=True)
class InvalidGeometry(GeometryRefused):
    """An image with direction cosines or spacings that cannot be.

    Attributes:
        keyword: DICOM keyword of the attribute.
        sop_instance_uid: The first image with that fault.
        reason: What is wrong with the value.
    """

    message: ClassVar[str] = (
        "{keyword} of image {sop_instance_uid} is invalid: {reason}. Export the series again from the scanner."
    )

    keyword: str
    sop_instance_uid: str
    reason: str


@dataclass(eq=False, kw_only=True)
class Tilted(GeometryRefused):
    """Slices that are not stacked along their normal.

    Attributes:
        angle_deg: Angle between the direction of the stack and the normal of the slices.
        source: The attribute that says so: ImagePositionPatient or GantryDetectorTilt.
    """

    message: ClassVar[str] = (
        "The slices are tilted by {angle_deg:.1f}° (gantry tilt, from {source}). Send a reformat without tilt."
    )

    angle_deg: float
    source: str


@dataclass(eq=False, kw_only=True)
class DuplicatePositions(GeometryRefused):
    """A series with more than one image at a position.

    Attributes:
        images: Number of images.
        positions: Number of distinct positions.
        varies: What distinguishes the images of one position, such as "several echoes: EchoTime 20, 80".
    """

    message: ClassVar[str] = (
        "{images} images share {positions} position(s) ({varies}). Send each volume as its own series."
    )

    images: int
    positions: int
    varies: str


@dataclass(eq=False, kw_only=True)
class ShiftedSlices(GeometryRefused):
    """Slices off the common line of the stack.

    Attributes:
        slices: Number of slices off the common line of the stack.
        shift_mm: The largest shift in the plane of the slices.
    """

    message: ClassVar[str] = (
        "{slices} slices are shifted sideways by up to {shift_mm:.2f} mm. Reconstruct the series with one centre."
    )

    slices: int
    shift_mm: float


@dataclass(eq=False, kw_only=True)
class MissingSlices(GeometryRefused):
    """A series with gaps as wide as one or more slices.

    Attributes:
        missing: Number of slices that would fill the gaps.
        spacing_mm: Distance of the other slices along their normal.
        gaps: For each gap its size in mm and the names of the images (instance number, or UID) on either side.
    """

    message: ClassVar[str] = (
        "{missing} slice(s) are missing: the slices are {spacing_mm:.4g} mm apart, but {places}. "
        "Send the whole series again."
    )

    missing: int
    spacing_mm: float
    gaps: tuple[tuple[float, str, str], ...]

    @property
    def places(self) -> str:
        """Up to three of the gaps as text."""
        shown = [f"{size:.4g} mm between images {before} and {after}" for size, before, after in self.gaps[:3]]
        return ", ".join(shown) + (", ..." if len(self.gaps) > len(shown) else "")


@dataclass(eq=False, kw_only=True)
class UnevenSpacing(GeometryRefused):
    """Slices at varying distances that no missing slice explains.

    Attributes:
        spacings_mm: The distance from each slice to the next, along their normal.
    """

    message: ClassVar[str] = (
        "The slices are unevenly spaced: {smallest_mm:.4g} to {largest_mm:.4g} mm apart. "
        "Reconstruct with a constant increment."
    )

    spacings_mm: tuple[float, ...]

    @property
    def smallest_mm(self) -> float:
        """Smallest distance of two neighbours."""
        return min(self.spacings_mm)

    @property
    def largest_mm(self) -> float:
        """Largest distance of two neighbours."""
        return max(self.spacings_mm)
