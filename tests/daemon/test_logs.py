from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from pydicom.dataset import Dataset

from daemon.logs import set_up_logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def fail() -> None:
    patient_name = "DOE^" + "JANE"
    raise ValueError(len(patient_name))


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_shows_no_local_variables(json_lines: bool, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info", json_lines=json_lines)
    for logger in (structlog.get_logger("ours"), logging.getLogger("a library")):
        try:
            fail()
        except ValueError:
            logger.exception("step_failed")
    lines = capsys.readouterr().err
    assert lines.count("step_failed") == 2
    assert "ValueError" in lines
    assert "DOE^JANE" not in lines


def test_json_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info", json_lines=True)
    structlog.get_logger("ours").info("started", port=104)
    logging.getLogger("a library").warning("oh")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["started", "oh"]


def test_values_that_pydicom_complains_of_are_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info")
    ds = Dataset()
    ds.PatientBirthDate = "DOE JANE"
    ds.AccessionNumber = "DOE JANE " * 4
    assert capfd.readouterr().err == ""
