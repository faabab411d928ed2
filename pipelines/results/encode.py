"""From findings to DICOM: SEG, structured report, key images, and pictures for people without a PACS."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dicomio.files.spool.durable import sync_folder
from dicomio.results.attributes import changed_attributes, read_source_header
from dicomio.results.key_images import KeyImage, encode_key_images, patient_orientation
from dicomio.results.uids import derived_uid
from pipelines.results.pictures import KeySlice, key_slices, save_pictures
from pipelines.results.report import encode_findings
from pipelines.results.segments import encode_segments
from pipelines.results.writer import OWN_FILES, ResultWriter

if TYPE_CHECKING:
    from dicomio.results.segmentation.encoder import Encoding
    from dicomio.volumes.volume import Volume
    from pipelines.findings import Findings
    from pipelines.job import JobDescription, ResultFile
    from pipelines.networks import Progress
    from pipelines.specifications import Pipeline


def encode_results(
    findings: Findings, pipeline: Pipeline, job: JobDescription, report: Progress, *, others: tuple[Volume, ...] = ()
) -> tuple[tuple[ResultFile, ...], tuple[Path, ...]]:
    """Writes every object and picture of a job into its output folder; those of an earlier try go, other files stay.

    `others` are further series that went in, beside the one that the masks lie on.

    Returns:
        The DICOM objects, and the PNG files.

    Raises:
        ReadBackMismatch: A SEG does not read back to the same masks; nothing of this job may be delivered then.
    """
    folder = Path(job.output)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for pattern in OWN_FILES:
        for old in folder.glob(pattern):
            old.unlink()
    writer = ResultWriter(findings, pipeline, job, others)
    keys = key_slices(findings)
    with ThreadPoolExecutor(1, "pictures") as thread:  # most of drawing and packing needs no interpreter
        pictures = thread.submit(save_pictures, findings, keys, folder / "pictures")
        _encode_objects(writer, keys, report)
    sync_folder(folder)  # the rows that name these files are durable; so must their entries be
    return tuple(writer.results), pictures.result()


def inheritance_notes(volume: Volume) -> tuple[str, ...]:
    """Notes on attributes of patient, study and references that differ from the source.

    Names of attributes only, never what they hold.
    """
    uids = [("SeriesInstanceUID", volume.series_instance_uid), ("FrameOfReferenceUID", volume.frame_of_reference_uid)]
    uids += [("SOPInstanceUID", source.sop_instance_uid) for source in volume.sources]
    keywords = changed_attributes(read_source_header(volume.sources[0].path), uids)
    notes = []
    if keywords:
        notes.append(f"Not legal in DICOM, and mended or left out in the results: {', '.join(keywords)}")
    if "StudyInstanceUID" in keywords:
        notes.append("The results lie in a study of their own: the Study Instance UID of the images is none")
    return tuple(notes)


def _encode_objects(writer: ResultWriter, keys: tuple[KeySlice, ...], report: Progress) -> None:
    """Every DICOM object of a job."""
    job = writer.job
    for number, encoding in enumerate(job.segmentations):
        report("encode", number / (len(job.segmentations) + 1))
        _encode_pair(writer, encoding)
    if job.key_images:
        _encode_key_images(writer, keys)


def _encode_pair(writer: ResultWriter, encoding: Encoding) -> None:
    """One SEG (if there is anything to outline) and the report that refers to it."""
    suffix = "" if encoding == "BINARY" else f"-{encoding.lower()}"
    number = writer.pipeline.series_number + (0 if encoding == "BINARY" else 10)
    segmentation = encode_segments(writer, encoding, number, f"seg{suffix}.dcm")
    encode_findings(writer, encoding, segmentation, number + 1, f"sr{suffix}.dcm")


def _encode_key_images(writer: ResultWriter, keys: tuple[KeySlice, ...]) -> None:
    volume = writer.findings.volume
    uids = writer.uids("key images")
    images = [
        KeyImage(
            pixels=np.asarray(key.rgb),
            sop_instance_uid=derived_uid(uids.sop_instance_uid, str(number)),
            sources=(volume.sources[key.index],),
            patient_orientation=patient_orientation(volume),
            comment=key.caption,
        )
        for number, key in enumerate(keys, start=1)
    ]
    encoded = encode_key_images(
        images,
        header=writer.header,
        series_instance_uid=uids.series_instance_uid,
        series_number=writer.pipeline.series_number + 2,
        series_description=f"Scanward {writer.pipeline.title} key images",
        created=writer.job.created,
        body_part=writer.pipeline.body_part,
    )
    for number, dataset in enumerate(encoded, start=1):
        writer.write(dataset, "key-image", f"key-{number:02d}.dcm")
