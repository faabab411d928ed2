"""The geometry gate: sorts slices, and refuses a series that is not one regular volume.

The tolerances tell the rounding of decimal text from a real fault:

- Positions are DS text. Good scanners write six digits or more; old ones round to 0.1 mm, so that a slice may lie
  0.05 mm from its place, and the fitted grid a little beside its own.
- Direction cosines are written with 3 to 14 digits, the same on all slices.
- Some systems recompute pixel spacings: 0.48828125 and 0.4882812 are the same pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from dicomio.errors import GeometryRefused
from dicomio.volumes.geometry import Placement, Stack
from dicomio.volumes.refusals.geometry import (
    DuplicatePositions,
    InvalidGeometry,
    LocalizerSeries,
    MissingSlices,
    MixedFrameOfReference,
    MixedMatrix,
    MixedOrientation,
    ShiftedSlices,
    Tilted,
    TooFewSlices,
    UnevenSpacing,
)
from dicomio.volumes.refusals.images import NoImages

MINIMUM_SLICES = 3  # with two there is one distance, and nothing to compare it with
COSINE_TOLERANCE = 0.01  # of the length and right angle of the direction cosines: two decimals, and nothing worse
ORIENTATION_TOLERANCE_DEG = 0.1  # 0.2 mm at the edge of a head, 0.4 mm at that of an abdomen
SPACING_TOLERANCE = 5e-4  # relative: a quarter of a pixel over 512 columns
SAME_POSITION_MM = 0.01  # slices are never this close on purpose
JITTER_MM = 0.1  # twice the rounding error of one decimal
JITTER_SHARE = 0.2  # but of thin slices never more than a fifth of their distance
JITTER_THICK = 0.01  # and of thick ones at least one per cent
TILT_TOLERANCE_DEG = 0.5  # rounding makes a tenth of it, gantries tilt in steps of it; below, the affine carries it
SMALLEST_MM = 0.01  # the finest pixels of any scanner of people are ten times that
LARGEST_PIXEL_MM = 20.0  # twice the coarsest
WIDEST_STEP_MM = 50.0  # more than the widest gap between slices that anybody plans
LARGEST_FIELD_MM = 2500.0  # longer than anybody, with room at both ends
LARGEST_VOLUME_L = 2000.0  # eighty centimetres square and three metres long: more than any bore
FARTHEST_MM = 1e5  # a hundred metres: no scanner is that large, the text is damaged
FEW_GAPS = 0.25  # when more of the distances are multiples, they are meant so: two increments, not lost images

# What may tell images at one position apart, most telling first.
VARYING = {
    "EchoTime": "several echoes",
    "DiffusionBValue": "several diffusion weightings",
    "TemporalPositionIdentifier": "several time points",
    "TriggerTime": "several heart phases",
    "InversionTime": "several inversion times",
    "ImageType": "several kinds of image",
    "ConvolutionKernel": "several kernels",
    "SliceThickness": "several slice thicknesses",
    "AcquisitionNumber": "several acquisitions",
    "StackID": "several stacks",
    "AcquisitionTime": "several acquisition times",
    "ContentTime": "several times",
    "InstanceNumber": "several images",
}


@dataclass(frozen=True, eq=False)
class SortedSlices:
    """Images in order along their normal, and where the resulting array lies.

    Attributes:
        order: For each slice of the array the index of its image.
        affine: (4, 4) float64, array index (slice, row, column, 1) -> LPS mm.
    """

    order: tuple[int, ...]
    affine: np.ndarray


def sort_slices(
    places: Sequence[Placement], series_uid: str, *, allow: Collection[type[GeometryRefused]] = ()
) -> SortedSlices:
    """Order images along their common normal, and refuse what is not one regular stack.

    Args:
        places: One per image, in any order.
        series_uid: For the errors.
        allow: TooFewSlices and LocalizerSeries may be allowed; the others leave no affine to speak of.

    Raises:
        GeometryRefused: One of its subclasses, with what else is wrong in `besides`.
        ValueError: A refusal is to be allowed that cannot be.
    """
    if forbidden := [kind.__name__ for kind in allow if kind not in (TooFewSlices, LocalizerSeries)]:
        raise ValueError(f"cannot be allowed: {', '.join(forbidden)}")
    if not places:
        raise NoImages(series_uid=series_uid)
    stack = Stack(places)
    for check in _ONE_BY_ONE:
        fault = check(stack, series_uid)
        if fault is not None and type(fault) not in allow:
            raise fault
    faults = [fault for check in _TOGETHER if (fault := check(stack, series_uid)) is not None]
    if faults:
        faults[0].besides = tuple(faults[1:])
        raise faults[0]
    return SortedSlices(tuple(int(index) for index in stack.order), stack.affine())


def _localizers(stack: Stack, series_uid: str) -> GeometryRefused | None:
    localizers = sum("LOCALIZER" in place.image_type for place in stack.places)
    return LocalizerSeries(series_uid=series_uid, localizers=localizers, total=len(stack)) if localizers else None


def _few(stack: Stack, series_uid: str) -> GeometryRefused | None:
    if len(stack) >= MINIMUM_SLICES:
        return None
    return TooFewSlices(series_uid=series_uid, slices=len(stack), minimum=MINIMUM_SLICES)


def _frames_of_reference(stack: Stack, series_uid: str) -> GeometryRefused | None:
    found = sorted({place.frame_of_reference_uid for place in stack.places})
    return MixedFrameOfReference(series_uid=series_uid, frames_of_reference=tuple(found)) if len(found) > 1 else None


def _invalid(stack: Stack, series_uid: str) -> GeometryRefused | None:
    rows, columns = stack.orientations[:, :3], stack.orientations[:, 3:]
    lengths = np.stack([np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=1)])
    skewed = np.abs(lengths - 1).max(axis=0) > COSINE_TOLERANCE
    skewed |= np.abs((rows * columns).sum(axis=1)) > COSINE_TOLERANCE
    flat = np.array(
        [min(place.spacing) < SMALLEST_MM or max(place.spacing) > LARGEST_PIXEL_MM for place in stack.places]
    )
    far = np.abs(stack.positions).max(axis=1) > FARTHEST_MM
    for wrong, keyword, reason in (
        (skewed, "ImageOrientationPatient", "the direction cosines are not two unit vectors at a right angle"),
        (flat, "PixelSpacing", f"no scanner has such pixels (below {SMALLEST_MM:g} or above {LARGEST_PIXEL_MM:g} mm)"),
        (far, "ImagePositionPatient", "it lies outside of any scanner"),
    ):
        if wrong.any():
            uid = stack.places[int(wrong.argmax())].sop_instance_uid
            return InvalidGeometry(series_uid=series_uid, keyword=keyword, sop_instance_uid=uid, reason=reason)
    return None


def _orientations(stack: Stack, series_uid: str) -> GeometryRefused | None:
    distinct: list[int] = []
    left = np.arange(len(stack))
    largest = 0.0
    while left.size:
        distinct.append(int(left[0]))
        angles = _angles(stack.orientations[left], stack.orientations[left[0]])
        largest = max(largest, float(angles.max()))
        left = left[angles > ORIENTATION_TOLERANCE_DEG]
    if len(distinct) == 1:
        return None
    orientations = tuple(stack.places[index].orientation for index in distinct)
    return MixedOrientation(series_uid=series_uid, orientations=orientations, angle_deg=largest)


def _angles(orientations: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(n,) the larger of the angles between row directions and between column directions, in degrees."""
    chords = [np.linalg.norm(orientations[:, part] - reference[part], axis=1) for part in (slice(3), slice(3, 6))]
    angles: np.ndarray = np.degrees(2 * np.arcsin(np.clip(np.max(chords, axis=0) / 2, 0, 1)))
    return angles


def _matrices(stack: Stack, series_uid: str) -> GeometryRefused | None:
    distinct: list[tuple[int, int, float, float]] = []
    for shape, spacing in dict.fromkeys((place.shape, place.spacing) for place in stack.places):
        known = (other for other in distinct if other[:2] == shape)
        if not any(np.allclose(other[2:], spacing, rtol=SPACING_TOLERANCE, atol=0) for other in known):
            distinct.append((*shape, *spacing))
    return MixedMatrix(series_uid=series_uid, matrices=tuple(distinct)) if len(distinct) > 1 else None


def _duplicates(stack: Stack, series_uid: str) -> GeometryRefused | None:
    same = stack.steps <= SAME_POSITION_MM
    if not same.any():
        return None
    start = int(same.argmax())
    stop = start + 1
    while stop < len(same) and same[stop]:
        stop += 1
    varies = _difference(stack.in_order[start : stop + 1])
    positions = len(stack) - int(same.sum())
    return DuplicatePositions(series_uid=series_uid, images=len(stack), positions=positions, varies=varies)


def _difference(places: Sequence[Placement]) -> str:
    """How these images at one position differ, in words."""
    if len({(place.sop_instance_uid, place.name) for place in places}) < len(places):
        return "versions of the same image"
    if np.ptp([place.position for place in places], axis=0).max() > SAME_POSITION_MM:
        return "images side by side in one plane"
    for keyword, words in VARYING.items():
        values = list(dict.fromkeys(place.varying.get(keyword, "") for place in places))
        if len(values) > 1:
            return f"{words}: {keyword} {', '.join(values[:4])}{', ...' if len(values) > 4 else ''}"
    return "nothing in their headers tells them apart"


def _sizes(stack: Stack, series_uid: str) -> GeometryRefused | None:
    """What no body and no scanner is as large as: spacings in another unit, or positions of two stations."""
    step = float(np.median(stack.steps)) if len(stack) > 1 else 0.0
    place = stack.in_order[0]
    rows, columns = (count * spacing for count, spacing in zip(place.shape, place.spacing, strict=True))
    length = float(stack.distances[-1] - stack.distances[0]) + step
    litres = rows * columns * length / 1e6
    for wrong, keyword, reason in (
        (step > WIDEST_STEP_MM, "ImagePositionPatient", f"the slices lie {step:.4g} mm apart"),
        (max(rows, columns) > LARGEST_FIELD_MM, "PixelSpacing", f"the field of view is {rows:.4g} × {columns:.4g} mm"),
        (length > LARGEST_FIELD_MM, "ImagePositionPatient", f"the stack is {length:.4g} mm long"),
        (litres > LARGEST_VOLUME_L, "PixelSpacing", f"the volume is {litres:.4g} litres"),
    ):
        if wrong:
            uid = place.sop_instance_uid
            return InvalidGeometry(series_uid=series_uid, keyword=keyword, sop_instance_uid=uid, reason=reason)
    return None


def _shift_or_tilt(stack: Stack, series_uid: str) -> GeometryRefused | None:
    off = stack.shifts > JITTER_MM
    if off.any():
        return ShiftedSlices(series_uid=series_uid, slices=int(off.sum()), shift_mm=float(stack.shifts.max()))
    angle = math.degrees(math.atan(float(np.linalg.norm(stack.drift))))
    if angle > TILT_TOLERANCE_DEG:
        return Tilted(series_uid=series_uid, angle_deg=angle, source="ImagePositionPatient")
    return _hidden_tilt(stack, series_uid)


def _hidden_tilt(stack: Stack, series_uid: str) -> GeometryRefused | None:
    """A tilt that the gantry had and the positions do not show: the orientation was written as if there were none.

    The slices of a tilted gantry are tilted themselves; where the orientation shows that, and the stack follows the
    normal, the patient table was moved to suit. A derived series (a reformat) only remembers the tilt of its source.
    """
    tilt = max((abs(place.tilt_deg) for place in stack.places if "DERIVED" not in place.image_type), default=0.0)
    shown = math.degrees(math.acos(min(1.0, abs(float(stack.directions[0][2])))))
    if tilt <= TILT_TOLERANCE_DEG or abs(shown - tilt) <= 2 * TILT_TOLERANCE_DEG:
        return None
    return Tilted(series_uid=series_uid, angle_deg=tilt, source="GantryDetectorTilt")


def _gaps(stack: Stack, series_uid: str) -> GeometryRefused | None:
    if len(stack) < MINIMUM_SLICES:
        return None
    spacing = float(np.median(stack.steps))
    deviation = np.abs(stack.distances - stack.fitted_distances()).max()
    if deviation <= jitter_mm(spacing):
        return None
    multiples = np.rint(stack.steps / spacing)
    fits = np.abs(stack.steps - multiples * spacing) <= 2 * jitter_mm(spacing)
    wide = np.flatnonzero(multiples > 1)
    if fits.all() and multiples.min() >= 1 and 0 < len(wide) <= max(1, FEW_GAPS * len(multiples)):
        return _missing(stack, series_uid, spacing, wide, int((multiples - 1).sum()))
    return UnevenSpacing(series_uid=series_uid, spacings_mm=tuple(float(step) for step in stack.steps))


def _missing(stack: Stack, series_uid: str, spacing: float, wide: np.ndarray, missing: int) -> MissingSlices:
    names = [place.name for place in stack.in_order]
    gaps = tuple((float(stack.steps[at]), names[at], names[at + 1]) for at in wide)
    return MissingSlices(series_uid=series_uid, missing=missing, spacing_mm=spacing, gaps=gaps)


def jitter_mm(spacing: float) -> float:
    """How far a slice may lie from its place in a stack of this spacing, in mm, before the stack counts as uneven."""
    return max(min(JITTER_MM, JITTER_SHARE * spacing), JITTER_THICK * spacing)


Check = Callable[[Stack, str], GeometryRefused | None]
# Each of these leaves nothing for the next ones to work on ...
_ONE_BY_ONE: tuple[Check, ...] = (
    _localizers,
    _few,
    _frames_of_reference,
    _invalid,
    _orientations,
    _matrices,
    _duplicates,
    _sizes,
)
# ... and these may well come together.
_TOGETHER: tuple[Check, ...] = (_shift_or_tilt, _gaps)
