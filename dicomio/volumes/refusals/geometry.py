"""Refusals because the slices are not one regular volume.

    GeometryRefused
    ├── LocalizerSeries
    ├── TooFewSlices
    ├── MixedFrameOfReference
    ├── MixedOrientation
    ├── MixedMatrix             rows, columns or pixel spacing differ
    ├── InvalidGeometry         impossible direction cosines or spacings
    ├── Tilted
    ├── DuplicatePositions
    ├── ShiftedSlices
    ├── MissingSlices
    └── UnevenSpacing

What single images are refused for is in `dicomio.volumes.refusals.images`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dicomio.errors import GeometryRefused


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
