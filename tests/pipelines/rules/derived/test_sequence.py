from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engines.plain_yaml import read_yaml
from pipelines.rules.derived.kinds import SequenceKind
from pipelines.rules.study.attributes import SeriesAttributes
from tests.conftest import SHARED
from tests.pipelines.rules.derived.public_headers import PUBLIC

Case = tuple[str, str | None, int, dict[str, Any]]  # name, sequence, images, tags
CASES: list[Case] = read_yaml(Path(__file__).with_name("mr_headers.yaml").read_text(encoding="utf-8"))["headers"]
VENDOR_HEADERS = SHARED / "data" / "vendor-headers.json"
NAMES = ("SeriesDescription", "ProtocolName", "SequenceName", "StudyDescription")


@cache
def vendor_headers() -> list[dict[str, Any]]:
    if not VENDOR_HEADERS.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(VENDOR_HEADERS.read_text(encoding="utf-8"))
    return found


def facts(header: dict[str, Any], images: int) -> SeriesAttributes:
    return SeriesAttributes("1.2.3", header, images=images)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_sequence_of_headers_as_vendors_write_them(case: Case) -> None:
    _, expected, images, tags = case

    found = facts({"Modality": "MR", **tags}, images)

    assert found.sequence == expected, found.sequence_derived.because


@pytest.mark.parametrize("number", range(51))
def test_real_vendor_headers(shared_data: Path, number: int) -> None:
    one = vendor_headers()[number]

    found = facts(one["header"], one["images"])

    assert (found.plane, found.sequence) == (one["expect"]["plane"], one["expect"]["sequence"]), (
        found.sequence_derived.because
    )


def test_every_real_header_is_among_the_tests(shared_data: Path) -> None:
    assert len(vendor_headers()) == 51


def test_timing_alone_suffices_for_real_headers_without_any_name(shared_data: Path) -> None:
    wrong = []
    for number, one in enumerate(vendor_headers()):
        blank = {key: value for key, value in one["header"].items() if key not in NAMES}
        found = facts(blank, one["images"]).sequence
        if found != one["expect"]["sequence"]:
            wrong.append((number, found, one["expect"]["sequence"]))

    assert [item for item in wrong if item[2] != "localizer"] == []  # a scout is known by its name
    assert all(found is None for _, found, _ in wrong)


def test_the_kinds_that_a_rule_can_name_are_those_that_are_tested() -> None:
    assert {SequenceKind(case[1]) for case in CASES if case[1]} == set(SequenceKind)


def test_dual_echo_series_is_neither_pd_nor_t2() -> None:
    echoes = tuple({"EchoTime": echo} for echo in (14, 85) * 10)
    tags = {"Modality": "MR", "ScanningSequence": "SE", "RepetitionTime": 2500, "EchoTime": 14, "FlipAngle": 90}

    found = SeriesAttributes("1", tags, echoes, images=20)

    assert found.sequence is None
    assert "several weightings" in found.sequence_derived.because


def test_philips_diffusion_is_known_by_its_repeated_slices() -> None:
    positions = tuple({"ImagePositionPatient": [0, 0, 3 * number]} for number in range(10)) * 7
    tags = {
        "Modality": "MR",
        "ScanningSequence": "SE",
        "MRAcquisitionType": "2D",
        "RepetitionTime": 3000,
        "EchoTime": 60,
    }

    assert SeriesAttributes("1", tags, positions, images=70).sequence == "dwi"
    assert SeriesAttributes("1", tags, positions[:10], images=10).sequence == "t2"


def test_secondary_captures_and_other_modalities_have_no_sequence() -> None:
    flair = {"SeriesDescription": "FLAIR", "RepetitionTime": 9000, "EchoTime": 100, "InversionTime": 2500}

    assert facts({"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", **flair}, 1).sequence is None
    assert facts({"Modality": "CT", **flair}, 1).sequence is None
    assert facts(flair, 1).sequence is None


@pytest.mark.parametrize("junk", ["", "abc", None, [], "nan", "-1", "1e400", {"a": 1}, ["x", "y"]])
def test_junk_in_numbers_is_not_an_error(junk: object) -> None:
    tags = dict.fromkeys(("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "PixelSpacing"), junk)

    found = facts({"Modality": "MR", "ScanningSequence": junk, "ImageType": junk, **tags}, 20)

    assert found.sequence is None
    assert found.plane is None


@pytest.mark.parametrize("case", PUBLIC, ids=lambda case: case[0])
def test_headers_that_others_have_published(case: tuple[str, str | None, dict[str, Any]]) -> None:
    _, expected, header = case

    found = facts(header, 0)

    assert found.sequence == expected, found.sequence_derived.because
