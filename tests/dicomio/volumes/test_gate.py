"""The geometry gate on plain numbers: any orientation, any order, and every fault."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomio.errors import BadInput, GeometryRefused
from dicomio.volumes.gate import jitter_mm, sort_slices
from dicomio.volumes.geometry import Placement
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

SERIES = "1.2.3"


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    (sa, sb, sc), (ca, cb, cc) = np.sin(angles), np.cos(angles)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def places(
    count: int = 6,
    *,
    turn: np.ndarray | None = None,
    step: float = 2.5,
    origin: tuple[float, float, float] = (-10, -20, 30),
    spacing: tuple[float, float] = (0.8, 0.7),
    digits: int | None = None,
) -> list[Placement]:
    """A regular stack along the normal; with `digits`, its numbers are rounded as a scanner's text would be."""
    turn = np.eye(3) if turn is None else turn
    columns_grow, rows_grow, normal = turn[:, 0], turn[:, 1], turn[:, 2]
    orientation = np.concatenate([columns_grow, rows_grow])
    positions = [np.array(origin) + number * step * normal for number in range(count)]
    if digits is not None:
        orientation = np.round(orientation, digits + 2)
        positions = [np.round(position, digits) for position in positions]
    return [
        Placement(
            name=str(number + 1),
            sop_instance_uid=f"1.2.3.{number}",
            frame_of_reference_uid="1.2",
            position=tuple(position.tolist()),
            orientation=tuple(orientation.tolist()),
            spacing=spacing,
            shape=(6, 8),
            varying={"InstanceNumber": str(number + 1)},
        )
        for number, position in enumerate(positions)
    ]


def moved(place: Placement, *by: float) -> Placement:
    return replace(place, position=tuple(np.add(place.position, by).tolist()))


angles = st.tuples(*[st.floats(-3.1, 3.1)] * 3)


@given(
    turn=angles.map(rotation), step=st.floats(0.3, 12), seed=st.integers(0, 1000), digits=st.sampled_from([None, 6, 3])
)
def test_the_affine_leads_back_to_every_pixel_in_any_orientation(
    turn: np.ndarray, step: float, seed: int, digits: int | None
) -> None:
    stack = places(turn=turn, step=step, digits=digits)
    shuffled = [stack[index] for index in np.random.default_rng(seed).permutation(len(stack))]
    arrangement = sort_slices(shuffled, SERIES)
    ordered = [shuffled[index] for index in arrangement.order]
    assert [place.name for place in ordered] == ["1", "2", "3", "4", "5", "6"]
    for number, row, column in [(0, 0, 0), (5, 0, 0), (2, 5, 0), (3, 0, 7), (5, 5, 7)]:
        # PS3.3 C.7.6.2.1.1: the row's direction times the distance of columns, and the other way round
        expected = (
            np.array([-10, -20, 30]) + number * step * turn[:, 2] + column * 0.7 * turn[:, 0] + row * 0.8 * turn[:, 1]
        )
        found = arrangement.affine @ [number, row, column, 1]
        np.testing.assert_allclose(found[:3], expected, atol=1e-9 if digits is None else 3 * 10.0**-digits)


@given(turn=angles.map(rotation), step=st.floats(0.5, 12))
def test_positions_rounded_to_a_tenth_of_a_millimetre_are_no_fault(turn: np.ndarray, step: float) -> None:
    stack = places(40, turn=turn, step=step)
    rounded = [replace(place, position=tuple(np.round(place.position, 1).tolist())) for place in stack]
    arrangement = sort_slices(rounded, SERIES)
    np.testing.assert_allclose(arrangement.affine @ [39, 0, 0, 1], [*stack[39].position, 1], atol=0.1)


@given(turn=angles.map(rotation), count=st.integers(5, 60), step=st.floats(0.4, 10), data=st.data())
def test_one_missing_slice_is_named_wherever_it_was(
    turn: np.ndarray, count: int, step: float, data: st.DataObject
) -> None:
    gone = data.draw(st.integers(1, count - 2))
    stack = places(count, turn=turn, step=step, digits=6)
    with pytest.raises(MissingSlices) as caught:
        sort_slices([place for place in stack if place is not stack[gone]], SERIES)
    assert caught.value.missing == 1
    assert caught.value.gaps[0][1:] == (str(gone), str(gone + 2))
    assert caught.value.gaps[0][0] == pytest.approx(2 * step, rel=1e-3)
    assert f"between images {gone} and {gone + 2}" in str(caught.value)


@given(turn=angles.map(rotation), degrees=st.floats(1, 40), step=st.floats(0.5, 8))
def test_a_tilted_gantry_is_measured_in_any_orientation(turn: np.ndarray, degrees: float, step: float) -> None:
    shear = np.tan(np.radians(degrees)) * step * turn[:, 1]
    stack = [moved(place, *(number * shear)) for number, place in enumerate(places(turn=turn, step=step))]
    with pytest.raises(Tilted) as caught:
        sort_slices(stack, SERIES)
    assert caught.value.angle_deg == pytest.approx(degrees, abs=0.01)
    assert caught.value.source == "ImagePositionPatient"


def refused(stack: list[Placement]) -> GeometryRefused:
    with pytest.raises(GeometryRefused) as caught:
        sort_slices(stack, SERIES)
    assert caught.value.series_uid == SERIES
    return caught.value


def test_an_empty_series_is_refused() -> None:
    assert isinstance(refused([]), NoImages)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_slices_may_be_allowed(count: int) -> None:
    fault = refused(places(count))
    assert isinstance(fault, TooFewSlices)
    assert (fault.slices, fault.minimum) == (count, 3)
    stack = [replace(place, thickness=2.5) for place in places(count)]
    affine = sort_slices(stack, SERIES, allow=[TooFewSlices]).affine
    np.testing.assert_allclose(affine, sort_slices(places(), SERIES).affine, atol=1e-12)


def test_what_leaves_no_affine_cannot_be_allowed() -> None:
    with pytest.raises(ValueError, match="cannot be allowed: Tilted"):
        sort_slices(places(), SERIES, allow=[Tilted])


def test_a_single_localizer_among_images_is_refused() -> None:
    stack = places()
    stack[2] = replace(stack[2], image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    fault = refused(stack)
    assert isinstance(fault, LocalizerSeries)
    assert (fault.localizers, fault.total) == (1, 6)
    sort_slices(stack, SERIES, allow=[LocalizerSeries])


def test_two_frames_of_reference_are_refused() -> None:
    stack = places()
    stack[0] = replace(stack[0], frame_of_reference_uid="1.9")
    fault = refused(stack)
    assert isinstance(fault, MixedFrameOfReference)
    assert fault.frames_of_reference == ("1.2", "1.9")


@pytest.mark.parametrize(
    ("wrong", "keyword"),
    [
        ({"orientation": (1, 0, 0, 1, 0, 0)}, "ImageOrientationPatient"),
        ({"orientation": (1, 0, 0, 0, 0.9, 0)}, "ImageOrientationPatient"),
        ({"orientation": (0, 0, 0, 0, 0, 0)}, "ImageOrientationPatient"),
        ({"spacing": (0.0, 0.7)}, "PixelSpacing"),
        ({"spacing": (0.8, -0.7)}, "PixelSpacing"),
        ({"spacing": (0.0008, 0.0007)}, "PixelSpacing"),
        ({"spacing": (800.0, 700.0)}, "PixelSpacing"),
        ({"position": (1e300, 0, 0)}, "ImagePositionPatient"),
    ],
)
def test_impossible_numbers_are_refused_by_name(wrong: dict[str, tuple[float, ...]], keyword: str) -> None:
    stack = places()
    stack[3] = replace(stack[3], **wrong)
    fault = refused(stack)
    assert isinstance(fault, InvalidGeometry)
    assert (fault.keyword, fault.sop_instance_uid) == (keyword, "1.2.3.3")


@pytest.mark.parametrize(
    ("step", "shape", "spacing", "words"),
    [
        (9000.0, (10, 10), (1.0, 1.0), "9000 mm apart"),
        (60.0, (10, 10), (1.0, 1.0), "60 mm apart"),
        (5.0, (512, 512), (6.0, 6.0), "field of view is 3072 × 3072 mm"),
        (45.0, (10, 10), (1.0, 1.0), "stack is 3600 mm long"),
        (20.0, (512, 512), (3.0, 3.0), "litres"),
    ],
)
def test_what_no_body_is_as_large_as_is_refused(
    step: float, shape: tuple[int, int], spacing: tuple[float, float], words: str
) -> None:
    fault = refused(
        [replace(place, shape=shape, spacing=spacing) for place in places(8 if step > 1000 else 80, step=step)]
    )
    assert isinstance(fault, InvalidGeometry)
    assert words in str(fault)


def test_a_body_from_head_to_foot_is_no_fault() -> None:
    sort_slices([replace(place, shape=(512, 512), spacing=(0.98, 0.98)) for place in places(400, step=5.0)], SERIES)


def test_planes_of_several_directions_are_refused() -> None:
    stack = places(3) + places(3, turn=rotation((np.pi / 2, 0, 0)))
    fault = refused(stack)
    assert isinstance(fault, MixedOrientation)
    assert fault.count == 2
    assert fault.angle_deg == pytest.approx(90)


def test_orientations_that_differ_in_the_last_digits_are_one() -> None:
    stack = places(turn=rotation((0.1, 0.2, 0.3)))
    stack[2] = replace(stack[2], orientation=tuple(np.round(stack[2].orientation, 4).tolist()))
    sort_slices(stack, SERIES)


def test_several_sizes_are_refused_and_listed() -> None:
    stack = places()
    stack[1] = replace(stack[1], spacing=(0.8, 0.75))
    stack[4] = replace(stack[4], shape=(8, 8))
    fault = refused(stack)
    assert isinstance(fault, MixedMatrix)
    assert len(fault.matrices) == 3
    assert "6 × 8 at 0.8 × 0.7 mm" in str(fault)


def test_the_same_spacing_with_fewer_digits_is_no_other() -> None:
    stack = places(spacing=(0.48828125, 0.48828125))
    stack[1] = replace(stack[1], spacing=(0.4882812, 0.488281))
    sort_slices(stack, SERIES)


@pytest.mark.parametrize(
    ("keyword", "values", "words"),
    [
        ("EchoTime", ("20.0", "80.0"), "several echoes: EchoTime 20.0, 80.0"),
        ("DiffusionBValue", ("0", "1000"), "several diffusion weightings: DiffusionBValue 0, 1000"),
        ("TemporalPositionIdentifier", ("1", "2"), "several time points: TemporalPositionIdentifier 1, 2"),
        ("ImageType", ("A\\M", "A\\P"), r"several kinds of image: ImageType A\M, A\P"),
    ],
)
def test_several_images_at_one_position_are_told_apart(keyword: str, values: tuple[str, str], words: str) -> None:
    stack = [
        replace(place, name=f"{place.name}.{number}", varying={**place.varying, keyword: value})
        for number, value in enumerate(values)
        for place in places()
    ]
    fault = refused(stack)
    assert isinstance(fault, DuplicatePositions)
    assert (fault.images, fault.positions) == (12, 6)
    assert fault.varies == words
    assert "12 images share 6 position(s)" in str(fault)


def test_an_image_in_two_versions_is_said_to_be_that() -> None:
    fault = refused([*places(), places()[3]])
    assert isinstance(fault, DuplicatePositions)
    assert fault.varies == "versions of the same image"


def test_images_side_by_side_are_said_to_be_that() -> None:
    beside = moved(replace(places()[3], sop_instance_uid="1.9"), 100, 0, 0)
    fault = refused([*places(), beside])
    assert isinstance(fault, DuplicatePositions)
    assert fault.varies == "images side by side in one plane"


def test_a_slice_that_jumps_sideways_is_not_a_tilt() -> None:
    stack = places(12)
    stack[5] = moved(stack[5], 3, 4, 0)
    fault = refused(stack)
    assert isinstance(fault, ShiftedSlices)
    assert fault.shift_mm == pytest.approx(5, rel=0.2)


@pytest.mark.parametrize(
    "increments", [[2, 2, 2, 3, 3, 3], [4.22, 4.22, 4.22, 1.14, 7.38, 7.38], [5, 5, 5, 10, 10, 10], [2, 2, 2.5, 2, 2]]
)
def test_two_increments_are_no_missing_slices(increments: list[float]) -> None:
    heights = np.concatenate([[0], np.cumsum(increments)])
    stack = [moved(places(1)[0], 0, 0, height) for height in heights]
    fault = refused([replace(place, name=str(number)) for number, place in enumerate(stack)])
    assert isinstance(fault, UnevenSpacing)
    assert (fault.smallest_mm, fault.largest_mm) == (pytest.approx(min(increments)), pytest.approx(max(increments)))


def test_faults_that_come_together_are_told_together() -> None:
    stack = [moved(place, 0, number * 1.0, 0) for number, place in enumerate(places(10))]
    del stack[4]
    fault = refused(stack)
    assert isinstance(fault, Tilted)
    assert [type(other) for other in fault.besides] == [MissingSlices]
    assert "Besides: 1 slice(s) are missing" in str(fault)


@pytest.mark.parametrize(
    ("image_type", "turn", "accepted"),
    [
        ("ORIGINAL", np.eye(3), False),  # the gantry was tilted, and the images claim to be level
        ("DERIVED", np.eye(3), True),  # a reformat, level indeed
        ("ORIGINAL", rotation((np.radians(15), 0, 0)), True),  # tilted slices, stacked along their normal
    ],
)
def test_a_tilt_that_only_the_gantry_shows(image_type: str, turn: np.ndarray, accepted: bool) -> None:
    stack = [replace(place, tilt_deg=-15, image_type=(image_type, "PRIMARY", "AXIAL")) for place in places(turn=turn)]
    if accepted:
        sort_slices(stack, SERIES)
        return
    fault = refused(stack)
    assert isinstance(fault, Tilted)
    assert (fault.angle_deg, fault.source) == (15, "GantryDetectorTilt")


def test_jitter_is_bounded_for_thin_and_thick_slices() -> None:
    assert [jitter_mm(spacing) for spacing in (0.2, 0.5, 2, 20)] == pytest.approx([0.04, 0.1, 0.1, 0.2])


def all_refusals() -> list[Callable[[], GeometryRefused]]:
    stack = places(10)
    shifted = [*stack[:5], moved(stack[5], 3, 4, 0), *stack[6:]]
    tilted = [moved(place, 0, number * 1.0, 0) for number, place in enumerate(stack) if number != 4]
    return [lambda stack=stack: refused(stack) for stack in ([], stack[:1], shifted, tilted, stack[:4] + stack[5:])]


@pytest.mark.parametrize("make", all_refusals())
def test_refusals_travel_home_from_a_worker(make: Callable[[], GeometryRefused]) -> None:
    fault = make()
    copy = pickle.loads(pickle.dumps(fault))
    assert type(copy) is type(fault)
    assert str(copy) == str(fault)
    assert isinstance(copy, BadInput)
    assert "{" not in str(fault)
