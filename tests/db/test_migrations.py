"""Databases of older versions, with rows in them."""

from __future__ import annotations

from contextlib import closing

from alembic import command
from sqlalchemy import NullPool, text

from db import schema
from db.connection import make_engine
from db.database import Database
from db.location import parse_url

NOW = "2026-11-20 12:00:00"


def at_revision(url: str, revision: str, *statements: str) -> None:
    """Makes the tables of a revision, with rows."""
    engine = make_engine(parse_url(url), foreign_keys=False, poolclass=NullPool)
    with engine.connect() as connection:
        settings = schema.config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def instance(key: int, series: int, digest: str, current: str, conflict: str) -> str:
    return (
        "INSERT INTO instance (id, series_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid, content_digest,"
        " path, size, frames, has_pixels, tags, received_at, source_ae, origin, current, conflict) VALUES"
        f" ({key}, {series}, '7.7', '1', '1', '{digest}', '/x/{key}', 1, 1, true, '{{}}', '{NOW}', 'CT', 'listener',"
        f" {current}, {conflict})"
    )


def test_what_was_a_conflict_between_studies_is_none_any_more(empty_url: str) -> None:
    """An image of study 2 was a conflict with study 1's; it has one within its own series, too."""
    studies = [
        f"INSERT INTO study (id, study_instance_uid, state, patient_id, accession_number, study_date, description,"
        f" tags, images, reasons, first_received_at, last_received_at, updated_at)"
        f" VALUES ({key}, '1.{key}', 'routed', 'P{key}', '', '', '', '{{}}', {images}, '[]', '{NOW}', '{NOW}', '{NOW}')"
        for key, images in ((1, 1), (2, 0))
    ]
    series = [
        f"INSERT INTO series (id, study_id, series_instance_uid, modality, description, tags, images)"
        f" VALUES ({key}, {key}, '5', 'CT', '', '{{}}', {images})"
        for key, images in ((1, 1), (2, 0))
    ]
    rows = [
        instance(1, 1, "a", "true", "false"),
        instance(2, 2, "b", "false", "true"),
        instance(3, 2, "c", "false", "true"),
    ]
    at_revision(empty_url, "0004", *studies, *series, *rows)
    with closing(Database(empty_url)) as database:
        database.upgrade()
        assert [database.studies.show(uid).study.images for uid in ("1.1", "1.2")] == [1, 1]
        (conflict,) = database.studies.conflicts()
        assert (conflict.kept_digest, conflict.other_digest, conflict.study_uid) == ("b", "c", "1.2")
        with database.read() as session:
            patients = session.execute(text("SELECT patient_id FROM instance ORDER BY id")).scalars().all()
        assert patients == ["P1", "P2", "P2"]


def test_reasons_of_before_get_the_codes_that_are_certain(empty_url: str) -> None:
    study = (
        "INSERT INTO study (id, study_instance_uid, state, patient_id, accession_number, study_date, description,"
        " tags, images, reasons, first_received_at, last_received_at, updated_at)"
        f" VALUES (1, '1.1', 'unmatched', 'P', '', '', '', '{{}}', 1, '[]', '{NOW}', '{NOW}', '{NOW}')"
    )
    reasons = {1: "killed its worker twice: memory", 2: "ValueError", 3: "pacs did not take 1 of the results"}
    jobs = [_job(key, "failed", reason) for key, reason in reasons.items()] + [_job(4, "refused", "tilted")]
    result = (
        "INSERT INTO result (id, job_id, kind, name, path, size, content_digest, sop_class_uid, sop_instance_uid,"
        f" series_instance_uid, created_at) VALUES (1, 3, 'report', 'sr', '/x', 1, 'd', '1', '2', '3', '{NOW}')"
    )
    deliveries = [
        "INSERT INTO delivery (id, job_id, result_id, destination, state, attempts, next_attempt_at, status,"
        f" last_error, updated_at) VALUES ({key}, 3, 1, 'to {key}', 'failed', 1, '{NOW}', {status}, {error}, '{NOW}')"
        for key, status, error in ((1, "42752", "'full'"), (2, "NULL", "'no answer'"), (3, "0", "NULL"))
    ]
    at_revision(empty_url, "0005", study, *jobs, result, *deliveries)
    with closing(Database(empty_url)) as database:
        database.upgrade()
        found = [database.jobs.get(key).reason_code for key in (1, 2, 3, 4)]
        assert found == ["worker-lost-twice", "failed", "not-delivered", "refused"]
        assert [row.reason_code for row in database.jobs.show(3).deliveries] == ["status-a700", "no-answer", None]
        assert database.reasons()["unmatched"] == {"no-rule": 1}


def _job(key: int, state: str, reason: str) -> str:
    return (
        "INSERT INTO job (id, study_id, state, rule, pipeline, priority, roles, send_to, inputs_digest, model_digest,"
        " models, engines, timings, notes, reason, attempts, deaths, created_at, updated_at) VALUES"
        f" ({key}, 1, '{state}', 'r', 'p', 'routine', '{{}}', '[]', 'i{key}', 'm', '{{}}', '{{}}', '{{}}', '[]',"
        f" '{reason}', 1, 0, '{NOW}', '{NOW}')"
    )
