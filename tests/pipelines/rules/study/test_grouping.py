from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicomio.files.headers import Header, read_header
from pipelines.rules.file import load_rules
from pipelines.rules.routing import Route, route
from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes
from pipelines.rules.study.grouping import studies_from_headers

RULES = Path(__file__).resolve().parents[4] / "deploy" / "rules.yaml"


def write(folder: Path, number: int, *, study: str = "1.2.1", series: str = "1.2.1.1", **tags: Any) -> Path:
    """One FLAIR slice as a file."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    ds.file_meta.SourceApplicationEntityTitle = "MR1"
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.PatientName, ds.PatientID, ds.PatientAge = "Doe^Jane", "P1", "060Y"
    ds.Modality, ds.SeriesDescription, ds.StudyDescription = "MR", "FLAIR", "MR Brain"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.ScanningSequence, ds.SequenceVariant = ["SE", "IR"], "SK"
    ds.RepetitionTime, ds.EchoTime, ds.InversionTime = "9000", "110", "2500"
    ds.InstanceNumber, ds.SliceThickness, ds.PixelSpacing = number, "5", ["0.8", "0.8"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [0, 0, 6 * number]
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    path = folder / f"{series}.{number}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def headers(folder: Path) -> list[Header]:
    return [read_header(path) for path in sorted(folder.glob("*.dcm"))]


def test_files_become_studies_and_series(tmp_path: Path) -> None:
    for number in range(1, 21):
        write(tmp_path, number)
    for number in range(1, 4):
        write(tmp_path, number, series="1.2.1.2", SeriesDescription="localizer")
    write(tmp_path, 1, study="1.2.2", series="1.2.2.1")

    studies = studies_from_headers(headers(tmp_path))

    assert [study.study_instance_uid for study in studies] == ["1.2.1", "1.2.2"]
    flair, scout = studies[0].series
    assert (flair.images, scout.images) == (20, 3)
    assert (flair.sequence, flair.plane, flair.localizer, flair.source_ae) == ("flair", "axial", False, "MR1")
    assert scout.sequence == "localizer"
    assert studies[0].tags["PatientAge"] == "060Y"
    assert "PatientName" not in studies[0].tags


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    for number in range(1, 13):
        write(tmp_path, number)
    found = headers(tmp_path)

    assert studies_from_headers(found) == studies_from_headers(reversed(found))


def test_copies_of_an_image_count_once(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (one,) = headers(tmp_path)

    assert studies_from_headers([one, one, one])[0].series[0].images == 1


def test_frames_count_as_images(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (one,) = headers(tmp_path)

    assert studies_from_headers([replace(one, frames=160)])[0].series[0].images == 160


def test_a_folder_is_routed_by_the_example_rules(tmp_path: Path) -> None:
    for number in range(1, 21):
        write(tmp_path, number)
    (study,) = studies_from_headers(headers(tmp_path))

    found = route(study, load_rules(RULES))

    assert found == [Route("glioma", "brain-mr", {"flair": "1.2.1.1"}, found[0].priority, ("pacs",))]  # type: ignore[index]


def test_facts_survive_the_database(tmp_path: Path) -> None:
    """The daemon keeps tags as JSON: rules must make the same of what comes back."""
    for number in range(1, 21):
        write(tmp_path, number)
    (study,) = studies_from_headers(headers(tmp_path))

    def stored(value: Any) -> Any:
        return json.loads(json.dumps(value))

    restored = StudyAttributes(
        study.study_instance_uid,
        stored(study.tags),
        tuple(
            SeriesAttributes(
                one.series_instance_uid, stored(one.tags), tuple(stored(one.instance_tags)), one.images, "MR1"
            )
            for one in study.series
        ),
    )

    assert route(restored, load_rules(RULES)) == route(study, load_rules(RULES))


def test_images_under_one_uid_are_counted_one_by_one(tmp_path: Path) -> None:
    for number in range(1, 21):
        path = write(tmp_path, 1, ImagePositionPatient=[0, 0, 6 * number])
        path.rename(tmp_path / f"{number:02d}.dcm")
    (study,) = studies_from_headers([*headers(tmp_path), *headers(tmp_path)])
    assert study.series[0].images == 20
