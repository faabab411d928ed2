"""Results on real scans, whose headers are as scanners and anonymisers leave them."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicomio.results.attributes import Algorithm, ResultUIDs, read_source_header, write_result
from dicomio.results.codes import LIVER, MILLILITRE, VOLUME
from dicomio.results.key_images import KeyImage, encode_key_images, patient_orientation
from dicomio.results.report.encoder import Measured, MeasurementGroup, ReportContent, SourceSeries, encode_report
from dicomio.results.segmentation.readback import verify_segmentation
from dicomio.results.uids import derived_uid
from dicomio.volumes.volume import load_volume


@pytest.fixture
def abdomen(dicom_samples):
    """The CHAOS abdomen with its liver: patient identifiers, dates and much else blanked."""
    folder = dicom_samples / "abdomen-ct-chaos"
    volume = load_volume(sorted((folder / "dicom").iterdir()))
    pictures = sorted((folder / "liver-masks").glob("*.png"))
    liver = np.stack([np.asarray(Image.open(path)) > 0 for path in pictures])
    return volume, {1: liver}


@pytest.fixture
def brain(dicom_samples):
    """A Philips FLAIR, oblique, from a French hospital: accents, an illegal sex, a study that is all codes."""
    volume = load_volume(sorted((dicom_samples / "brain-mr-philips-flair").iterdir()))
    lesion = np.zeros(volume.array.shape, bool)
    lesion[8:13, 100:131, 140:167] = True
    return volume, {1: lesion}


@pytest.mark.parametrize("encoding", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("scan", ["abdomen", "brain"])
def test_masks_on_real_scans_read_back(scan, encoding, request, encode_file, conforms):
    volume, masks = request.getfixturevalue(scan)
    path = encode_file(masks, volume, encoding=encoding)
    verify_segmentation(path, masks, volume)
    if encoding == "BINARY":  # the dciodvfy of Debian 12 is older than label maps
        conforms(path)


@pytest.mark.parametrize("scan", ["abdomen", "brain"])
def test_frames_lie_where_the_images_lie(scan, request, encode):
    volume, masks = request.getfixturevalue(scan)
    dataset = encode(masks, volume)
    positions = {}
    for source in volume.sources:
        header = read_source_header(source.path)
        positions[header.SOPInstanceUID] = np.array(header.ImagePositionPatient, float)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(position - positions[source]).max() < 0.01


@pytest.mark.parametrize("scan", ["abdomen", "brain"])
def test_report_and_pictures_on_real_scans_conform(scan, request, encode, conforms, tmp_path):
    volume, masks = request.getfixturevalue(scan)
    header = read_source_header(volume.sources[0].path)
    network = Algorithm("a-net", "1.0.0")
    figures = (Measured(VOLUME, masks[1].sum() * volume.voxel_ml, MILLILITRE),)
    group = MeasurementGroup(1, "Liver", derived_uid("tracking", "1"), LIVER, None, None, network, figures)
    common = {"header": header, "created": datetime(2026, 11, 20), "series_description": "x"}
    report = encode_report(
        ReportContent("x", groups=(group,)), [SourceSeries.of(volume)], encode(masks, volume, header),
        uids=ResultUIDs(derived_uid("a"), derived_uid("b")), series_number=1, device_uid=derived_uid("c"), **common,
    )  # fmt: skip
    image = KeyImage(np.zeros((64, 64, 3), np.uint8), derived_uid("d"), volume.sources[:1], patient_orientation(volume))
    pictures = encode_key_images(
        [image], series_instance_uid=derived_uid("e"), series_number=2, body_part="LIVER", **common
    )
    for number, dataset in enumerate([report, *pictures]):
        write_result(dataset, tmp_path / f"{number}.dcm")
        conforms(tmp_path / f"{number}.dcm")


def test_accents_of_the_source_survive(brain, encode_file):
    volume, masks = brain
    assert pydicom.dcmread(encode_file(masks, volume)).StudyDescription == "IRM cérébrale, neuro-crâne"
