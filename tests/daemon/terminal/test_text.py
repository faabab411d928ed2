"""What others write (tags, AE titles, file names) is shown and never acts, on a terminal and in a log."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from typer.testing import Result

from daemon.logs import set_up_logs
from daemon.terminal.text import Terminal, escaped
from tests.daemon.support.stored_jobs import StoredJobs

HOSTILE = "A [/x] B\x1b[31m\x9b2J\u202e[red]:smile:"
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def stored(tmp_path: Path) -> StoredJobs:
    return StoredJobs(tmp_path)


@pytest.fixture
def hostile(stored: StoredJobs) -> int:
    """A job whose every text from outside is hostile."""
    stored.arrive("1.3", patient_id=HOSTILE, accession_number="[bold]", tags={"StudyDescription": HOSTILE})
    job_id = stored.order("1.2", patient_id=HOSTILE, accession_number="[bold]", source_ae=f"[/]{HOSTILE[:9]}")
    stored.claim(job_id)
    stored.database.jobs.refuse(job_id, f"series {HOSTILE} cannot be used")
    return job_id


@pytest.mark.parametrize("command", ["jobs list", "jobs show 1", "jobs conflicts", "status"])
def test_no_command_lets_what_a_scanner_sent_act_or_be_swallowed(
    command: str, stored: StoredJobs, hostile: int, scanward: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # a narrow table folds its cells
    run = scanward(*command.split(), "-c", stored.config)
    assert run.exception is None or isinstance(run.exception, SystemExit)
    assert ACTS.search(run.stdout) is None
    shown = "".join(run.stdout.split())
    if command.startswith(("jobs list", "jobs show")):
        assert "A[/x]B" in shown
        assert r"\x1b[31m" in shown
        assert "[red]:smile:" in shown
        assert "[bold]" in shown


def test_json_gives_every_character_back_and_none_acts(
    stored: StoredJobs, hostile: int, scanward: Callable[..., Result]
) -> None:
    run = scanward("jobs", "show", hostile, "--json", "-c", stored.config)
    assert ACTS.search(run.stdout) is None
    assert json.loads(run.stdout)["study"]["patient_id"] == HOSTILE


@given(st.text())
def test_whatever_the_text_nothing_of_it_acts(text: str) -> None:
    assert ACTS.search(escaped(text)) is None
    table = Table("Any", title=text)
    table.add_row(text)
    console = Terminal(file=io.StringIO(), width=60, color_system=None)
    console.print(text, table)
    assert ACTS.search(console.file.getvalue()) is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("json_lines", [True, False])
@pytest.mark.parametrize("ours", [True, False])
def test_a_log_line_cannot_be_forged(json_lines: bool, ours: bool, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    set_up_logs("info", json_lines=json_lines)
    forged = "CT1\n2026-11-20T12:00:00Z [info] all_is_well\x1b[2J"
    try:
        if ours:
            structlog.get_logger().info("peer", ae_title=forged, peers=[forged], path=Path(forged), of={forged: 1})
        else:
            logging.getLogger("pynetdicom.assoc").warning("peer %s", forged)
        try:
            raise ValueError("bytes \x1b[2J of a header")
        except ValueError:
            structlog.get_logger().exception("unreadable")
    finally:
        structlog.reset_defaults()
        root.handlers[:], root.level = before
    lines = capsys.readouterr().err.splitlines()
    assert ACTS.search("\n".join(lines)) is None
    assert sum("peer" in line for line in lines) == 1
    assert not any(line.startswith("2026-11-20") for line in lines)
    assert "all_is_well" in "".join(lines)
