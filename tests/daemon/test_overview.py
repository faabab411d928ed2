"""`scanward status`: what needs a person, for which reasons, and how far each destination is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import Result

from daemon.config import load_config
from daemon.service import Service
from daemon.terminal.tables import moment
from daemon.workers.status import DaemonStatus, StatusFile, read_status
from tests.daemon.support.stored_jobs import NOON, StoredJobs


@pytest.fixture
def stored(tmp_path: Path) -> StoredJobs:
    return StoredJobs(tmp_path)


@pytest.fixture
def status(stored: StoredJobs, scanward: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *options: scanward("status", "-c", stored.config, *options).stdout


def test_what_needs_a_person_is_counted_by_reason(stored: StoredJobs, status: Callable[..., str]) -> None:
    for number, code in enumerate(["tilted-gantry", "tilted-gantry", "uneven-spacing"]):
        job_id = stored.order(f"1.{number}")
        stored.claim(job_id)
        stored.database.jobs.refuse(job_id, "in words", code=code, now=NOON)
    stored.arrive("1.9")
    stored.database.studies.complete("1.9", "quiet", now=NOON)
    stored.database.studies.set_unmatched("1.9", ["liver: it is MR"], now=NOON)
    quarantine = stored.data / "spool" / "quarantine"
    quarantine.mkdir(parents=True)
    for name in ("a.dcm", "a.dcm.reason.json", "b.dcm"):
        (quarantine / name).touch()
    said = status()
    assert "3 refused" in said
    assert "refused: 2 tilted-gantry, 1 uneven-spacing" in said
    assert "unmatched: 1 no-rule" in said
    assert "Quarantined: 2 files" in said
    found = json.loads(status("--json"))
    assert found["reasons"]["refused"] == {"tilted-gantry": 2, "uneven-spacing": 1}
    assert (found["jobs"]["refused"], found["studies"]["unmatched"], found["quarantined"]) == (3, 1, 2)


def test_destinations_say_when_they_last_took_something_and_what_they_said(
    stored: StoredJobs, status: Callable[..., str]
) -> None:
    assert re.search(r"pacs +0 +0 +never", status())
    took = NOON + timedelta(minutes=3)
    stored.answer(stored.compute("1.2"), at=took)
    stored.answer(stored.compute("1.3", send_to=("old",)), 0xA700, at=took)
    said = status()
    assert re.search(rf"pacs +0 +0 +{re.escape(moment(took))}", said)
    assert re.search(r"old \(not configured\) +0 +2 +never +status-a700: out of resources", said)


def test_a_rule_file_that_was_rejected_is_told_of_with_what_is_wrong(
    stored: StoredJobs, status: Callable[..., str]
) -> None:
    rules = stored.config.with_name("rules.yaml")
    rules.write_text(RULES)
    with stored.config.open("a") as file:
        file.write("rules: rules.yaml\nlistener: null\n")
    with Service(load_config(stored.config)) as service:
        path = service.config.status_file
        wait(path.exists)
        assert "rejected" not in status()
        rules.write_text(RULES.replace("abdomen-ct", "abdomen-xy"))
        wait(lambda: "rules.yaml" in path.read_text())
        said = status()
    assert "The changed rule file is invalid" in said
    assert "abdomen-xy" in said


RULES = """
rules:
  - name: liver
    pipeline: abdomen-ct
    series:
      ct: {Modality: CT}
    send_to: [pacs]
"""


def wait(until: Callable[[], bool], seconds: float = 120) -> None:
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    while not until():
        assert datetime.now(UTC) < end
        time.sleep(0.1)


def test_standing_file_of_a_version_without_rules_is_understood(stored: StoredJobs) -> None:
    path = stored.data / "status.json"
    StatusFile(path, lambda: DaemonStatus(wanted=0, workers=(), replaced=())).step()
    plain = json.loads(path.read_text())
    del plain["rules_rejected"]
    path.write_text(json.dumps(plain))
    read = read_status(path)
    assert read is not None
    assert read.rules_rejected == ()
