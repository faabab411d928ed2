"""Images of two people are no series, whatever their UIDs say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomio.volumes.patient import SamePatientCheck
from dicomio.volumes.refusals.content import PatientsDiffer
from dicomio.volumes.volume import load_volume
from tests.dicomio.support.images import stack

JANE = {"PatientID": "P1", "PatientName": "Doe^Jane", "PatientBirthDate": "19700101", "PatientSex": "F"}


def halves(folder: Path, **other: Any) -> list[Path]:
    """A series whose upper images say something else of the patient."""

    def change(number: int, ds: Dataset) -> None:
        for keyword, value in (JANE if number < 3 else {**JANE, **other}).items():
            setattr(ds, keyword, value)

    return stack(folder, 6, change=change)


@pytest.mark.parametrize(
    ("other", "keywords"),
    [
        ({"PatientID": "P2"}, ("PatientID",)),
        ({"PatientID": ""}, ("PatientID",)),
        ({"PatientName": "Roe^Richard"}, ("PatientName",)),
        ({"PatientName": "Doe^John"}, ("PatientName",)),
        ({"PatientBirthDate": "19700102"}, ("PatientBirthDate",)),
        ({"PatientSex": "M"}, ("PatientSex",)),
        (
            {"PatientID": "P2", "PatientName": "Roe^Ann", "PatientBirthDate": "19801231"},
            ("PatientID", "PatientName", "PatientBirthDate"),
        ),
    ],
)
def test_two_people_in_one_series_are_refused(tmp_path: Path, other: dict[str, str], keywords: tuple[str, ...]) -> None:
    with pytest.raises(PatientsDiffer) as caught:
        load_volume(halves(tmp_path, **other))
    assert caught.value.keywords == keywords
    assert str(caught.value).startswith(f"The images belong to different patients: {', '.join(keywords)} differ")
    assert not any(
        value and value in str(caught.value) for value in (*JANE.values(), *other.values()) if len(value) > 1
    )


@pytest.mark.parametrize(
    "other",
    [
        {"PatientName": "DOE^JANE^^^"},
        {"PatientName": "Doe, Jane"},
        {"PatientName": "Doe^Jane^Mary"},
        {"PatientName": "Doe^J"},
        {"PatientName": "Döe^Jané", "SpecificCharacterSet": "ISO_IR 100"},
        {"PatientName": ""},
        {"PatientBirthDate": ""},
        {"PatientSex": ""},
        {"PatientSex": "O"},
        {"PatientID": "P1 "},
    ],
)
def test_one_person_written_in_two_ways_is_one(tmp_path: Path, other: dict[str, str]) -> None:
    assert load_volume(halves(tmp_path, **other)).array.shape[0] == 6


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA:UserWarning")
def test_a_date_that_is_none_contradicts_nothing(tmp_path: Path) -> None:
    assert load_volume(halves(tmp_path, PatientBirthDate="00000000")).array.shape[0] == 6


def test_a_name_in_two_scripts_agrees_by_one_of_them() -> None:
    patient = SamePatientCheck()
    for name in ("Yamada^Tarou=山田^太郎", "山田^太郎", "YAMADA^TAROU"):
        ds = Dataset()
        ds.SpecificCharacterSet, ds.PatientID, ds.PatientName = "ISO_IR 192", "1", name
        patient.add(ds, "1.2")


def test_what_is_compared_is_not_shown() -> None:
    patient, ds = SamePatientCheck(), Dataset()
    ds.PatientID, ds.PatientName = "4711", "Doe^Jane"
    patient.add(ds, "1.2")
    assert "Doe" not in repr(patient)
    assert "4711" not in repr(patient)
