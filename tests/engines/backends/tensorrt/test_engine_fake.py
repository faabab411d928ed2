"""Our TensorRT engine from opening to closing on a fake GPU (fake_gpu.py): order, graphs, memory, faults."""

from __future__ import annotations

import numpy as np
import pytest

from engines.backends.tensorrt import build as tensorrt_build
from engines.backends.tensorrt import engine as tensorrt_engine
from engines.backends.tensorrt import plan_contexts as tensorrt_run
from engines.backends.tensorrt.engine import TensorRtEngine
from engines.backends.tensorrt.gpu import Tensor, TransferPipeline
from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.errors import BuildFailed, DeviceFull, DeviceLost, DeviceMissing, NoEngine, OutOfDeviceMemory
from tests.engines.backends.tensorrt.fake_gpu import (
    CudaError,
    CudaMemoryError,
    Driver,
    FakeContext,
    FakeGpu,
    FakePlan,
    Stream,
    fake_build,
    install,
)
from tests.engines.conftest import calibrated, images, spoil

SETTINGS = EngineSettings(backend="tensorrt", precision="fp32", max_batch=4)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """However busy this machine is, recording is tried; times are compared as they come."""
    monkeypatch.setattr(tensorrt_run, "LONG", 1e3)


@pytest.fixture
def driver(monkeypatch):
    return install(monkeypatch)


@pytest.fixture
def engine(driver, plain):
    with TensorRtEngine(plain.package, SETTINGS) as opened:
        yield opened


def check(engine, plain, batch=11, seed=0):
    feeds = {"image": images(batch, 3, 32, 32, seed=seed)}
    np.testing.assert_allclose(engine.infer(feeds)["logits"], plain.answer(**feeds)["logits"], atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("faster", ["plain", "graphs"])
def test_answers_are_right_in_whatever_order_streams_go(monkeypatch, plain, seed, faster):
    driver = install(monkeypatch, Driver(seed))
    driver.launch_seconds = 2e-3 if faster == "graphs" else 0
    driver.replay_seconds = 0 if faster == "graphs" else 2e-3
    with TensorRtEngine(plain.package, SETTINGS) as engine:
        assert engine._running_plan.replays == (faster == "graphs")
        for number, batch in enumerate((11, 4, 1, 3, 9, 8, 2)):
            check(engine, plain, batch, seed=number)


def test_without_its_events_the_order_would_be_wrong(monkeypatch, plain):
    """The fake is worth something: take the waits between streams away, and the answers are wrong."""
    monkeypatch.setattr(Stream, "wait_for_event", lambda self, event: None)
    install(monkeypatch, Driver(1))
    with TensorRtEngine(plain.package, SETTINGS) as engine, pytest.raises(AssertionError, match="Mismatched elements"):
        check(engine, plain, 50)


def test_a_graph_of_a_context_whose_shape_changed_would_fail(driver, plain):
    """So it is worth something that each slot has a context of its own."""
    driver.launch_seconds = 2e-3
    with TensorRtEngine(plain.package, SETTINGS) as engine:
        engine._running_plan._full[0].set_input_shape("image", (2, 3, 32, 32))
        with pytest.raises(KeyError):
            check(engine, plain, 4)


def test_full_batches_are_replayed_and_others_are_not(driver, plain):
    driver.launch_seconds = 2e-3
    with TensorRtEngine(plain.package, SETTINGS) as engine:
        driver.launched.clear()
        check(engine, plain, 11)
        assert driver.launched == ["graph", "graph", "network"]
    assert driver.graphs == {}


def test_replay_that_is_not_faster_is_not_used(driver, plain):
    driver.replay_seconds = 2e-3
    with TensorRtEngine(plain.package, SETTINGS) as engine:
        assert driver.graphs == {}
        driver.launched.clear()
        check(engine, plain, 8)
        assert driver.launched == ["network", "network"]


def test_a_network_that_takes_long_is_not_recorded(driver, plain, monkeypatch):
    monkeypatch.setattr(Driver, "cuStreamBeginCapture_v2", lambda *_: pytest.fail("it was recorded"))
    monkeypatch.setattr(tensorrt_run, "LONG", 0.02)
    driver.launch_seconds = 0.03
    with TensorRtEngine(plain.package, SETTINGS) as engine:
        check(engine, plain)


def test_a_network_that_cannot_be_recorded_serves_without(driver, plain):
    driver.capturable, driver.launch_seconds = False, 2e-3
    with TensorRtEngine(plain.package, SETTINGS) as engine:
        assert not engine._running_plan.replays
        assert all(stream.recording is None for stream in driver.streams.values())
        check(engine, plain)


def test_a_driver_without_graphs_serves_without(driver, plain, monkeypatch):
    def none(self):
        raise OSError("libcuda.so.1: no such file")

    monkeypatch.setattr(FakeGpu, "recorder", none)
    with TensorRtEngine(plain.package, SETTINGS) as engine:
        check(engine, plain)


def test_copies_in_overlap_the_computation(driver):
    """While the first piece waits to be computed, the second has already come in."""
    gpu = FakeGpu(0)
    tensors = [Tensor("image", (1, 4), np.dtype("float32"))], [Tensor("logits", (1, 4), np.dtype("float32"))]
    arrived: list[int] = []
    with gpu.entered():
        pipeline = TransferPipeline(gpu, *tensors, time_limit=5)
        incoming = next(iter(driver.streams.values()))

        def launch(slot, batch, stream):
            source, target = (pipeline.addresses[slot][name] for name in ("image", "logits"))

            def compute():
                arrived.append(len(incoming.queue))
                np.copyto(driver.at(target, (1, 4), np.float32), driver.at(source, (1, 4), np.float32))

            driver.streams[stream].send(compute)

        driver.random.choice = lambda ready: ready[0]  # the stream that copies in goes as far as it may
        feeds = [np.full((1, 4), number, np.float32) for number in range(6)]
        answers = [np.zeros((1, 4), np.float32) for _ in feeds]
        pipeline.run([({"image": a}, {"logits": b}) for a, b in zip(feeds, answers, strict=True)], launch)
        pipeline.free()
    np.testing.assert_array_equal(answers, feeds)
    assert arrived[:5] == [0] * 5  # nothing was left to copy in when a piece was computed: two were under way


def test_memory_is_given_back(driver, plain):
    free = driver.memory
    with TensorRtEngine(plain.package, SETTINGS):
        assert driver.memory < free
    assert (driver.memory, driver.blocks, driver.depth) == (free, {}, 0)


def test_nothing_is_allocated_or_shaped_on_the_way_of_full_batches(engine, driver, plain, monkeypatch):
    for name in ("set_input_shape", "set_tensor_address", "set_device_memory"):
        monkeypatch.setattr(FakeContext, name, lambda *_, name=name: pytest.fail(f"{name} was called"))
    monkeypatch.setattr(Driver, "mem_alloc", lambda *_: pytest.fail("memory was taken"))
    check(engine, plain, 16)


@pytest.mark.parametrize(("megabytes", "piece"), [(1.0, 16), (0.9, 16), (0.5, 8), (0.25, 4), (0.06, 1)])
def test_too_little_memory_halves_the_batch(monkeypatch, plain, megabytes, piece):
    install(monkeypatch, Driver(memory=int(megabytes * 1e6)))
    with TensorRtEngine(plain.package, SETTINGS.model_copy(update={"max_batch": 16})) as engine:
        assert engine.piece == piece
        check(engine, plain, 19)


def test_no_memory_at_all_is_a_refusal(monkeypatch, plain):
    driver = install(monkeypatch, Driver(memory=10_000))
    with pytest.raises(DeviceFull, match="does not fit into the free memory of Fake 0: 0 MiB are free"):
        TensorRtEngine(plain.package, SETTINGS).open()
    assert (driver.memory, driver.depth) == (10_000, 0)


def test_contexts_that_find_no_memory_halve_the_batch_too(driver, plain, monkeypatch):
    make, refusals = FakePlan.create_execution_context, [True, False]

    def short_of_memory(self, strategy):
        if refusals and refusals.pop(0):
            driver.tensorrt_log._errors.append("Error Code 2: OutOfMemory (Requested size was 4096 bytes.)")
            return None
        return make(self, strategy)

    monkeypatch.setattr(FakePlan, "create_execution_context", short_of_memory)
    with TensorRtEngine(plain.package, SETTINGS) as engine:
        assert engine.piece == 2
        check(engine, plain)


def test_a_plan_without_contexts_is_refused_in_tensorrts_words(driver, plain, monkeypatch):
    monkeypatch.setattr(
        FakePlan,
        "create_execution_context",
        lambda *_: driver.tensorrt_log._errors.append("the plan is for another card"),
    )
    with pytest.raises(BuildFailed, match="the plan is for another card"):
        TensorRtEngine(plain.package, SETTINGS).open()


def test_memory_that_runs_out_in_a_call_is_for_the_next_engine(engine, driver, plain, monkeypatch):
    def refuse(self, stream):
        driver.tensorrt_log._errors.append("CUDA: out of memory")
        return False

    monkeypatch.setattr(FakeContext, "execute_async_v3", refuse)
    engine._running_plan._graphs.clear()
    with pytest.raises(OutOfDeviceMemory, match="out of memory"):
        check(engine, plain)


def test_cuda_that_finds_no_memory_in_a_call_loses_no_device(engine, driver, plain):
    """What needs the memory may be gone at the next call; the context is as good as before."""
    driver.broken = CudaMemoryError("cuMemAlloc failed: out of memory")
    with pytest.raises(OutOfDeviceMemory, match="cuMemAlloc failed"):
        check(engine, plain)
    driver.broken = None
    check(engine, plain)


def test_a_hanging_kernel_is_a_lost_device_and_nothing_waits_for_it(driver, plain, monkeypatch):
    engine = TensorRtEngine(plain.package, SETTINGS)
    engine.open()
    monkeypatch.setattr(TensorRtEngine, "time_limit", 0.05)
    engine._running_plan.pipeline._time_limit = 0.05
    taken = set(driver.blocks)
    driver.hangs = True
    engine._running_plan._graphs.clear()
    for reason in ("took more than 0.05 s", "lost in an earlier call"):
        with pytest.raises(DeviceLost, match=reason):
            check(engine, plain)
    engine.close()
    assert set(driver.blocks) == taken  # giving memory back would wait for the kernel
    tensorrt_engine._ABANDONED.clear()


def test_a_device_that_disappears(engine, driver, plain):
    driver.broken = CudaError("cuEventQuery failed: device is lost")
    with pytest.raises(DeviceLost, match="device is lost"):
        check(engine, plain)
    driver.broken = None
    tensorrt_engine._ABANDONED.clear()


def test_a_gpu_that_hangs_at_its_first_piece_is_passed_over(driver, plain, monkeypatch):
    monkeypatch.setattr(TensorRtEngine, "time_limit", 0.05)
    driver.hangs = True
    with open_engine(plain.package, EngineSettings(threads=1)) as engine:
        assert engine.description.backend == "openvino"
        assert "broke at its first piece" in engine.description.passed_over[0]
        assert engine.infer(plain.feeds(2))["logits"].shape == (2, 1, 32, 32)
    tensorrt_engine._ABANDONED.clear()


def test_a_gpu_that_is_not_there(driver, plain):
    with pytest.raises(DeviceMissing, match="GPU 3 is configured, 1 are there"):
        TensorRtEngine(plain.package, SETTINGS.model_copy(update={"gpu": 3})).open()


def test_each_engine_uses_the_gpu_that_it_is_given(monkeypatch, plain):
    cards = Driver(0), Driver(1)
    install(monkeypatch, *cards)
    with TensorRtEngine(plain.package, SETTINGS.model_copy(update={"gpu": 1})) as engine:
        assert engine.description.device.startswith("Fake 1")
        assert cards[0].blocks == {}


def test_a_plan_is_built_once_and_serves_through_the_gate(driver, plain, tmp_path, monkeypatch):
    settings = SETTINGS.model_copy(update={"cache_dir": tmp_path / "cache"})
    engine = TensorRtEngine(plain.package, settings)
    assert engine.builds
    with open_engine(plain.package, settings) as chosen:
        assert chosen.description.plan.startswith("tiny-tensorrt-fp32-")
        assert chosen.description.gate.dice == 1
    assert not engine.builds
    monkeypatch.setattr(tensorrt_engine, "build", lambda *_: pytest.fail("it was built again"))
    with open_engine(plain.package, settings) as chosen:
        assert chosen.description.gate.cached


def test_a_package_without_a_variant_serves_in_fp16_all_the_same(driver, plain, tmp_path, monkeypatch):
    settings = SETTINGS.model_copy(update={"precision": "auto", "cache_dir": tmp_path / "cache"})
    with open_engine(plain.package, settings) as engine:
        assert engine.description.plan.startswith("tiny-tensorrt-fp16-")
        assert 0 < engine.description.gate.max_difference < 0.01
    monkeypatch.setattr(tensorrt_build, "halved", lambda _: pytest.fail("it was converted again"))
    with open_engine(plain.package, settings) as engine:
        assert engine.description.precision == "fp16"


def test_a_call_that_fp16_cannot_answer_goes_to_fp32_on_the_same_gpu(driver, plain, tmp_path, monkeypatch):
    """Its plan was built along with the other one: within a job none may be."""
    settings = SETTINGS.model_copy(update={"backend": "auto", "precision": "auto", "cache_dir": tmp_path / "cache"})
    with open_engine(plain.package, settings) as engine:
        assert engine.description.precision == "fp16"
        answered = engine.current._run

        def overflow(pieces):
            answered(pieces)
            for _, answers in pieces:
                answers["logits"][0] = np.inf

        monkeypatch.setattr(engine.current, "_run", overflow)
        check(engine, plain)
        assert (engine.description.backend, engine.description.precision) == ("tensorrt", "fp32")


def test_int8_is_made_by_the_calibration_where_it_is_asked_for(driver, tmp_path):
    package = calibrated(tmp_path / "tiny", largest={"image": 4.0})
    settings = SETTINGS.model_copy(update={"precision": "int8", "cache_dir": tmp_path / "cache"})
    with open_engine(package, settings) as engine:
        assert engine.description.plan.startswith("tiny-tensorrt-int8-")
        assert engine.description.gate.max_difference > 0
        assert engine.infer({"image": images(5, 3, 32, 32)})["logits"].shape == (5, 1, 32, 32)


def test_plans_that_nobody_waits_for_are_not_built_along(driver, tmp_path):
    settings = SETTINGS.model_copy(update={"precision": "auto", "cache_dir": tmp_path / "cache"})
    with open_engine(calibrated(tmp_path / "tiny"), settings) as engine:
        assert engine.description.precision == "fp16"
    stored = sorted(path.name.split("-")[2] for path in (tmp_path / "cache" / "plans").glob("tiny-tensorrt-*"))
    assert stored == ["fp16", "fp32"]


def test_a_gpu_without_the_converter_serves_fp32_and_says_why(driver, plain, monkeypatch):
    monkeypatch.setattr(tensorrt_build, "can_halve", lambda: False)
    with open_engine(plain.package, SETTINGS.model_copy(update={"precision": "auto"})) as engine:
        assert engine.description.precision == "fp32"
        assert "onnxconverter-common is not installed" in engine.description.passed_over[0]


def test_whoever_opens_is_told_which_engine_is_tried_and_how_far_its_plan_is(driver, plain):
    told = []
    with open_engine(plain.package, SETTINGS, lambda phase, share: told.append((phase, share))):
        pass
    assert told == [
        ("tensorrt fp32, loading", 0.0),
        ("fake phase", 0.5),
        ("built", 1.0),
        ("tensorrt fp32, admission gate", 1.0),
    ]


def test_earlier_timings_go_to_the_builder(driver, plain, tmp_path, monkeypatch):
    settings = SETTINGS.model_copy(update={"cache_dir": tmp_path / "cache"})
    given = []

    def build(package, precision, shapes, timing=b"", progress=None):
        given.append((precision, timing, shapes[0].largest[0]))
        return fake_build(package, precision, shapes, timing, progress)

    monkeypatch.setattr(tensorrt_engine, "build", build)
    for batch in (4, 2):
        with TensorRtEngine(plain.package, settings.model_copy(update={"max_batch": batch})):
            pass
    assert given == [("fp32", b"", 4), ("fp32", b"timings", 2)]


def test_a_plan_that_tensorrt_refuses_is_built_again(driver, plain, tmp_path):
    settings = SETTINGS.model_copy(update={"cache_dir": tmp_path / "cache"})
    engine = TensorRtEngine(plain.package, settings)
    with engine:
        key = engine._key(engine._gpu)
    store = spoil(tmp_path / "cache", key)
    with engine:
        check(engine, plain)
    assert store.read(key) != b"no plan at all"


def test_a_refusal_by_the_gate_falls_through_to_openvino(driver, plain, monkeypatch):
    compute = FakeContext.execute_async_v3

    def tampered(self, stream):
        done = compute(self, stream)
        address, shape = self.addresses["logits"], self.get_tensor_shape("logits")
        driver.streams[stream].send(lambda: driver.at(address, shape, np.float32).__iadd__(0.5))
        return done

    monkeypatch.setattr(FakeContext, "execute_async_v3", tampered)
    with open_engine(plain.package, EngineSettings(threads=1)) as engine:
        assert engine.description.backend == "openvino"
        assert "gives different results from the reference" in engine.description.passed_over[0]
    with pytest.raises(NoEngine, match="gives different results from the reference"):
        open_engine(plain.package, SETTINGS)
