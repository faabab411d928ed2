"""Series as scanners wrote them: what loads is where another toolkit says it is, what must be refused is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so

from dicomio.errors import GeometryRefused
from dicomio.volumes.grid import to_sitk
from dicomio.volumes.refusals.geometry import (
    DuplicatePositions,
    MissingSlices,
    MixedOrientation,
    Tilted,
    TooFewSlices,
    UnevenSpacing,
)
from dicomio.volumes.volume import load_volume


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


@pytest.mark.parametrize(
    ("name", "shape", "spacing"),
    [
        ("abdomen-ct-chaos/dicom", (78, 512, 512), (2.0, 0.7265625, 0.7265625)),  # SliceThickness says 3.2
        ("brain-mr-philips-flair", (22, 288, 288), (6.0, 0.79861, 0.79861)),
        ("brain-mr-philips-epi", (22, 256, 256), (6.0, 0.8984375, 0.8984375)),
    ],
)
def test_a_real_series_lies_where_simpleitk_says(
    dicom_samples: Path, name: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    volume = load_volume(files(dicom_samples / name))
    assert volume.array.shape == shape
    assert volume.spacing == pytest.approx(spacing, rel=1e-5)
    assert volume.array.dtype == np.int16

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(dicom_samples / name)))
    theirs, ours = reader.Execute(), to_sitk(volume)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(theirs), volume.array)
    for index in ([0, 0, 0], [shape[2] - 1, 0, 0], [0, shape[1] - 1, 0], [0, 0, shape[0] - 1], [17, 30, 11]):
        np.testing.assert_allclose(
            ours.TransformIndexToPhysicalPoint(index), theirs.TransformIndexToPhysicalPoint(index), atol=1e-3
        )


def test_slices_of_a_real_series_are_tied_to_their_images(dicom_samples: Path) -> None:
    import pydicom

    volume = load_volume(files(dicom_samples / "brain-mr-philips-flair"))
    for index, source in enumerate(volume.sources):
        ds = pydicom.dcmread(source.path)
        assert source.sop_instance_uid == ds.SOPInstanceUID
        np.testing.assert_allclose(volume.to_patient(np.array([index, 0, 0])), ds.ImagePositionPatient, atol=1e-5)
        np.testing.assert_array_equal(volume.array[index], ds.pixel_array)


@pytest.mark.parametrize(
    ("name", "kind", "besides", "words"),
    [
        ("gantrytilting/001", Tilted, [], r"tilted by 14\.0°"),
        ("notavolume/001", DuplicatePositions, [], r"4 images share 1 position\(s\) \(several acquisitions"),
        ("slicecount/001", TooFewSlices, [], r"2 slice\(s\)"),
        ("sliceincrement/001", MissingSlices, [], r"the slices are 5 mm apart, but 10 mm between images 9 and 10"),
        ("sliceincrement/002", Tilted, [MissingSlices], r"15\.5°.*1 slice\(s\) are missing"),
        ("sliceorientation/001", MixedOrientation, [], r"2 orientations"),
    ],
)
def test_what_is_no_volume_is_refused_for_the_right_reason(
    dicom_samples: Path, name: str, kind: type[GeometryRefused], besides: list[type[GeometryRefused]], words: str
) -> None:
    with pytest.raises(kind) as caught:
        load_volume(files(dicom_samples / "geometry-must-refuse" / name))
    assert [type(fault) for fault in caught.value.besides] == besides
    assert re.search(words, str(caught.value))
    assert caught.value.series_uid


def test_two_thicknesses_under_a_tilted_gantry_are_refused_for_both(dicom_samples: Path) -> None:
    with pytest.raises(Tilted, match="18\\.5°") as caught:
        load_volume(files(dicom_samples / "head-ct-ge-two-thicknesses"))
    (other,) = caught.value.besides
    assert isinstance(other, UnevenSpacing)
    assert (other.smallest_mm, other.largest_mm) == (pytest.approx(1.08, abs=0.01), pytest.approx(7.0, abs=0.01))
