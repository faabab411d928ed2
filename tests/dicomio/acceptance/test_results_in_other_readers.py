"""What others make of our objects: dicom3tools, dcmqi, and an Orthanc that takes and returns them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from dicomio.results.attributes import Algorithm, ResultUIDs, write_result
from dicomio.results.codes import LIVER, LONG_AXIS, MILLILITRE, MILLIMETRE, NEOPLASM, VOLUME
from dicomio.results.key_images import KeyImage, encode_key_images
from dicomio.results.report.encoder import (
    AbsentFinding,
    Measured,
    MeasurementGroup,
    ReportContent,
    SourceSeries,
    encode_report,
)
from dicomio.results.segmentation.readback import verify_segmentation
from dicomio.results.uids import derived_uid

NETWORK = Algorithm("abdomen-net", "1.2.0")
NO_LESION = AbsentFinding("Tumour", derived_uid("tumour"), NETWORK, site=LIVER)
CREATED = datetime(2026, 11, 20, 8, 15, 30)


@pytest.fixture
def results(case, encode, tmp_path):
    """`results(...)`: paths of a SEG, a report on it, a report of nothing and a key image; the masks; the volume."""

    def make(shape=(9, 40, 32), **options):
        volume, header, masks = case(shape, **options)
        segmentation = encode(masks, volume, header)
        written = {
            "seg": segmentation,
            "sr": _report(_measured(segmentation, masks, volume), volume, segmentation, header),
            "none": _report(ReportContent("No tumour found.", absent=(NO_LESION,)), volume, None, header),
            "sc": _capture(volume, header),
        }
        for name, dataset in written.items():
            write_result(dataset, tmp_path / f"{name}.dcm")
        return {name: tmp_path / f"{name}.dcm" for name in written}, masks, volume

    return make


def _report(content, volume, segmentation, header):
    return encode_report(
        content,
        [SourceSeries.of(volume)],
        segmentation,
        header=header,
        uids=ResultUIDs(derived_uid("reports"), derived_uid(content.summary)),
        series_number=9002,
        series_description="Report",
        created=CREATED,
        device_uid=derived_uid("device"),
    )


def _measured(segmentation, masks, volume):
    groups = tuple(
        MeasurementGroup(
            int(segment.SegmentNumber), segment.TrackingID, segment.TrackingUID, NEOPLASM, None, LIVER, NETWORK,
            (Measured(VOLUME, masks[segment.SegmentNumber].sum() * volume.voxel_ml, MILLILITRE),
             Measured(LONG_AXIS, 12.5, MILLIMETRE)),
        )
        for segment in segmentation.SegmentSequence
    )  # fmt: skip
    return ReportContent("Two lesions.", groups=groups)


def _capture(volume, header):
    image = KeyImage(np.full((16, 16, 3), 200, np.uint8), derived_uid("capture"), volume.sources[:1])
    (capture,) = encode_key_images(
        [image], header=header, series_instance_uid=derived_uid("captures"), series_number=9003,
        series_description="Key images", created=CREATED, body_part="LIVER",
    )  # fmt: skip
    return capture


@pytest.mark.parametrize("name", ["seg", "sr", "none", "sc"])
def test_dciodvfy_finds_no_error(name, results, conforms):
    paths, _, _ = results()
    conforms(paths[name])


def test_dcmqi_reads_the_same_masks(results, oblique, tmp_path):
    paths, masks, volume = results(affine=oblique)
    _dcmqi("segimage2itkimage", "--inputDICOM", paths["seg"], "--outputDirectory", tmp_path, "--outputType", "nrrd")
    for number, mask in masks.items():
        image = SimpleITK.ReadImage(str(tmp_path / f"{number}.nrrd"))
        assert np.array_equal(_on_grid(image, volume), mask)


def test_dcmqi_reads_the_same_volumes(results, tmp_path):
    paths, masks, volume = results()
    _dcmqi("tid1500reader", "--inputDICOM", paths["sr"], "--outputMetadata", tmp_path / "sr.json")
    report = json.loads((tmp_path / "sr.json").read_text())
    segmentation = pydicom.dcmread(paths["seg"])
    for group in report["Measurements"]:
        number = group["ReferencedSegment"]
        assert group["segmentationSOPInstanceUID"] == segmentation.SOPInstanceUID
        assert group["TrackingUniqueIdentifier"] == segmentation.SegmentSequence[number - 1].TrackingUID
        figure = group["measurementItems"][0]
        assert figure["units"]["CodeValue"] == "mL"
        assert float(figure["value"]) == pytest.approx(masks[number].sum() * volume.voxel_ml, rel=1e-5)
    assert [group["ReferencedSegment"] for group in report["Measurements"]] == [1, 2, 3]


def test_orthanc_takes_everything_and_gives_it_back(results, orthanc):
    paths, _, volume = results(PatientName="Müller^Jörg")
    orthanc.store(*paths.values(), *(source.path for source in volume.sources))
    (study,) = orthanc.get("/studies?expand")
    assert study["MainDicomTags"]["AccessionNumber"] == "A-17"
    assert study["PatientMainDicomTags"]["PatientName"] == "Müller^Jörg"
    modalities = sorted(orthanc.get(f"/series/{series}")["MainDicomTags"]["Modality"] for series in study["Series"])
    assert modalities == ["CT", "OT", "SEG", "SR"]
    for path in paths.values():
        sent = pydicom.dcmread(path)
        (instance,) = orthanc.find(sent.SOPInstanceUID)
        assert pydicom.dcmread(BytesIO(orthanc.read(f"/instances/{instance}/file"))) == sent


def test_orthanc_takes_a_label_map(case, encode_file, orthanc):
    volume, header, masks = case()
    masks = {1: masks[1], 2: masks[3]}  # these two do not overlap
    path = encode_file(masks, volume, header, encoding="LABELMAP")
    orthanc.store(path)
    (instance,) = orthanc.find(derived_uid("seg"))
    verify_segmentation(pydicom.dcmread(BytesIO(orthanc.read(f"/instances/{instance}/file"))), masks, volume)


def _dcmqi(program: str, *arguments: object) -> None:
    path = shutil.which(program) or str(Path(sys.executable).with_name(program))
    run = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _on_grid(image: SimpleITK.Image, volume) -> np.ndarray:
    """The voxels of a mask that dcmqi wrote, put by their place in the patient on the grid of the volume."""
    mask = np.zeros(volume.array.shape, bool)
    to_grid = np.linalg.inv(volume.affine)
    for place in np.argwhere(SimpleITK.GetArrayFromImage(image)):
        point = image.TransformIndexToPhysicalPoint([int(value) for value in place[::-1]])
        index = (to_grid @ [*point, 1])[:3]
        assert np.allclose(index, np.rint(index), atol=1e-2)
        mask[tuple(np.rint(index).astype(int))] = True
    return mask
