"""Which way a brain is read, why, and what comes of it: a phantom with a known glioma, a stand-in for the network."""

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
from engines.plain_yaml import read_yaml, write_yaml
from pipelines.brain.volume import SHAPE
from pipelines.job import EngineChoice, JobDescription, Outcome
from pipelines.phantoms.dicom import PhantomTruth, write_phantom
from pipelines.registry import model_digest, packages_for, pipeline_named
from pipelines.worker import JobRunner
from tests.pipelines.brain.brains import NAME, dice, stand_in

SETTINGS = EngineSettings(backend="onnxruntime", threads=len(os.sched_getaffinity(0)))
PIPELINE = pipeline_named("brain-mr")
PARTS = {"Edema": "edema", "Non-enhancing core": "non-enhancing core", "Enhancing": "enhancing"}
KNOWN = ("Edema", "Enhancing")
"""What the stand-in can tell apart; a necrosis takes more than one threshold per sequence."""

Inputs = dict[str, tuple[str, ...]]
perform = JobRunner().run  # one for all tests here: each engine is opened once


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's folder of packages, with a stand-in for the 3D network."""
    pytest.importorskip("onnx", reason="onnx (dev extra) makes the network of these tests")
    return stand_in(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[PhantomTruth, Inputs]:
    out = tmp_path_factory.mktemp("phantom") / "dicom"
    truth = write_phantom("brain-mr", out, matrix=160)
    return truth, {role: files(out / role) for role in ("flair", "t1", "t1ce", "t2")}


def files(folder: Path) -> tuple[str, ...]:
    return tuple(map(str, sorted(folder.glob("*.dcm"))))


def job(inputs: Inputs, output: Path, *folders: Path, without: str = "") -> JobDescription:
    packages = packages_for(PIPELINE, folders)
    packages.pop(without, None)
    return JobDescription(
        job_id="1",
        pipeline="brain-mr",
        inputs=inputs,
        inputs_digest="d1",
        model_digest=model_digest(PIPELINE, packages),
        models={slot: EngineChoice(str(one.folder), SETTINGS) for slot, one in packages.items()},
        output=str(output),
        created=datetime(2026, 1, 5, 12, 0, tzinfo=UTC),
        segmentations=("BINARY", "LABELMAP"),
    )


@pytest.fixture(scope="module")
def outcome(package: Path, phantom: tuple[PhantomTruth, Inputs], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return perform(job(phantom[1], tmp_path_factory.mktemp("out"), package))


def results(outcome: Outcome, kind: str) -> dict[str | None, Path]:
    return {result.encoding: Path(result.path) for result in outcome.results if result.kind == kind}


def test_a_network_of_slices_outlines_what_the_same_network_of_volumes_does(
    outcome: Outcome, phantom: tuple[PhantomTruth, Inputs], tmp_path: Path
) -> None:
    by_slice = perform(job(phantom[1], tmp_path / "out", stand_in(tmp_path / "models", neighbours=(-2, 0, 2))))
    flair = load_volume([Path(path) for path in phantom[1]["flair"]])
    for encoding in ("BINARY", "LABELMAP"):
        found, wanted = (read_masks(results(one, "segmentation")[encoding], flair) for one in (by_slice, outcome))
        assert [mask.any() for mask in wanted.values()].count(True) >= 2
        assert found.keys() == wanted.keys()
        for segment, mask in wanted.items():
            np.testing.assert_array_equal(found[segment], mask)


def test_four_sequences_are_read_as_one_volume_and_the_notes_say_so(outcome: Outcome) -> None:
    assert outcome.refused is None
    assert outcome.notes[0] == "Read as one volume: FLAIR, T1, T1CE and T2 are all there"
    assert "The brain was found by laying a template on the head" in outcome.notes
    assert list(outcome.models) == list(outcome.engines) == [NAME, "brain-lgg-classifier"]


def test_four_sequences_are_classified_as_slices_are(
    outcome: Outcome, phantom: tuple[PhantomTruth, Inputs], package: Path, tmp_path: Path
) -> None:
    by_slice = perform(job(phantom[1], tmp_path / "out", package, without="volume_segmenter"))
    assert outcome.headline == by_slice.headline
    assert outcome.headline.startswith("Brain tumour: tumour (probability ")
    assert outcome.answer == "tumour"
    asked = "Probability: Brain tumour on FLAIR"
    volume, slices = ({(m.tracking_id, m.name): m.value for m in one.measurements} for one in (outcome, by_slice))
    assert volume["Study", asked] == slices["Study", asked]
    assert outcome.summary.startswith("Brain tumour: tumour (probability ")
    said = [classified(one) for one in (outcome, by_slice)]
    assert said[0] == said[1] != []


def classified(outcome: Outcome) -> list[tuple[str, str]]:
    """Names and values of the report's group about the whole study (TID 1501)."""
    report = pydicom.dcmread(results(outcome, "report")["BINARY"])
    found: list[tuple[str, str]] = []

    def walk(item: pydicom.Dataset, inside: bool) -> None:
        for child in item.get("ContentSequence", []):
            name = child.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in child else ""
            ours = inside or "Brain tumour on FLAIR" in [
                part.get("TextValue") for part in child.get("ContentSequence", [])
            ]
            if ours and child.ValueType in {"NUM", "CODE", "TEXT"}:
                value = child.get("TextValue") or (
                    child.ConceptCodeSequence[0].CodeMeaning
                    if "ConceptCodeSequence" in child
                    else str(child.MeasuredValueSequence[0].NumericValue)
                )
                found.append((str(name), str(value)))
            walk(child, ours)

    walk(report, False)
    return found


def presences(outcome: Outcome) -> dict[str, str]:
    """What the report says of presence, by the name of the group that says it."""
    found: dict[str, str] = {}

    def walk(item: pydicom.Dataset) -> None:
        children = item.get("ContentSequence", [])
        named = [child.TextValue for child in children if child.ValueType == "TEXT"]
        for child in children:
            if child.ValueType == "CODE" and child.ConceptNameCodeSequence[0].CodeValue == "121052":
                found[named[0]] = child.ConceptCodeSequence[0].CodeMeaning
            walk(child)

    walk(pydicom.dcmread(results(outcome, "report")["BINARY"]))
    return found


def test_a_study_that_classifier_and_outlines_disagree_on_is_unclear_everywhere(
    outcome: Outcome, phantom: tuple[PhantomTruth, Inputs], tmp_path: Path, needs: Callable[..., str]
) -> None:
    folder = stand_in(tmp_path / "models")
    path = folder / NAME / "model.yaml"
    content = read_yaml(path.read_text())
    content["thresholds"]["min_volume_ml"] = 100_000.0  # outlines nothing, whatever there is
    path.write_text(write_yaml(content))
    done = perform(job(phantom[1], tmp_path / "out", folder))
    assert done.answer == "unclear: look"
    assert done.headline.startswith("Brain tumour: unclear: look (probability ")
    assert done.summary.startswith(done.headline + "; nothing outlined")
    assert any(note.startswith("The classifier suspects a tumour") for note in done.notes)
    assert presences(done) == {"Brain tumour": "Indeterminate"}
    assert set(presences(outcome).values()) == {"Present"}
    program = needs("dciodvfy", package="dicom3tools")
    run = subprocess.run([program, results(done, "report")["BINARY"]], capture_output=True, text=True, check=False)
    assert not [line for line in run.stderr.splitlines() if line.startswith("Error")]


def test_each_part_of_the_glioma_is_a_segment_where_it_truly_is(
    outcome: Outcome, phantom: tuple[PhantomTruth, Inputs]
) -> None:
    truth, inputs = phantom
    flair = load_volume([Path(path) for path in inputs["flair"]])
    for path in results(outcome, "segmentation").values():
        found = read_masks(path, flair)
        assert list(found) == list(PARTS)
        assert dice(np.logical_or.reduce(list(found.values())), truth.masks["lesion"]) > 0.85
        for label in KNOWN:
            assert dice(found[label], truth.masks[PARTS[label]]) > 0.6, label
    segments = pydicom.dcmread(results(outcome, "segmentation")["BINARY"]).SegmentSequence
    codes = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in segments]
    assert [(code.CodeValue, code.CodingSchemeDesignator) for code in codes] == [
        ("79654002", "SCT"),
        ("C81175", "NCIt"),
        ("C113842", "NCIt"),
    ]


def test_figures_of_parts_and_lesions_are_those_of_the_truth(
    outcome: Outcome, phantom: tuple[PhantomTruth, Inputs]
) -> None:
    truth, _ = phantom
    figures = {(m.tracking_id, m.name): m.value for m in outcome.measurements}
    voxel_ml = float(np.prod(truth.spacing)) / 1000
    assert figures["Study", "Tumour count"] == 1
    assert figures["Study", "Tumour volume"] == pytest.approx(truth.lesion_volumes_ml[0], rel=0.1)
    assert figures["Lesion 1", "Volume"] == pytest.approx(figures["Study", "Tumour volume"])
    assert figures["Lesion 1", "Axial diameter"] == pytest.approx(40, abs=8)
    for label in KNOWN:
        true = float(truth.masks[PARTS[label]].sum()) * voxel_ml
        assert figures["Study", f"{label} volume"] == pytest.approx(true, rel=0.5), label
    for label in PARTS:
        assert figures[label, "Volume"] == pytest.approx(figures["Study", f"{label} volume"])
    core = figures["Study", "Enhancing volume"] + figures["Study", "Non-enhancing core volume"]
    assert figures["Study", "Tumour core volume"] == pytest.approx(core)
    assert "enhancing" in outcome.summary


def test_the_report_measures_parts_and_lesions(outcome: Outcome) -> None:
    report = pydicom.dcmread(results(outcome, "report")["BINARY"])
    text = str(report)
    for said in ("Edema", "Non-Enhancing Lesion", "Enhancing Lesion", "Lesion 1", "Volume of tumour without edema"):
        assert said in text, said
    series = {
        item.SeriesInstanceUID for item in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    }
    assert len(series) == 5  # four sequences and the SEG


def test_objects_pass_dciodvfy(outcome: Outcome, needs: Callable[..., str]) -> None:
    program = needs("dciodvfy", package="dicom3tools")
    for result in outcome.results:
        if result.encoding == "LABELMAP":
            continue  # dciodvfy does not know label maps yet, nor reports that refer to one
        run = subprocess.run([program, result.path], capture_output=True, text=True, check=False)
        assert not [line for line in run.stderr.splitlines() if line.startswith("Error")], result.path


def test_without_the_package_the_study_is_read_slice_by_slice(
    phantom: tuple[PhantomTruth, Inputs], package: Path, tmp_path: Path
) -> None:
    done = perform(job(phantom[1], tmp_path / "out", package, without="volume_segmenter"))
    assert done.notes[0] == "Read slice by slice: no network for four sequences is installed"
    assert set(done.models) == {"brain-lgg-classifier", "brain-lgg-resunet"}
    figures = {(m.tracking_id, m.name): m.value for m in done.measurements}
    assert figures["Study", "Tumour volume"] == pytest.approx(phantom[0].lesion_volumes_ml[0], rel=0.5)


def test_a_missing_sequence_or_a_brain_that_is_not_found_leads_to_slices_with_the_reason(
    phantom: tuple[PhantomTruth, Inputs], package: Path, tmp_path: Path
) -> None:
    inputs = {role: paths for role, paths in phantom[1].items() if role not in {"t1ce", "t2"}}
    done = perform(job(inputs, tmp_path / "few", package))
    assert done.notes[0] == "Read slice by slice: T1CE and T2 were not available"

    slab = {role: paths[9:15] for role, paths in phantom[1].items()}  # six slices hold no brain that could be found
    done = perform(job(slab, tmp_path / "slab", package))
    assert done.notes[0].startswith("Read slice by slice: the brain was not found")
    assert done.refused is None


def test_a_sequence_of_another_frame_of_reference_is_registered(
    phantom: tuple[PhantomTruth, Inputs], package: Path, outcome: Outcome, tmp_path: Path
) -> None:
    moved = []
    for number, path in enumerate(phantom[1]["t2"]):
        image = pydicom.dcmread(path)
        image.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.1"
        x, y, z = map(float, image.ImagePositionPatient)
        image.ImagePositionPatient = [x + 12, y - 20, z + 35]
        image.save_as(tmp_path / f"{number:03d}.dcm")
        moved.append(str(tmp_path / f"{number:03d}.dcm"))
    done = perform(job({**phantom[1], "t2": tuple(moved)}, tmp_path / "out", package))
    assert done.notes[0].startswith("Read as one volume")
    assert "T2 has another frame of reference and was registered to the FLAIR (rigid)" in done.notes
    before, after = ({m.name: m.value for m in one.measurements if m.tracking_id == "Study"} for one in (outcome, done))
    assert after["Tumour volume"] == pytest.approx(before["Tumour volume"], rel=0.1)


def test_the_hospital_may_remove_the_package_but_not_break_it(package: Path, tmp_path: Path) -> None:
    from engines.errors import PackageError

    assert set(packages_for(PIPELINE, (package,))) == {"classifier", "segmenter", "volume_segmenter"}
    lonely = replace(PIPELINE, optional_models={"volume_segmenter": "no-such-package"})
    assert set(packages_for(lonely, ())) == {"classifier", "segmenter"}
    broken = stand_in(tmp_path / "broken")
    (broken / NAME / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(PackageError):
        packages_for(PIPELINE, (broken,))


def test_a_network_that_answers_for_less_is_refused_before_the_first_study(tmp_path: Path) -> None:
    from engines.errors import PackageInvalid

    folder = stand_in(tmp_path / "models", neighbours=(-2, 0, 2))
    path = folder / NAME / "model.yaml"
    content = read_yaml(path.read_text())
    content["outputs"][0]["shape"] = ["batch", 3, 96, 80]
    path.write_text(write_yaml(content))
    with pytest.raises(PackageInvalid, match=r"outputs.0.shape: .* the input's size \[192, 160\]"):
        packages_for(PIPELINE, (folder,))


@pytest.mark.parametrize(
    ("neighbours", "shape", "words"),
    [
        (
            (-2, 0, 2),
            ["batch", 9, *SHAPE[1:]],
            r"inputs.0.shape: 3 slices of four sequences are shown as \['batch', 12, ",
        ),
        ((-2, 0, 2), ["batch", 12, 128, 128], r"received \['batch', 12, 128, 128\]"),
        ((), ["batch", 4, 128, 128, 128], r"a whole brain of four sequences is shown as \['batch', 4, 160, 192, 160\]"),
    ],
)
def test_a_network_of_another_shape_is_refused_before_the_first_study(
    tmp_path: Path, neighbours: tuple[int, ...], shape: list[int | str], words: str
) -> None:
    from engines.errors import PackageInvalid

    folder = stand_in(tmp_path / "models", neighbours=neighbours)
    path = folder / NAME / "model.yaml"
    content = read_yaml(path.read_text())
    content["inputs"] = [
        {"name": "image", "shape": shape, "channels": [{"name": f"c{k}"} for k in range(int(shape[1]))]}
    ]
    content["outputs"][0]["shape"] = ["batch", 3, *shape[2:]]
    path.write_text(write_yaml(content))
    with pytest.raises(PackageInvalid, match=words):
        packages_for(PIPELINE, (folder,))
