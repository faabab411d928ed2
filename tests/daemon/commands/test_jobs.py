"""`scanward jobs`, on what a daemon would have written."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import Result

from tests.daemon.support.stored_jobs import NOON, StoredJobs

Jobs = Callable[..., Result]


@pytest.fixture
def stored(tmp_path: Path) -> StoredJobs:
    return StoredJobs(tmp_path)


@pytest.fixture
def jobs(stored: StoredJobs, scanward: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """`jobs("list", "--csv")`, on a wide terminal in India."""
    monkeypatch.setenv("COLUMNS", "300")
    return lambda command, *options: scanward("jobs", command, *options, "-c", stored.config)


@pytest.fixture(autouse=True)
def in_india() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


def listed(jobs: Jobs, *options: str) -> list[int]:
    return sorted(row["job_id"] for row in json.loads(jobs("list", "--json", *options).stdout))


def test_the_list_tells_study_sender_and_the_moment_with_its_offset(stored: StoredJobs, jobs: Jobs) -> None:
    stored.order("1.2.3", source_ae="CT7")
    said = jobs("list").stdout
    assert all(word in said for word in ("1.2.3", "CT7", "P1", "A1", "queued"))
    assert "2026-11-20" in said
    assert "17:30:00+05:30" in said


def test_csv_opens_in_a_spreadsheet_and_holds_no_formula(stored: StoredJobs, jobs: Jobs) -> None:
    stored.compute("1.2.3", patient_id="=HYPERLINK()", source_ae="CT7")
    (row,) = csv.DictReader(jobs("list", "--csv").stdout.splitlines())
    assert (row["job"], row["state"], row["study_instance_uid"]) == ("1", "delivering", "1.2.3")
    assert (row["patient_id"], row["senders"], row["images"]) == ("'=HYPERLINK()", "CT7", "2")
    assert row["updated_at"] == "2026-11-20T17:30:00+05:30"


def test_the_list_can_be_narrowed_by_sender_reason_and_time(stored: StoredJobs, jobs: Jobs) -> None:
    early = stored.order("1.2", source_ae="CT7", at=NOON - timedelta(days=2))
    stored.claim(early)
    stored.database.jobs.refuse(early, "tilted", code="tilted-gantry", now=NOON - timedelta(days=2))
    late = stored.order("1.3", source_ae="CT8")
    assert listed(jobs, "--source-ae", "CT8") == [late]
    assert listed(jobs, "--reason", "tilted-gantry") == [early]
    assert listed(jobs, "--until", "2026-11-20") == [early]
    assert listed(jobs, "--since", "2026-11-20T17:30+05:30", "--until", "2026-11-20T12:00:01+00:00") == [late]
    assert listed(jobs, "--until", "30m") == [early, late]
    wrong = jobs("list", "--until", "yesterday")
    assert "neither a duration (2h, 7d)" in str(wrong.exception)


def test_a_job_tells_of_which_object_each_move_is_and_what_was_counted(stored: StoredJobs, jobs: Jobs) -> None:
    job_id = stored.compute("1.2", results=2)
    stored.answer(job_id, 0xA700)
    said = jobs("show", job_id).stdout
    assert re.search(r"seg2\.dcm to pacs +sending -> failed", said)
    assert re.search(r"2026-11-20 17:30:00\.000\+05:30 +job +-> queued", said)
    assert re.search(r"Tumour count +1\s", said)
    assert re.search(r"Volume +12\.35 ml", said) or re.search(r"Volume +12\.3\d ml", said)
    assert "1.00 1" not in said
    assert "[not-delivered]" in said
    assert "status-a700" in said
    moments = re.findall(r"\d\d:\d\d:\d\d(?:\.\d+)?(\S*)", said)
    assert set(moments) == {"+05:30"}


def test_what_failed_for_one_reason_is_retried_at_once(stored: StoredJobs, jobs: Jobs) -> None:
    ids = []
    for study in ("1.2", "1.3", "1.4"):
        ids.append(stored.order(study))
        stored.claim(ids[-1])
    stored.database.jobs.fail(ids[0], "no such package", code="model-missing", now=NOON)
    stored.database.jobs.fail(ids[1], "no such package", code="model-missing", now=NOON)
    stored.database.jobs.refuse(ids[2], "tilted", code="tilted-gantry", now=NOON)
    run = jobs("retry", "--reason", "model-missing")
    assert run.exit_code == 0, run.stdout
    assert "Retried 2 of 2." in run.stdout
    assert [stored.database.jobs.get(job).state.value for job in ids] == ["queued", "queued", "refused"]
    assert "Retried 1 of 1." in jobs("retry", "--state", "refused", "--until", "2026-11-21").stdout


def test_a_retry_of_everything_must_be_meant(stored: StoredJobs, jobs: Jobs) -> None:
    assert "select jobs" in str(jobs("retry").exception)
    assert "select jobs" in str(jobs("retry", 1, "--state", "failed").exception)
    assert "cannot be retried" in str(jobs("retry", "--state", "done").exception)


def test_studies_that_no_rule_took_go_before_the_rules_again(stored: StoredJobs, jobs: Jobs) -> None:
    stored.arrive("1.2")
    stored.database.studies.complete("1.2", "quiet", now=NOON)
    stored.database.studies.set_unmatched("1.2", ["liver: it is MR"], now=NOON)
    assert "Retried 1 of 1." in jobs("retry", "--state", "unmatched").stdout
    assert stored.database.studies.show("1.2").study.state == "complete"


def test_results_are_sent_again_to_a_pacs_that_lost_them(stored: StoredJobs, jobs: Jobs) -> None:
    job_id = stored.compute("1.2", send_to=("pacs", "archive"))
    stored.answer(job_id)
    assert stored.database.jobs.get(job_id).state == "done"
    assert "other has accepted no result" in str(jobs("resend", job_id, "--destination", "other").exception)
    assert "2 results will be sent again" in jobs("resend", job_id, "--destination", "archive").stdout
    pending = [row.destination for row in stored.database.jobs.show(job_id).deliveries if row.state == "pending"]
    assert pending == ["archive", "archive"]
    assert stored.database.jobs.get(job_id).state == "delivering"


def test_one_destination_is_dropped_and_the_others_are_served(stored: StoredJobs, jobs: Jobs) -> None:
    job_id = stored.compute("1.2.3", send_to=("pacs", "gone"))
    assert "does not go to nowhere; it goes to pacs, gone" in str(
        jobs("drop", job_id, "--destination", "nowhere").exception
    )
    said = jobs("drop", job_id, "--destination", "gone").stdout
    assert f"job {job_id}: delivering; nothing more of it is sent to gone" in said
    stored.answer(job_id)
    assert stored.database.jobs.get(job_id).state == "done"


def test_cancelling_what_one_destination_has_says_what_becomes_of_it(stored: StoredJobs, jobs: Jobs) -> None:
    job_id = stored.compute("1.2.3", send_to=("pacs", "gone"))
    to_pacs = [batch.items for batch in stored.database.deliveries.due(NOON) if batch.destination == "pacs"]
    for item in to_pacs[0]:
        stored.database.deliveries.start([item.id])
        stored.database.deliveries.accept(item.id, 0)
    assert f"job {job_id}: done; what was not sent yet is dropped" in jobs("cancel", job_id).stdout
    assert (
        stored.database.jobs.get(job_id).reason
        == "cancelled for gone; pacs had it already: asked for on the command line"
    )
