"""Contrast phases: by words in seven languages, by tags, by times; which series is preferred; what the report says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.rules.derived.phase import by_delay, by_words
from pipelines.rules.study.attributes import SeriesAttributes
from pipelines.yaml_file import LocatedYaml
from tests.pipelines.rules.derived.test_sequence import vendor_headers
from tests.pipelines.rules.studies import ct, mr, phases, study

ROOT = Path(__file__).resolve().parents[4]


NAMES = LocatedYaml.read(Path(__file__).with_name("phase_names.yaml")).data


@pytest.mark.parametrize(
    ("language", "phase", "name"),
    [
        (language, phase, name)
        for language, by_phase in NAMES.items()
        for phase, names in by_phase.items()
        for name in names
    ],
)
def test_phases_by_name(language: str, phase: str, name: str) -> None:
    tags = {"Modality": "MR" if language == "mr" else "CT", "SeriesDescription": name}

    found = by_words(tags)

    assert str(found.value or "unknown") == phase, found.because


def test_the_protocol_name_speaks_where_the_description_does_not() -> None:
    assert by_words({"Modality": "CT", "SeriesDescription": "5.0 B30f", "ProtocolName": "Leber portalvenös"}).value == (
        "portal"
    )
    whole_examination = {"Modality": "CT", "Manufacturer": "GE MEDICAL SYSTEMS", "ProtocolName": "PORTAL"}
    assert by_words(whole_examination).value is None


@pytest.mark.parametrize(
    ("seconds", "phase"),
    [(-200, "native"), (5, None), (35, "arterial"), (51, None), (70, "portal"), (130, None), (180, "delayed")],
)
def test_phases_by_the_time_after_the_injection(seconds: float, phase: str | None) -> None:
    assert by_delay(seconds) == phase


def test_the_name_of_the_study_tells_where_contrast_was_given() -> None:
    name = "CT ABDOMEN PORTAL VENOUS"

    assert phases(study(ct(1, ContrastBolusAgent="x"), StudyDescription=name)) == {"1.1": "portal"}
    assert phases(study(ct(1), StudyDescription=name)) == {"1.1": None}
    assert phases(study(ct(1, "5.0"), StudyDescription="CT ohne KM")) == {"1.1": "native"}


def test_localizers_and_other_modalities_have_none() -> None:
    topogram = ct(1, "Topogram venous", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], slices=1)

    assert phases(study(topogram, mr(2, "t2", "T2"), ct(3, "venous", Modality="PT"))) == {
        "1.1": None,
        "1.2": None,
        "1.3": None,
    }


@pytest.mark.skipif(not vendor_headers(), reason="the shared data is not here")
def test_real_headers_name_a_phase_only_where_they_do() -> None:
    found = {}
    for number, case in enumerate(vendor_headers()):
        header = case["header"]
        whole = study(SeriesAttributes(str(number), header, images=case["images"]))
        found |= {header.get("SeriesDescription", ""): value for value in phases(whole).values() if value}

    assert found == {"STEREOTAXIS": "native", "STD BRAIN 1MM, iDose": "native", "BONE BRAIN 1MM": "native"}
