"""Studies and jobs in a database, as commands find them; the files that they name are not there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from db.database import Database
from db.records import IndexedInstance, JobOrder, JobOutcome, NewMeasurement, NewResult
from db.states import Origin, ResultKind

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class StoredJobs:
    """What a daemon would have written; `config` is the file for `-c`."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "scanward.yaml"
        self.config.write_text(
            f"data_dir: {folder / 'data'}\ndestinations: {{pacs: {{ae_title: PACS, host: 127.0.0.1}}}}\n"
        )
        self.data = folder / "data"
        self.database = Database(f"sqlite:///{self.data / 'scanward.sqlite'}")
        self.database.upgrade()

    def arrive(self, study: str, **changes: Any) -> None:
        """Two images of a study."""
        self.database.studies.index([_image(study, number, self.data, changes) for number in (1, 2)])

    def order(self, study: str, *, at: datetime = NOON, send_to: tuple[str, ...] = ("pacs",), **changes: Any) -> int:
        """A queued job over a study, which arrives with what is told of it."""
        given = {"rule": "liver", "pipeline": "abdomen-ct", "model_digest": "m1"}
        order = {name: changes.pop(name, value) for name, value in given.items()}
        self.arrive(study, **changes)
        self.database.studies.complete(study, "nothing came for 30 s", now=at)
        made = self.database.jobs.create(study, JobOrder(roles={"ct": f"{study}.7"}, send_to=send_to, **order), now=at)
        self.database.studies.set_routed(study, "liver -> abdomen-ct", now=at)
        return made.job_id

    def claim(self, job_id: int, at: datetime = NOON) -> None:
        """Takes it from the queue, in which it must be alone."""
        claimed = self.database.jobs.claim("host:1", at)
        assert claimed is not None
        assert claimed.id == job_id

    def compute(self, study: str, *, results: int = 2, at: datetime = NOON, **changes: Any) -> int:
        """A job whose results wait to be sent."""
        job_id = self.order(study, at=at, **changes)
        self.claim(job_id, at)
        outcome = JobOutcome(
            results=tuple(_result(job_id, number, self.data) for number in range(1, results + 1)),
            measurements=(
                NewMeasurement(subject="", quantity="Tumour count", value=1.0, unit="1"),
                NewMeasurement(subject="Lesion 1", quantity="Volume", value=12.345, unit="mL"),
            ),
            summary="1 lesion",
        )
        self.database.jobs.finish(job_id, outcome, now=at)
        return job_id

    def answer(self, job_id: int, status: int = 0, *, at: datetime = NOON, reason: str = "out of resources") -> None:
        """The destinations take what is pending of a job, or with another status refuse it for good."""
        due = self.database.deliveries.due(at + timedelta(days=1))
        for delivery in (item.id for batch in due if batch.job_id == job_id for item in batch.items):
            self.database.deliveries.start([delivery], "host:1", now=at)
            if status == 0:
                self.database.deliveries.accept(delivery, status, now=at)
            else:
                self.database.deliveries.fail(delivery, reason, status, now=at)


def _image(study: str, number: int, data: Path, changes: dict[str, Any]) -> IndexedInstance:
    series = f"{study}.7"
    values: dict[str, Any] = {
        "sop_instance_uid": f"{series}.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "study_instance_uid": study,
        "series_instance_uid": series,
        "modality": "CT",
        "patient_id": "P1",
        "accession_number": "A1",
        "study_date": "20261120",
        "source_ae": "CT1",
        "frames": 1,
        "has_pixels": True,
        "rows": 512,
        "columns": 512,
        "tags": {"StudyDescription": "Abdomen", "SeriesDescription": "portal venous"},
        "instance_tags": {"InstanceNumber": number},
        "path": data / "spool" / "studies" / study / series / f"{number}.dcm",
        "size": 525_000,
        "content_digest": f"{series}.{number}",
        "received_at": NOON,
        "association_id": f"association of {study}",
        "origin": Origin.LISTENER,
    }
    return IndexedInstance(**(values | changes))


def _result(job_id: int, number: int, data: Path) -> NewResult:
    return NewResult(
        kind=ResultKind.SEGMENTATION,
        name=f"seg{number}.dcm",
        path=data / "outbox" / str(job_id) / f"seg{number}.dcm",
        size=1000,
        content_digest=f"{job_id}.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
        sop_instance_uid=f"9.{job_id}.{number}",
        series_instance_uid=f"9.{job_id}",
    )
