"""What all results of one job share: folder, identity, time, and the list of what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dicomio.results.attributes import Algorithm, ResultUIDs, read_source_header, write_result
from dicomio.results.report.encoder import SourceSeries
from dicomio.results.uids import derived_uid
from pipelines.job import ResultFile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dicomio.results.segmentation.encoder import Encoding
    from dicomio.volumes.volume import Volume
    from pipelines.findings import Findings
    from pipelines.job import JobDescription, ResultFileKind
    from pipelines.specifications import Pipeline

OWN_FILES = ("seg.dcm", "seg-labelmap.dcm", "sr.dcm", "sr-labelmap.dcm", "key-??.dcm",
             "pictures/overview.png", "pictures/slice-*.png")  # fmt: skip
"""What a job writes: all that may be removed from its folder, which `scanward process` lets a person choose."""


def tracking_uid(inputs_digest: str, model_digest: str, tracking_id: str) -> str:
    """Tracking UID of a region, the same in SEG, report and database."""
    return derived_uid(inputs_digest, model_digest, "tracking", tracking_id)


class ResultWriter:
    """What every output of one job shares: source, folder, identity, time."""

    def __init__(
        self, findings: Findings, pipeline: Pipeline, job: JobDescription, volumes: tuple[Volume, ...]
    ) -> None:
        self.findings, self.pipeline, self.job = findings, pipeline, job
        self.sources = tuple(SourceSeries.of(volume) for volume in (findings.volume, *volumes))
        self.header = read_source_header(findings.volume.sources[0].path)
        self.folder = Path(job.output)
        self.results: list[ResultFile] = []

    def tracking_uid(self, tracking_id: str) -> str:
        """Tracking UID of a region, the same in SEG, report and database."""
        return tracking_uid(self.job.inputs_digest, self.job.model_digest, tracking_id)

    def algorithm(self, slot: str = "segmenter") -> Algorithm:
        """The network that did this part of the work, as SEG and report name it."""
        findings = self.findings
        name = findings.used.get(slot) or next(iter(findings.models))
        return Algorithm(name=name, version=findings.models[name][:12], parameters=(findings.engines[name],))

    def uids(self, output: str) -> ResultUIDs:
        """Identity of an output: follows from the inputs, the models and its name, a retry makes no second one."""
        parts = (self.job.inputs_digest, self.job.model_digest, output)
        return ResultUIDs(derived_uid(*parts, "series"), derived_uid(*parts, "instance"))

    def write(self, dataset: Dataset, kind: ResultFileKind, name: str,
              encoding: Encoding | None = None) -> Path:  # fmt: skip
        """Writes one object and notes it down."""
        path = self.folder / name
        write_result(dataset, path)
        self.results.append(
            ResultFile(
                kind=kind,
                path=str(path),
                sop_class_uid=str(dataset.SOPClassUID),
                sop_instance_uid=str(dataset.SOPInstanceUID),
                series_instance_uid=str(dataset.SeriesInstanceUID),
                encoding=encoding,
            )
        )
        return path
