from __future__ import annotations

from typing import Any

import pytest

from pipelines.rules.derived.localizer import localizer
from tests.pipelines.rules.studies import AXIAL, CORONAL, SAGITTAL


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"]},
        {"ImageType": ["DERIVED", "SECONDARY", "REF_SURVIEW"], "ScanOptions": "SURVIEW"},
        {"ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER"},
        {"ScanOptions": "SCOUT MODE", "ImageType": ["ORIGINAL", "PRIMARY"]},
        {"SeriesDescription": "localizer_3plane"},
        {"SeriesDescription": "Loc (Right)"},
        {"SeriesDescription": "3-pl T2* FGRE"},
        {"SeriesDescription": "Survey_32ch"},
        {"SeriesDescription": "Topogram 0.6 T80s"},
        {"SeriesDescription": "AAHead_Scout_MPR_cor"},
        {"SeriesDescription": "Übersicht"},
        {"SeriesDescription": "Repérage"},
        {"SeriesDescription": "LOCALIZADOR"},
        {"ProtocolName": "Localisateur"},
    ],
    ids=str,
)
def test_localizers(tags: dict[str, Any]) -> None:
    assert localizer(tags).value is True


@pytest.mark.parametrize(
    "tags",
    [
        {"SeriesDescription": "T1 SE", "ProtocolName": "localizer"},
        {"SeriesDescription": "AX FLAIR"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]},
        {"SeriesDescription": "block design"},
        {"Manufacturer": "GE MEDICAL SYSTEMS", "ProtocolName": "SCOUT+BRAIN", "ImageType": ["ORIGINAL"]},
    ],
    ids=str,
)
def test_no_localizers(tags: dict[str, Any]) -> None:
    assert localizer(tags).value is False


def test_a_few_images_in_three_planes_are_a_localizer() -> None:
    planes = [{"ImageOrientationPatient": cosines} for cosines in (AXIAL, CORONAL, SAGITTAL)]
    assert localizer({"ImageType": ["ORIGINAL", "PRIMARY"]}, planes, 3).value is True
    assert localizer({"ImageType": ["ORIGINAL", "PRIMARY"]}, planes * 50, 150).value is False


def test_localizer_is_unknown_when_nothing_is_said() -> None:
    assert localizer({}).value is None
