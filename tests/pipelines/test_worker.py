"""A worker's whole step on phantoms with the shipped models: what is written, how it is named, what is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicomio.results.segmentation.readback import read_masks
from dicomio.volumes.volume import load_volume
from engines.contract import EngineSettings
from engines.packages.manifest import Thresholds
from engines.packages.package import ModelPackage
from pipelines.errors import ModelsDiffer
from pipelines.job import EngineChoice, JobDescription, Outcome
from pipelines.phantoms.dicom import PhantomTruth, write_phantom
from pipelines.registry import model_digest, packages_for, pipeline_named
from pipelines.worker import JobRunner

WHEN = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SETTINGS = EngineSettings(threads=len(os.sched_getaffinity(0)))

perform = JobRunner().run  # one for all tests here: each engine is opened once


def job(pipeline: str, inputs: dict[str, list[Path]], output: Path, digest: str = "d1") -> JobDescription:
    definition = pipeline_named(pipeline)
    packages = packages_for(definition, ())
    return JobDescription(
        job_id="1",
        pipeline=pipeline,
        inputs={role: tuple(map(str, paths)) for role, paths in inputs.items()},
        inputs_digest=digest,
        model_digest=model_digest(definition, packages),
        models={slot: EngineChoice(str(package.folder), SETTINGS) for slot, package in packages.items()},
        output=str(output),
        created=WHEN,
    )


def by_description(folder: Path) -> dict[str, list[Path]]:
    series: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.dcm")):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        series.setdefault(str(header.SeriesDescription), []).append(path)
    return series


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> tuple[PhantomTruth, dict[str, list[Path]]]:
    out = tmp_path_factory.mktemp("brain") / "dicom"
    truth = write_phantom("brain-mr", out, slices=20)
    series = by_description(out)
    (flair,) = [paths for name, paths in series.items() if "FLAIR" in name.upper()]
    others = [paths for paths in series.values() if paths is not flair]
    return truth, {"flair": flair, "t1": others[0], "t1ce": others[1]}


@pytest.fixture(scope="module")
def outcome(brain: tuple[PhantomTruth, dict[str, list[Path]]], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return perform(job("brain-mr", brain[1], tmp_path_factory.mktemp("out")))


def results(outcome: Outcome, kind: str) -> list[Path]:
    return [Path(result.path) for result in outcome.results if result.kind == kind]


def test_the_lesion_of_a_phantom_is_found(brain: tuple[PhantomTruth, dict[str, list[Path]]], outcome: Outcome) -> None:
    truth, inputs = brain
    assert outcome.refused is None
    (seg,) = results(outcome, "segmentation")
    found = np.logical_or.reduce(list(read_masks(seg, load_volume(inputs["flair"])).values()))
    true = truth.masks["lesion"]
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.6
    figures = {(m.tracking_id, m.name): m.value for m in outcome.measurements}
    assert figures["Study", "Tumour count"] == 1
    assert figures["Lesion 1", "Volume"] == pytest.approx(truth.lesion_volumes_ml[0], rel=0.5)


def test_seg_and_report_track_the_same_lesion_and_name_their_source(
    brain: tuple[PhantomTruth, dict[str, list[Path]]], outcome: Outcome
) -> None:
    seg = pydicom.dcmread(results(outcome, "segmentation")[0])
    text = str(pydicom.dcmread(results(outcome, "report")[0]))
    assert seg.StudyInstanceUID == brain[0].study_instance_uid
    assert seg.SegmentSequence[0].TrackingUID in text
    tracked = {m.tracking_uid for m in outcome.measurements if m.tracking_id == "Lesion 1"}
    assert tracked == {seg.SegmentSequence[0].TrackingUID}


def test_objects_pass_dciodvfy(outcome: Outcome, needs: Callable[..., str]) -> None:
    import subprocess

    program = needs("dciodvfy", package="dicom3tools")
    for result in outcome.results:
        run = subprocess.run([program, result.path], capture_output=True, text=True, check=False)
        assert not [line for line in run.stderr.splitlines() if line.startswith("Error")], result.path


def test_a_retry_makes_the_same_objects_byte_for_byte(
    brain: tuple[PhantomTruth, dict[str, list[Path]]], outcome: Outcome, tmp_path: Path
) -> None:
    again = perform(job("brain-mr", brain[1], tmp_path / "again"))
    assert [Path(r.path).read_bytes() for r in again.results] == [Path(r.path).read_bytes() for r in outcome.results]
    other = perform(replace(job("brain-mr", brain[1], tmp_path / "other"), inputs_digest="d2"))
    assert not {r.sop_instance_uid for r in other.results} & {r.sop_instance_uid for r in outcome.results}


def test_pictures_lie_beside_the_objects_and_are_private(outcome: Outcome) -> None:
    assert {Path(picture).name for picture in outcome.pictures} >= {"overview.png"}
    for path in [*outcome.pictures, *(result.path for result in outcome.results)]:
        assert Path(path).stat().st_mode & 0o077 == 0


def test_a_broken_series_is_refused_with_a_reason_and_a_broken_optional_one_is_left_out(
    brain: tuple[PhantomTruth, dict[str, list[Path]]], tmp_path: Path
) -> None:
    _, inputs = brain
    gap = inputs["flair"][:6] + inputs["flair"][8:]
    refused = perform(job("brain-mr", {"flair": gap}, tmp_path / "gap"))
    assert refused.refused
    assert "missing" in refused.refused.lower()
    assert not refused.results
    done = perform(job("brain-mr", {"flair": inputs["flair"], "t1": inputs["t1"][:1]}, tmp_path / "t1"))
    assert done.refused is None
    assert any("T1 could not be used" in note for note in done.notes)


@pytest.mark.parametrize("role", ["t1", "t1ce"])
def test_a_series_of_somebody_else_refuses_the_job_also_an_optional_one(
    brain: tuple[PhantomTruth, dict[str, list[Path]]], tmp_path: Path, role: str
) -> None:
    theirs = []
    for path in brain[1][role]:
        dataset = pydicom.dcmread(path)
        dataset.PatientID, dataset.PatientName = "SOMEBODY", "Else^Somebody"
        dataset.save_as(tmp_path / path.name)
        theirs.append(tmp_path / path.name)
    outcome = perform(job("brain-mr", {**brain[1], role: theirs}, tmp_path / "out"))
    assert outcome.refused is not None
    assert "different patients: PatientID" in outcome.refused
    assert "SOMEBODY" not in outcome.refused
    assert "Else" not in outcome.refused
    assert not list(tmp_path.glob("out/*.dcm"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_source_that_is_not_legal_makes_results_that_are_and_says_so(
    brain: tuple[PhantomTruth, dict[str, list[Path]]], tmp_path: Path, needs: Callable[..., str]
) -> None:
    source = []
    for path in brain[1]["flair"]:
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.study", "1.2.series"
        dataset.SOPInstanceUID += ".x"
        dataset.StudyDate, dataset.StudyDescription = "no date", "x" * 80
        dataset.save_as(tmp_path / path.name)
        source.append(tmp_path / path.name)
    done = perform(job("brain-mr", {"flair": source}, tmp_path / "out"))
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "StudyDate", "StudyDescription")
    (note,) = [note for note in done.notes if note.startswith("Not legal in DICOM, and mended or left out")]
    assert set(note.rpartition(": ")[2].split(", ")) == set(keywords)
    assert any("lie in a study of their own" in note for note in done.notes)
    report = pydicom.dcmread(results(done, "report")[0])
    assert note in [element.value for element in report.iterall() if element.keyword == "TextValue"]
    program = needs("dciodvfy", package="dicom3tools")
    for result in done.results:
        run = subprocess.run([program, result.path], capture_output=True, text=True, check=False)
        assert not [line for line in run.stderr.splitlines() if line.startswith("Error")], result.path


def test_no_finding_is_a_result_too(tmp_path: Path) -> None:
    write_phantom("brain-mr", tmp_path / "dicom", slices=16, lesions=0, seed=3)
    (flair,) = [paths for name, paths in by_description(tmp_path / "dicom").items() if "FLAIR" in name.upper()]
    done = perform(job("brain-mr", {"flair": flair}, tmp_path / "out"))
    assert "no lesion found" in done.summary
    assert results(done, "segmentation") == []
    (report,) = results(done, "report")
    assert "Absent" in str(pydicom.dcmread(report))


def test_a_job_made_for_other_models_is_not_run_with_those_at_hand(
    brain: tuple[PhantomTruth, dict[str, list[Path]]], tmp_path: Path
) -> None:
    with pytest.raises(ModelsDiffer, match="not those that the job was made for"):
        perform(replace(job("brain-mr", brain[1], tmp_path / "out"), model_digest="0" * 64))


def test_each_encoding_that_a_destination_wants_gets_its_own_seg_and_report(tmp_path: Path) -> None:
    truth = write_phantom("abdomen-ct", tmp_path / "dicom", slices=24, matrix=256)
    ct = sorted((tmp_path / "dicom").rglob("*.dcm"))
    wanted = replace(job("abdomen-ct", {"ct": ct}, tmp_path / "out"), segmentations=("BINARY", "LABELMAP"))
    done = perform(wanted)
    kinds = sorted((result.kind, result.encoding) for result in done.results if result.kind != "key-image")
    assert kinds == [
        ("report", "BINARY"),
        ("report", "LABELMAP"),
        ("segmentation", "BINARY"),
        ("segmentation", "LABELMAP"),
    ]
    assert len({result.sop_instance_uid for result in done.results}) == len(done.results)
    volume = load_volume(ct)
    by_encoding = {
        result.encoding: read_masks(Path(result.path), volume)
        for result in done.results
        if result.kind == "segmentation"
    }
    whole = by_encoding["BINARY"]["Liver"]
    without = by_encoding["LABELMAP"]["Liver without lesions"]
    lesions = np.logical_or.reduce([mask for label, mask in by_encoding["LABELMAP"].items() if "Lesion" in label])
    assert (whole == (without | lesions)).all()
    assert not (without & lesions).any()
    true = truth.masks["liver"]
    assert 2 * (whole & true).sum() / (whole.sum() + true.sum()) > 0.9


@pytest.mark.parametrize("changes", [{"variants": {}}, {"calibration": None}, {"thresholds": Thresholds(mask=0.11)}])
def test_what_changes_answers_changes_who_they_are_from(changes: dict[str, object]) -> None:
    pipeline = pipeline_named("brain-mr")
    packages = packages_for(pipeline, ())
    one = packages["segmenter"]
    other = ModelPackage(one.folder, one.manifest.model_copy(update=changes))
    assert model_digest(pipeline, packages | {"segmenter": other}) != model_digest(pipeline, packages)
    renamed = ModelPackage(one.folder, one.manifest.model_copy(update={"description": "Other words."}))
    assert model_digest(pipeline, packages | {"segmenter": renamed}) == model_digest(pipeline, packages)
