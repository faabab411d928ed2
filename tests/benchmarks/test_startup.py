"""The start-up benchmark reads a daemon's log; here short scripts say what a daemon would."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks.startup import configure, serve, start
from engines.plain_yaml import read_yaml

SAYS = """
import json, sys, time
for event, wait in {events}:
    time.sleep(wait)
    print(event if event == "garbage" else json.dumps({{"event": event}}), file=sys.stderr, flush=True)
time.sleep({then})
"""
WHOLE_WAY = [
    ("garbage", 0),
    ("listening", 0),
    ("ready", 0),
    ("workers_ready", 0.3),
    ("warmed_up", 0),
    ("warmed_up", 0.3),
]


def command(events: list[tuple[str, float]], then: float = 60.0) -> list[str]:
    return [sys.executable, "-c", SAYS.format(events=events, then=then)]


def test_marks_are_taken_when_they_are_said_and_the_daemon_is_stopped() -> None:
    began = time.monotonic()
    marks = start(command(WHOLE_WAY), limit=50)
    assert list(marks) == ["listening", "ready", "workers", "warmed_up"]
    assert marks["workers"] - marks["ready"] >= 0.25
    assert marks["warmed_up"] - marks["workers"] >= 0.25
    assert time.monotonic() - began < 50


@pytest.mark.parametrize(("then", "limit"), [(0.0, 50.0), (60.0, 3.0)])
def test_a_daemon_that_ends_or_hangs_on_the_way_is_given_up(then: float, limit: float) -> None:
    with pytest.raises(SystemExit, match="did not come so far"):
        start(command([("ready", 0)], then), limit)


def test_the_daemon_is_started_as_its_user_would(tmp_path: Path) -> None:
    stage = configure(tmp_path, [tmp_path / "more"])
    settings = read_yaml(stage.config.read_text())
    assert settings["logging"] == {"level": "info", "json_lines": True}
    assert settings["models"] == [str(tmp_path / "more")]
    assert serve(stage.config)[1:] == ["-m", "daemon.cli", "serve", "-c", str(stage.config)]
