"""CT values that are no Hounsfield units are refused with their unit, in classic and enhanced images."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicomio.volumes.refusals.content import NotHounsfield
from dicomio.volumes.units import units_of
from dicomio.volumes.volume import load_volume
from tests.dicomio.support.images import enhanced, item, stack, write


@pytest.mark.parametrize(
    ("tags", "unit", "words"),
    [
        ({"RescaleType": "MGML"}, "MGML", "milligrams per millilitre: RescaleType is MGML"),
        ({"RescaleType": "Z_EFF"}, "Z_EFF", "effective atomic numbers"),
        ({"RescaleType": "US"}, "US", "of no stated unit: RescaleType is US"),
        ({"RescaleType": "HU_MOD"}, "HU_MOD", "modified Hounsfield units"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "IODINE"]}, "MGML", "ImageType says IODINE"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"], "RescaleType": "HU"}, "HU_MONO", "monoenergetic"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MONO 40KEV"]}, "HU_MONO", "monoenergetic"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM"]}, "Z_EFF", "ImageType says EFF_ATOMIC_NUM"),
    ],
)
def test_ct_in_other_units_is_refused_by_name(tmp_path: Path, tags: dict[str, object], unit: str, words: str) -> None:
    def change(number: int, ds: Dataset) -> None:
        for keyword, value in tags.items():
            setattr(ds, keyword, value)

    with pytest.raises(NotHounsfield, match=words) as caught:
        load_volume(stack(tmp_path, change=change))
    assert caught.value.units == unit


def test_an_enhanced_ct_in_other_units_is_refused(tmp_path: Path) -> None:
    ds = enhanced([(0, 0, height) for height in (0.0, 2.5, 5.0)], modality="CT")
    transformation = item(RescaleSlope="0.1", RescaleIntercept=0, RescaleType="MGML")
    ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [transformation]
    with pytest.raises(NotHounsfield, match="milligrams per millilitre"):
        load_volume([write(ds, tmp_path / "a.dcm")])


@pytest.mark.parametrize("rescale_type", ["", "HU", "hu ", "H.U."])
@pytest.mark.parametrize(
    "image_type",
    [(), ("ORIGINAL", "PRIMARY", "AXIAL"), ("DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 DUAL"), ("DERIVED", "", "MPR")],
)
def test_ordinary_ct_is_in_hounsfield_units(rescale_type: str, image_type: tuple[str, ...]) -> None:
    assert units_of("CT", rescale_type, image_type).name == "HU"


def test_mr_may_be_in_whatever_it_says(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        ds.RescaleType, ds.RescaleSlope, ds.RescaleIntercept = "normalized", 2, 0

    assert load_volume(stack(tmp_path, modality="MR", change=change)).array.max() == 914
    assert units_of("MR", "", ()).name == ""
    assert units_of("PT", "", (), "BQML").name == "BQML"
