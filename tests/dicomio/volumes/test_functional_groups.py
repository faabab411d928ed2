"""Enhanced multi-frame objects, also converted ones, and frames that are more than one volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomio.files.headers import read_header
from dicomio.results.uids import derived_uid
from dicomio.volumes.refusals.geometry import DuplicatePositions, LocalizerSeries, MixedOrientation, Tilted
from dicomio.volumes.refusals.images import MissingTags, UndecodablePixels, UnsupportedMultiframe
from dicomio.volumes.volume import SourceImage, load_volume
from tests.dicomio.support.images import COLUMNS, ROWS, SERIES, enhanced, image, item, stack, write

HEIGHTS = (5.0, 0.0, 7.5, 2.5)
POSITIONS = [(-10, -20, height) for height in HEIGHTS]
BY_HEIGHT = [1, 3, 0, 2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "enhanced.dcm"


def test_frames_become_slices_by_position(path: Path) -> None:
    ds = enhanced(POSITIONS)
    volume = load_volume([write(ds, path)])
    np.testing.assert_array_equal(volume.array, [image(number) for number in BY_HEIGHT])
    np.testing.assert_allclose(volume.affine, [[0, 0, 0.7, -10], [0, 0.8, 0, -20], [2.5, 0, 0, 0], [0, 0, 0, 1]])
    assert volume.sources == tuple(
        SourceImage(ds.SOPClassUID, ds.SOPInstanceUID, path, number + 1) for number in BY_HEIGHT
    )
    assert volume.array.dtype == np.int16


def test_an_enhanced_ct_has_hounsfield_units(path: Path) -> None:
    volume = load_volume([write(enhanced(POSITIONS, modality="CT"), path)])
    np.testing.assert_array_equal(volume.array[0], image(1).astype(int) - 1024)


def test_each_frame_has_its_own_slope(path: Path) -> None:
    def change(number: int, group: Dataset) -> None:
        scale = item(RescaleSlope=f"{1.5 + number}", RescaleIntercept=number, RescaleType="US")
        group.PixelValueTransformationSequence = [scale]

    volume = load_volume([write(enhanced(POSITIONS, change=change), path)])
    for slot, number in enumerate(BY_HEIGHT):
        np.testing.assert_allclose(volume.array[slot], image(number) * (1.5 + number) + number)


def test_one_object_per_slice_or_several_make_one_volume(tmp_path: Path) -> None:
    paths = []
    for part, positions in enumerate((POSITIONS[:2], POSITIONS[2:])):
        ds = enhanced(positions, frames=[image(2 * part), image(2 * part + 1)])
        ds.SOPInstanceUID = derived_uid("part", str(part))
        paths.append(write(ds, tmp_path / f"{part}.dcm"))
    volume = load_volume(paths)
    np.testing.assert_array_equal(volume.array, [image(number) for number in BY_HEIGHT])
    assert [(source.path.stem, source.frame) for source in volume.sources] == [("0", 2), ("1", 2), ("0", 1), ("1", 1)]


@pytest.mark.parametrize(
    ("macro", "keyword", "words"),
    [
        ("MREchoSequence", "EffectiveEchoTime", "several echoes: EchoTime 20.0, 21.0"),
        ("MRDiffusionSequence", "DiffusionBValue", "several diffusion weightings: DiffusionBValue 20.0, 21.0"),
        ("FrameContentSequence", "TemporalPositionIndex", "several time points: TemporalPositionIdentifier 20, 21"),
    ],
)
def test_frames_of_several_volumes_are_refused_and_told_apart(path: Path, macro: str, keyword: str, words: str) -> None:
    def change(number: int, group: Dataset) -> None:
        setattr(group, macro, [item(**{keyword: 20 + number // 4})])

    ds = enhanced(POSITIONS * 2, change=change)
    with pytest.raises(DuplicatePositions) as caught:
        load_volume([write(ds, path)])
    assert (caught.value.images, caught.value.positions) == (8, 4)
    assert caught.value.varies == words
    assert caught.value.series_uid == SERIES


def test_kinds_of_frames_are_told_apart(path: Path) -> None:
    def change(number: int, group: Dataset) -> None:
        kind = "M" if number < 4 else "P"
        group.MRImageFrameTypeSequence = [item(FrameType=["ORIGINAL", "PRIMARY", kind, "NONE"])]

    with pytest.raises(DuplicatePositions, match="several kinds of image"):
        load_volume([write(enhanced(POSITIONS * 2, change=change), path)])


def test_frames_in_three_planes_are_a_localizer_or_mixed(path: Path) -> None:
    planes = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]]

    def change(number: int, group: Dataset) -> None:
        group.PlaneOrientationSequence = [item(ImageOrientationPatient=planes[number % 3])]

    ds = enhanced(POSITIONS[:3], change=change)
    del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    with pytest.raises(MixedOrientation, match="3 orientations"):
        load_volume([write(ds, path)])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    with pytest.raises(LocalizerSeries, match="3 of 3"):
        load_volume([write(ds, path)])


def test_a_tilt_that_only_the_gantry_shows_is_found_in_the_functional_groups(path: Path) -> None:
    ds = enhanced(POSITIONS, modality="CT")
    ds.SharedFunctionalGroupsSequence[0].CTAcquisitionDetailsSequence = [item(GantryDetectorTilt=12.0)]
    with pytest.raises(Tilted, match=r"12\.0°.*GantryDetectorTilt"):
        load_volume([write(ds, path)])


def test_frames_without_a_position_are_counted(path: Path) -> None:
    def change(number: int, group: Dataset) -> None:
        if number == 2:
            del group.PlanePositionSequence

    with pytest.raises(MissingTags, match="1 of 4 images lack ImagePositionPatient"):
        load_volume([write(enhanced(POSITIONS, change=change), path)])


def test_groups_and_frames_have_to_agree(path: Path) -> None:
    ds = enhanced(POSITIONS)
    ds.NumberOfFrames = 5
    with pytest.raises(UnsupportedMultiframe, match="5 frames, but functional groups for 4"):
        load_volume([write(ds, path)])


def test_missing_frames_are_noticed(path: Path) -> None:
    ds = enhanced(POSITIONS, frames=[image(0)] * 3)
    with pytest.raises(UndecodablePixels, match=f"need {4 * ROWS * COLUMNS * 2} bytes"):
        load_volume([write(ds, path)])


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_converted_series_is_the_same_volume(tmp_path: Path, modality: str) -> None:
    def change(number: int, ds: Dataset) -> None:
        ds.EchoTime, ds.RepetitionTime = 100, 9000
        ds.StudyTime = ds.SeriesTime = ds.ContentTime = ds.AcquisitionTime = "120000"
        ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = "20261120"
        ds.SeriesNumber, ds.StudyID, ds.PatientBirthDate, ds.PatientSex = 1, "", "", ""
        ds.ReferringPhysicianName, ds.Manufacturer, ds.PositionReferenceIndicator = "", "M", ""
        ds.PatientPosition, ds.AcquisitionNumber = "HFS", 1

    paths = stack(tmp_path, modality=modality, change=change)
    classic = load_volume(paths)
    images = [pydicom.dcmread(path) for path in paths]
    kind: Callable[..., Dataset] = (
        hd.legacy.LegacyConvertedEnhancedCTImage if modality == "CT" else hd.legacy.LegacyConvertedEnhancedMRImage
    )
    converted = kind(
        images, series_instance_uid=SERIES, series_number=2, sop_instance_uid=derived_uid("new"), instance_number=1
    )
    converted.save_as(tmp_path / "converted.dcm")
    volume = load_volume([tmp_path / "converted.dcm"])
    np.testing.assert_array_equal(volume.array, classic.array)
    np.testing.assert_allclose(volume.affine, classic.affine)
    tags = read_header(tmp_path / "converted.dcm").tags
    assert (tags["EchoTime"], tags["RepetitionTime"], tags["PatientPosition"]) == (100, 9000, "HFS")
