"""Why a series is not one regular volume: every reason a class, every class with its figures and what to do about it.

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

from dicomio.errors import GeometryRefused


@dataclass(eq=False, kw_only=True)
class NoImages(GeometryRefused):
    """There are no images to load. Send the series again."""


@dataclass(eq=False, kw_only=True)
class NoPixelData(GeometryRefused):
    """{without} of {total} objects of the series hold no image. Send the images, not only what refers to them.

    Attributes:
        without: Number of objects without pixel data.
        total: Number of objects.
    """

    without: int
    total: int


@dataclass(eq=False, kw_only=True)
class UndecodablePixels(GeometryRefused):
    """Image {sop_instance_uid} ({path}) is damaged or cannot be decompressed: {reason}. Send it again, or uncompressed.

    Attributes:
        sop_instance_uid: The image that is at fault, '' if not even that can be read.
        path: Its file.
        reason: What the reader or decoder said.
    """

    sop_instance_uid: str
    path: Path
    reason: str


@dataclass(eq=False, kw_only=True)
class UnsupportedPixels(GeometryRefused):
    """The pixels are not grey values that can be measured: {reason}. Send the original images.

    Attributes:
        reason: What they are instead.
    """

    reason: str


@dataclass(eq=False, kw_only=True)
class UnsupportedMultiframe(GeometryRefused):
    """The frames of a multi-frame image have no place in the patient: {reason}. Send single images.

    Attributes:
        reason: What is missing.
    """

    reason: str


@dataclass(eq=False, kw_only=True)
class MissingTags(GeometryRefused):
    """{without} of {total} images lack {names}: they cannot be placed or measured. Export them from the scanner anew.

    Attributes:
        keywords: DICOM keywords of the attributes that are missing or empty.
        without: Number of images that lack one of them.
        total: Number of images.
    """

    keywords: tuple[str, ...]
    without: int
    total: int

    @property
    def names(self) -> str:
        """The keywords as text."""
        return ", ".join(self.keywords)


@dataclass(eq=False, kw_only=True)
class MixedSeries(GeometryRefused):
    """The images belong to {count} series. Load one series at a time.

    Attributes:
        series_uids: The Series Instance UIDs that were found.
    """

    series_uids: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of series."""
        return len(self.series_uids)


@dataclass(eq=False, kw_only=True)
class LocalizerSeries(GeometryRefused):
    """{localizers} of {total} images are localizers (scouts), which are no volume. Send the diagnostic series.

    Attributes:
        localizers: Number of images whose Image Type says LOCALIZER.
        total: Number of images.
    """

    localizers: int
    total: int


@dataclass(eq=False, kw_only=True)
class TooFewSlices(GeometryRefused):
    """The series has {slices} slice(s), a volume needs {minimum} or more. Send the whole series.

    Attributes:
        slices: Number of slices that came.
        minimum: Number that is needed: with fewer, an irregular distance cannot be noticed.
    """

    slices: int
    minimum: int


@dataclass(eq=False, kw_only=True)
class MixedFrameOfReference(GeometryRefused):
    """The images use {count} coordinate systems (Frame of Reference): the patient was repositioned. Send them apart.

    Attributes:
        frames_of_reference: The Frame of Reference UIDs that were found.
    """

    frames_of_reference: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of frames of reference."""
        return len(self.frames_of_reference)


@dataclass(eq=False, kw_only=True)
class MixedOrientation(GeometryRefused):
    """The images lie in {count} orientations, up to {angle_deg:.1f}° apart. Send each orientation as its own series.

    Attributes:
        orientations: The distinct orientations, six direction cosines each.
        angle_deg: Largest angle between the row, or the column, directions of two images.
    """

    orientations: tuple[tuple[float, ...], ...]
    angle_deg: float

    @property
    def count(self) -> int:
        """Number of orientations."""
        return len(self.orientations)


@dataclass(eq=False, kw_only=True)
class MixedMatrix(GeometryRefused):
    """The images have different sizes: {sizes}. Send each size as its own series.

    Attributes:
        matrices: The distinct (rows, columns, row spacing in mm, column spacing in mm).
    """

    matrices: tuple[tuple[int, int, float, float], ...]

    @property
    def sizes(self) -> str:
        """Up to four of the sizes as text."""
        shown = [f"{rows} × {columns} at {dy:g} × {dx:g} mm" for rows, columns, dy, dx in self.matrices[:4]]
        return ", ".join(shown) + (", ..." if len(self.matrices) > len(shown) else "")


@dataclass(eq=False, kw_only=True)
class InvalidGeometry(GeometryRefused):
    """{keyword} of image {sop_instance_uid} is not possible: {reason}. Export the series anew from the scanner.

    Attributes:
        keyword: DICOM keyword of the attribute.
        sop_instance_uid: The first image with that fault.
        reason: What is wrong with the value.
    """

    keyword: str
    sop_instance_uid: str
    reason: str


@dataclass(eq=False, kw_only=True)
class Tilted(GeometryRefused):
    """The slices are stacked at {angle_deg:.1f}° to their normal (gantry tilt; {source}). Send an untilted reformat.

    Attributes:
        angle_deg: Angle between the direction of the stack and the normal of the slices.
        source: The attribute that says so: ImagePositionPatient or GantryDetectorTilt.
    """

    angle_deg: float
    source: str


@dataclass(eq=False, kw_only=True)
class DuplicatePositions(GeometryRefused):
    """{images} images lie at {positions} position(s) ({varies}). Send one volume as one series.

    Attributes:
        images: Number of images.
        positions: Number of distinct positions.
        varies: What distinguishes the images of one position, such as "several echoes: EchoTime 20, 80".
    """

    images: int
    positions: int
    varies: str


@dataclass(eq=False, kw_only=True)
class ShiftedSlices(GeometryRefused):
    """{slices} slices are shifted sideways by up to {shift_mm:.2f} mm. Reconstruct the series with one centre.

    Attributes:
        slices: Number of slices off the common line of the stack.
        shift_mm: The largest shift in the plane of the slices.
    """

    slices: int
    shift_mm: float


@dataclass(eq=False, kw_only=True)
class MissingSlices(GeometryRefused):
    """{missing} slice(s) are missing: the distance is {spacing_mm:.4g} mm, but {places}. Send the whole series again.

    Attributes:
        missing: Number of slices that would fill the gaps.
        spacing_mm: Distance of the other slices along their normal.
        gaps: For each gap its size in mm and the names of the images (instance number, or UID) on either side.
    """

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
    """The slices are unevenly spaced: {smallest_mm:.4g} to {largest_mm:.4g} mm apart. Reconstruct at one increment.

    Attributes:
        spacings_mm: The distance from each slice to the next, along their normal.
    """

    spacings_mm: tuple[float, ...]

    @property
    def smallest_mm(self) -> float:
        """Smallest distance of two neighbours."""
        return min(self.spacings_mm)

    @property
    def largest_mm(self) -> float:
        """Largest distance of two neighbours."""
        return max(self.spacings_mm)
