"""What happens when the engine that serves breaks: engines that really compute, and fail on the word."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

from engines.backends.onnxruntime.engine import OnnxRuntimeEngine
from engines.backends.openvino.engine import OpenVinoEngine
from engines.choose import ChosenEngine
from engines.contract import EngineSettings
from engines.errors import DeviceFull, DeviceLost, EngineNotOpen, InferenceFailed, NoEngine, OutOfDeviceMemory

SETTINGS = EngineSettings(backend="onnxruntime", threads=1)


class Failing(OnnxRuntimeEngine):
    """ONNX Runtime until it is told to fail."""

    backend: ClassVar[str] = "failing"
    failure: Exception | None = None
    refusal: Exception | None = None
    has_to_build = False
    times_opened = 0

    @property
    def builds(self) -> bool:
        return self.has_to_build

    def _load(self) -> None:
        self.times_opened += 1
        if self.refusal:
            raise self.refusal
        super()._load()

    def _run(self, pieces):
        if self.failure:
            raise self.failure
        super()._run(pieces)


@pytest.fixture
def engines(plain):
    return [Failing(plain.package, SETTINGS) for _ in range(3)]


@pytest.fixture
def chosen(plain, engines):
    with ChosenEngine(plain.package, SETTINGS, engines) as opened:
        yield opened


def check(chosen, plain, batch=3):
    feeds = plain.feeds(batch)
    np.testing.assert_allclose(chosen.infer(feeds)["logits"], plain.answer(**feeds)["logits"], atol=1e-4)


def test_the_first_serves_and_the_others_stay_closed(chosen, engines, plain):
    check(chosen, plain)
    assert chosen.current is engines[0]
    assert [engine.times_opened for engine in engines] == [1, 0, 0]


@pytest.mark.parametrize("failure", [InferenceFailed, OutOfDeviceMemory])
def test_the_next_one_takes_the_call_over(chosen, engines, plain, failure):
    engines[0].failure = failure(package="tiny", backend="failing", reason="it was told to")
    check(chosen, plain)
    assert chosen.current is engines[1]
    assert "it was told to" in chosen.description.passed_over[0]
    with pytest.raises(EngineNotOpen):
        engines[0].infer(plain.feeds(1))


def test_a_lost_device_is_for_whoever_replaces_the_process(chosen, engines, plain):
    engines[0].failure = DeviceLost(package="tiny", backend="failing", reason="it fell off the bus")
    with pytest.raises(DeviceLost, match="the device is gone: it fell off the bus"):
        chosen.infer(plain.feeds(1))
    assert engines[1].times_opened == 0


def test_when_all_break_the_last_error_is_heard_and_the_last_engine_stays(chosen, engines, plain):
    for engine in engines:
        engine.failure = InferenceFailed(package="tiny", backend="failing", reason="it was told to")
    for _ in range(2):
        with pytest.raises(InferenceFailed, match="told to"):
            chosen.infer(plain.feeds(1))
    engines[2].failure = None
    check(chosen, plain)


def test_within_a_job_nothing_is_built_that_takes_minutes(chosen, engines, plain):
    engines[0].failure = OutOfDeviceMemory(package="tiny", backend="failing", reason="full")
    engines[1].has_to_build = True
    check(chosen, plain)
    assert chosen.current is engines[2]
    assert engines[1].times_opened == 0
    assert "no stored plan of tiny; `scanward models build` builds it" in " ".join(chosen.description.passed_over)


def test_without_leave_to_build_an_engine_that_must_is_passed_over_at_opening_too(plain, engines):
    engines[0].has_to_build = True
    with ChosenEngine(plain.package, SETTINGS, engines, build=False) as chosen:
        assert chosen.current is engines[1]
    assert engines[0].times_opened == 0
    with ChosenEngine(plain.package, SETTINGS, engines) as chosen:
        assert chosen.current is engines[0]


def test_many_threads_replace_it_once(chosen, engines, plain):
    engines[0].failure = InferenceFailed(package="tiny", backend="failing", reason="it was told to")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: check(chosen, plain), range(8)))
    assert [engine.times_opened for engine in engines] == [1, 1, 0]


def test_refusals_are_passed_over_in_order(plain, engines):
    engines[0].refusal = DeviceFull(backend="failing", package="tiny", device="GPU 0", reason="3 MiB are free")
    with ChosenEngine(plain.package, SETTINGS, engines) as chosen:
        assert chosen.current is engines[1]
        assert "3 MiB are free" in chosen.description.passed_over[0]


def test_when_all_refuse_each_reason_is_said(plain, engines):
    for number, engine in enumerate(engines):
        engine.refusal = DeviceFull(backend="failing", package="tiny", device=f"GPU {number}", reason="nothing is free")
    chosen = ChosenEngine(plain.package, SETTINGS, engines)
    with pytest.raises(NoEngine, match=r"GPU 0.*GPU 1.*GPU 2"):
        chosen.open()
    with pytest.raises(EngineNotOpen):
        chosen.infer(plain.feeds(1))
    engines[2].refusal = None
    with chosen:
        check(chosen, plain)


class Broken(OpenVinoEngine):
    """OpenVINO that opens and then has no memory."""

    def _run(self, pieces):
        raise OutOfDeviceMemory(package="tiny", backend="openvino", reason="full")


def test_an_engine_that_breaks_at_the_gate_is_refused_this_time_only(plain, engines, tmp_path):
    settings = EngineSettings(backend="openvino", precision="fp32", cache_dir=tmp_path / "cache")
    with ChosenEngine(plain.package, settings, [Broken(plain.package, settings), engines[0]]) as chosen:
        assert chosen.current is engines[0]
        assert "too little free memory: full" in chosen.description.passed_over[0]
    assert list((tmp_path / "cache" / "gate").glob("*.json")) == []


def test_a_bug_while_opening_is_not_taken_for_a_refusal(plain, engines):
    engines[0].refusal = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        ChosenEngine(plain.package, SETTINGS, engines).open()
