"""The benchmark runs, says what it measured, and does not hide what could not be."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
from rich.console import Console

from engines.benchmark.contender import Contender
from engines.benchmark.measuring import BenchmarkRow, Interrupted, tiled
from engines.benchmark.report import markdown, picture, table
from engines.benchmark.run import benchmark
from engines.contract import EngineSettings
from tests.engines.conftest import plain_sample, two_inputs_sample, volume_sample

SETTINGS = EngineSettings(threads=1)


@contextmanager
def slow():
    """Ten milliseconds for any answer; no weights, so no parity."""

    def run(feeds):
        time.sleep(0.01)
        return feeds

    yield run


@pytest.fixture
def measured(tmp_path):
    packages = [plain_sample(tmp_path / "a").package, two_inputs_sample(tmp_path / "b").package]
    return benchmark(
        packages,
        SETTINGS,
        batches=(1, 5),
        rounds=4,
        memory=False,
        others=lambda package: [Contender("sleeper", "none", slow, comparable=False)],
    )


def find(measured, **wanted):
    return next(line for line in measured if all(getattr(line, key) == value for key, value in wanted.items()))


def test_every_package_engine_and_batch_has_a_line(measured):
    assert {(line.package, line.batch) for line in measured} == {("tiny", 1), ("tiny", 5), ("pair", 1), ("pair", 5)}
    assert {line.engine for line in measured} == {"tensorrt", "openvino", "onnxruntime", "sleeper"}


def test_figures_are_what_they_say(measured):
    line = find(measured, engine="sleeper", package="tiny", batch=5)
    assert 10 <= line.median_ms < 100
    assert line.median_ms <= line.p95_ms
    assert line.per_second == pytest.approx(5000 / line.median_ms)
    assert line.max_difference is None


def test_parity_is_against_onnxruntime(measured):
    line = find(measured, package="tiny", engine="openvino", precision="fp32", batch=1)
    assert line.dice > 0.999
    assert line.max_difference < 1e-4
    assert find(measured, package="pair", engine="onnxruntime").dice is None


def test_an_engine_that_does_not_open_says_why(measured):
    absent = [line for line in measured if line.median_ms is None]
    assert all(line.problem for line in absent)


def test_memory_is_that_of_the_engine(tmp_path):
    packages = [plain_sample(tmp_path / "a").package]
    settings = EngineSettings(backend="onnxruntime", threads=1)
    (line,) = benchmark(packages, settings, batches=(1,), rounds=3)
    assert 1 < line.memory_mib < 1000


def test_progress_is_told(tmp_path):
    told: list[tuple[str, float]] = []
    package = plain_sample(tmp_path / "a").package
    settings = EngineSettings(backend="onnxruntime", threads=1)
    benchmark([package], settings, rounds=3, memory=False, progress=lambda what, share: told.append((what, share)))
    assert told == [("tiny, batch 1", 0), ("tiny, batch 16", 0.5), ("done", 1)]


QUICK = {"rounds": 3, "memory": False}
REFERENCE = EngineSettings(backend="onnxruntime", threads=1)


def test_volumes_that_go_one_by_one_are_not_measured_by_sixteen(tmp_path, monkeypatch):
    monkeypatch.setattr("engines.benchmark.run.PIECE_BYTES", 3 * 8 * 16 * 16 * 4)
    package = volume_sample(tmp_path / "volume").package
    found = benchmark([package], REFERENCE, batches=(1, 2, 16, 32), **QUICK)
    assert [(line.engine, line.batch) for line in found if line.median_ms] == [
        ("onnxruntime", number) for number in (1, 2, 3)
    ]
    left_out = [line for line in found if line.median_ms is None]
    assert [line.batch for line in left_out] == [16, 32]
    console = Console(width=200, record=True)
    console.print(table(found))
    shown = console.export_text()
    assert "volume, 16 a call, 3 instead: of inputs of this size an engine takes no more at once" in shown
    assert "volume, 32 a call" in markdown(found)


def test_slices_are_measured_by_however_many_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("engines.benchmark.run.PIECE_BYTES", 1)
    found = benchmark([plain_sample(tmp_path / "a").package], REFERENCE, batches=(40,), **QUICK)
    assert [line.batch for line in found if line.median_ms] == [40]


@contextmanager
def heavy():
    """Twenty milliseconds for every sample."""

    def run(feeds):
        time.sleep(0.02 * len(feeds["image"]))
        return feeds

    yield run


def test_a_batch_that_would_take_too_long_is_made_smaller_and_that_is_said(tmp_path):
    package = plain_sample(tmp_path / "a").package
    others = [Contender("sleeper", "none", heavy, comparable=False)]
    found = benchmark([package], REFERENCE, batches=(64,), seconds=2, others=lambda package: others, **QUICK)
    measured = {line.batch for line in found if line.median_ms}
    assert len(measured) == 1
    assert 1 <= max(measured) <= 20  # 2 s are 5 calls of 20 samples
    (left_out,) = [line for line in found if line.median_ms is None]
    assert left_out.batch == 64
    assert "it would take longer than 2 s" in left_out.problem


def presses_ctrl_c(after: int):
    """A contender in whose call of this number somebody presses Ctrl-C."""
    calls = iter(range(1, after + 1))

    @contextmanager
    def opened():
        def run(feeds):
            if next(calls) == after:
                raise KeyboardInterrupt
            return feeds

        yield run

    return [Contender("typist", "none", opened, comparable=False)]


@pytest.mark.parametrize(
    ("after", "complete", "begun"),
    [(2 + 2 + 3 + 2 + 2 + 1, 1, False), (2 + 2 + 3 + 2 + 2 + 2, 1, True), (1, 0, False), (2 + 2 + 2, 0, True)],
    ids=["no round of the second batch", "one round of the second batch", "at once", "in the first batch"],
)
def test_ctrl_c_gives_what_was_measured_until_then(tmp_path, after, complete, begun):
    """Its calls: one at opening, one to see how long it takes, two to warm up, three that are timed; the next batch."""
    package = plain_sample(tmp_path / "a").package
    others = presses_ctrl_c(after)
    with pytest.raises(Interrupted) as caught:
        benchmark([package], REFERENCE, batches=(1, 2), others=lambda package: others, **QUICK)
    found = caught.value.found
    assert {line.batch for line in found if line.dice is not None} == ({1} if complete else set())
    assert {line.batch for line in found if line.median_ms} == {*range(1, 1 + complete), *([complete + 1] * begun)}
    if found:
        assert "typist" in markdown(found)


def test_feeds_are_the_reference_inputs_over_and_over(plain):
    feeds = tiled(plain.package, 8)["image"]
    reference = plain.package.reference()["image"]
    assert feeds.shape == (8, 3, 32, 32)
    assert (feeds[:3] == reference).all()
    assert (feeds[3:6] == reference).all()


def test_table_and_markdown_show_every_line(measured):
    console = Console(width=200, record=True)
    console.print(table(measured))
    shown = console.export_text()
    for text in (shown, markdown(measured)):
        assert text.count("sleeper") == 4
        assert "1.00x" in text  # ONNX Runtime against itself
        assert "ONNX Runtime" in text


def test_the_picture_is_a_picture(measured, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib (train extra) draws the picture")
    picture(measured, tmp_path / "engines.png")
    assert (tmp_path / "engines.png").read_bytes().startswith(b"\x89PNG")


def test_the_ratio_is_the_speed_against_onnxruntime():
    def line(engine, precision, median):
        return BenchmarkRow("tiny", engine, precision, 1, median_ms=median, p95_ms=median, per_second=1000 / median)

    lines = [line("openvino", "bf16", 5.0), line("onnxruntime", "fp32", 20.0), line("torch eager", "fp32", 40.0)]
    rows = [row.split(" | ") for row in markdown(lines).splitlines() if row.startswith("| tiny")]
    assert [row[7] for row in rows] == ["4.00x", "1.00x", "0.50x"]


@pytest.mark.slow
def test_the_program_measures_a_shipped_package_beside_torch(tmp_path):
    import subprocess
    import sys
    from pathlib import Path

    pytest.importorskip("torch", reason="torch (train extra) is what the engines are measured against")
    command = [sys.executable, "-m", "benchmarks.engines", "--package", "brain-lgg-classifier", "--batch", "2"]
    options = ["--rounds", "3", "--no-compile", "--no-memory", "--out", str(tmp_path)]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([*command, *options], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "engines.md").read_text()
    for name in ("torch eager", "openvino", "onnxruntime"):
        assert f"| {name} |" in written
    assert (tmp_path / "engines.png").exists()
