"""TensorRT: what can be asked of it without a GPU, and what happens to a package where it cannot serve."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from engines.backends.tensorrt import plan_contexts as tensorrt_run
from engines.backends.tensorrt.build import Profile, _monitor, build, logger, profiles
from engines.backends.tensorrt.engine import TensorRtEngine
from engines.backends.tensorrt.gpu import Gpu
from engines.choose import candidates, open_engine, verify
from engines.contract import EngineSettings
from engines.errors import BackendMissing, BuildFailed, EngineRefused, NoEngine, PrecisionMissing
from engines.libraries import import_tensorrt
from engines.packages.package import load_package
from engines.plans import PlanKey, PlanStore
from tests.engines.conftest import (
    images,
    manifest,
    plain_sample,
    segmenter,
    spoil,
    two_inputs_sample,
    volume_sample,
    write,
)


def installed() -> str | None:
    """Why TensorRT cannot be imported, or None."""
    try:
        import_tensorrt()
    except BackendMissing as error:
        return str(error)
    return None


needs_tensorrt = pytest.mark.skipif(
    installed() is not None,
    reason="TensorRT does not import: install scanward[gpu], or export what ../shared/tools/tensorrt-on-cpu.sh prints",
)
SETTINGS = EngineSettings(backend="tensorrt")


def no_gpu() -> bool:
    try:
        Gpu(0).release()
    except EngineRefused:
        return True
    return False


without_gpu = pytest.mark.skipif(not no_gpu(), reason="there is a GPU here")


def test_profiles_span_from_one_to_the_largest_batch(plain):
    assert profiles(plain.package, 8) == (Profile("image", (1, 3, 32, 32), (8, 3, 32, 32), (8, 3, 32, 32)),)


def test_free_dimensions_have_no_profile(tmp_path):
    with pytest.raises(BuildFailed, match=r"input left has free dimensions \['width'\]"):
        profiles(two_inputs_sample(tmp_path).package, 8)


def test_the_order_is_tensorrt_openvino_onnxruntime(plain):
    order = [(engine.backend, engine.settings.precision) for engine in candidates(plain.package, EngineSettings())]
    on_the_gpu, on_the_processor = order[:2], order[2:]
    assert on_the_gpu == [("tensorrt", "fp16"), ("tensorrt", "fp32")]
    assert on_the_processor == [("openvino", "bf16"), ("openvino", "fp32"), ("onnxruntime", "fp32")]


@without_gpu
def test_without_a_gpu_openvino_takes_over_and_says_why(plain):
    with open_engine(plain.package) as engine:
        described = engine.description
    assert described.backend == "openvino"
    assert described.passed_over[0].startswith("tensorrt ")
    assert len(set(described.passed_over)) == len(described.passed_over)


@without_gpu
def test_tensorrt_by_name_is_not_replaced(plain):
    with pytest.raises(NoEngine, match=r"tensorrt (is not installed|finds no device)"):
        open_engine(plain.package, SETTINGS)


@without_gpu
def test_verify_says_why_not(plain):
    found = verify(plain.package, SETTINGS.model_copy(update={"precision": "fp32"}))
    assert [one.backend for one in found] == ["tensorrt"]
    assert found[0].agreement is None
    assert "tensorrt" in found[0].problems[0]


@without_gpu
def test_an_engine_that_cannot_open_has_nothing_to_build_and_closes_quietly(plain, tmp_path):
    engine = TensorRtEngine(plain.package, SETTINGS.model_copy(update={"cache_dir": tmp_path / "cache"}))
    assert not engine.builds
    with pytest.raises(EngineRefused):
        engine.open()
    engine.close()
    assert not TensorRtEngine(plain.package, SETTINGS).builds


@needs_tensorrt
@pytest.mark.parametrize("sample", [plain_sample, volume_sample])
def test_builds_a_plan(sample, tmp_path):
    package = sample(tmp_path).package
    built = build(package, "fp32", profiles(package, 4))
    assert len(built.plan) > 1000
    assert built.timing


@needs_tensorrt
def test_progress_is_told_and_grows(plain):
    told: list[tuple[str, float]] = []
    build(plain.package, "fp32", profiles(plain.package, 4), progress=lambda phase, share: told.append((phase, share)))
    assert len({phase for phase, _ in told}) > 3
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1


@needs_tensorrt
def test_ctrl_c_ends_a_build_and_leaves_the_builder_usable(plain):
    def interrupt(phase: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(plain.package, "fp32", profiles(plain.package, 4), progress=interrupt)
    assert build(plain.package, "fp32", profiles(plain.package, 4)).plan


@needs_tensorrt
def test_the_builder_is_told_to_stop_after_ctrl_c_and_not_before():
    pressed = []

    def progress(phase: str, share: float) -> None:
        if pressed:
            raise KeyboardInterrupt

    monitor = _monitor(progress)
    monitor.phase_start("tactics", None, 3)
    assert monitor.step_complete("tactics", 0) is True
    pressed.append(True)
    assert monitor.step_complete("tactics", 1) is False
    assert isinstance(monitor.interrupted, KeyboardInterrupt)


@needs_tensorrt
def test_timings_are_taken_up_and_strange_ones_ignored(plain, monkeypatch):
    shapes = profiles(plain.package, 2)
    first = build(plain.package, "fp32", shapes)
    taken = []
    config = import_tensorrt().IBuilderConfig
    create = config.create_timing_cache
    monkeypatch.setattr(config, "create_timing_cache", lambda self, data: (taken.append(data), create(self, data))[1])
    with capture_logs() as said:
        assert build(plain.package, "fp32", shapes, first.timing).plan
    assert taken == [first.timing]
    assert "timing_cache_unusable" not in {line["event"] for line in said}
    assert build(plain.package, "fp32", shapes, b"these are no timings").plan


@needs_tensorrt
def test_the_builder_speaks_through_our_log(plain):
    with capture_logs() as said:
        build(plain.package, "fp32", profiles(plain.package, 2))
    spoken = [line for line in said if line["event"] == "tensorrt"]
    assert all(line["message"] for line in spoken)
    assert {line["log_level"] for line in spoken} & {"debug", "warning"}


@needs_tensorrt
def test_errors_are_kept_for_whoever_listens_and_warnings_are_not():
    severity, tensorrt_log = import_tensorrt().ILogger.Severity, logger()
    with tensorrt_log.listening() as said:
        tensorrt_log.channel.log(severity.ERROR, "no such kernel")
        tensorrt_log.channel.log(severity.WARNING, "it may be slow")
        assert list(said) == ["no such kernel"]
        assert tensorrt_log.last == "no such kernel"
    with tensorrt_log.listening() as said:
        assert not said


@needs_tensorrt
def test_the_network_is_strongly_typed(plain, monkeypatch):
    """So that its precision is the file's in TensorRT 10 as in 11."""
    trt, flags = import_tensorrt(), []
    create = trt.Builder.create_network
    monkeypatch.setattr(
        trt.Builder, "create_network", lambda self, wanted: (flags.append(wanted), create(self, wanted))[1]
    )
    build(plain.package, "fp32", profiles(plain.package, 2))
    assert flags == [1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)]


@needs_tensorrt
def test_a_network_that_does_not_parse_is_refused_in_tensorrts_words(make_package):
    package = make_package(model=b"this is no network")
    with pytest.raises(BuildFailed, match=r"tensorrt: tiny does not compile: .+"):
        build(package, "fp32", profiles(package, 2))


@needs_tensorrt
def test_an_operation_that_tensorrt_lacks_is_named(make_package):
    from tests.engines.conftest import network, node

    model = network(
        [node("Unique", "image", "values"), node("Conv", "image weight", "logits")],
        {"image": ["batch", 3, 32, 32]},
        {"logits": ["batch", 1, 32, 32], "values": ["count"]},
        weight=np.full((1, 3, 1, 1), 1, np.float32),
    )
    package = make_package(model=model)
    with pytest.raises(BuildFailed, match="Unique"):
        build(package, "fp32", profiles(package, 2))


@needs_tensorrt
def test_a_profile_that_does_not_suit_is_refused(plain):
    shapes = (replace(profiles(plain.package, 4)[0], least=(8, 3, 32, 32)),)
    with pytest.raises(BuildFailed):
        build(plain.package, "fp32", shapes)


@needs_tensorrt
def test_precision_comes_from_the_packages_variants(plain, tmp_path):
    with pytest.raises(PrecisionMissing, match="tiny brings no int8 variant"):
        build(plain.package, "int8", profiles(plain.package, 2))
    with pytest.raises(PrecisionMissing, match="bf16 is not available"):
        build(plain.package, "bf16", profiles(plain.package, 2))


@needs_tensorrt
def test_a_half_precision_variant_builds(tmp_path):
    package = with_half(tmp_path / "tiny")
    assert [(e.backend, e.settings.precision) for e in candidates(package, EngineSettings())][:2] == [
        ("tensorrt", "fp16"),
        ("tensorrt", "fp32"),
    ]
    assert build(package, "fp16", profiles(package, 2)).plan


@needs_tensorrt
def test_plans_are_kept(plain, tmp_path):
    store = PlanStore(tmp_path / "cache")
    shapes = profiles(plain.package, 2)
    key = PlanKey("tiny", plain.package.digest, f"tensorrt {import_tensorrt().__version__}", "none", "fp32", ())
    built = []

    def make(timing: bytes):
        built.append(timing)
        return build(plain.package, "fp32", shapes, timing)

    assert store.obtain(key, make) == store.obtain(key, make)
    assert built == [b""]


def with_half(folder):
    """The segmenter with its arithmetic in FP16 between two casts, as onnxconverter-common leaves it."""
    from onnx import TensorProto

    from tests.engines.conftest import network, node

    half = network(
        [
            node("Cast", "image", "narrow", to=TensorProto.FLOAT16),
            node("Conv", "narrow weight", "mean"),
            node("Cast", "mean", "logits", to=TensorProto.FLOAT),
        ],
        {"image": ["batch", 3, 32, 32]},
        {"logits": ["batch", 1, 32, 32]},
        weight=np.full((1, 3, 1, 1), 4 / 3, np.float16),
    )
    folder.mkdir()
    (folder / "model.fp16.onnx").write_bytes(half)
    variants = {"fp16": {"file": "model.fp16.onnx", "sha256": hashlib.sha256(half).hexdigest()}}
    return load_package(write(folder, manifest(variants=variants), segmenter(), {"image": images(3, 3, 32, 32)}))


@pytest.mark.gpu
@needs_tensorrt
class TestOnTheGpu:
    """What needs a GPU that TensorRT runs on; the contract suite is asked of it too."""

    @pytest.fixture(autouse=True)
    def _gpu(self):
        if no_gpu():
            pytest.skip("no GPU here")

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_serves_rightly(self, tmp_path, precision):
        settings = SETTINGS.model_copy(update={"precision": precision, "cache_dir": tmp_path / "cache"})
        with open_engine(with_half(tmp_path / "tiny"), settings) as engine:
            feeds = {"image": images(21, 3, 32, 32)}
            expected = feeds["image"].mean(1, keepdims=True) * 4
            np.testing.assert_allclose(engine.infer(feeds)["logits"], expected, atol=0.02)
            assert engine.description.plan
            assert engine.description.gate.dice > 0.995

    def test_the_second_start_uses_the_plan(self, plain, tmp_path):
        settings = SETTINGS.model_copy(update={"cache_dir": tmp_path / "cache"})
        engine = TensorRtEngine(plain.package, settings)
        assert engine.builds
        with engine:
            assert not engine.builds
        plan = next((tmp_path / "cache" / "plans").glob("*.plan"))
        made = plan.stat().st_ino
        with engine:
            assert plan.stat().st_ino == made

    def test_a_plan_that_tensorrt_refuses_is_built_again(self, plain, tmp_path):
        settings = SETTINGS.model_copy(update={"cache_dir": tmp_path / "cache"})
        engine = TensorRtEngine(plain.package, settings)
        with engine:
            key = engine._key(engine._gpu)
        store = spoil(tmp_path / "cache", key)
        with engine:
            assert engine.infer(plain.feeds(2))["logits"].shape == (2, 1, 32, 32)
        assert store.read(key) != b"no plan at all"

    def test_too_little_memory_halves_the_batch(self, plain):
        gpu = Gpu(0)
        with gpu.entered():
            hold = gpu.cuda.mem_alloc(gpu.free_bytes() - (96 << 20))
        try:
            with TensorRtEngine(plain.package, SETTINGS.model_copy(update={"max_batch": 4096})) as engine:
                assert engine.piece < 4096
                assert engine.infer(plain.feeds(3))["logits"].shape == (3, 1, 32, 32)
        finally:
            with gpu.entered():
                hold.free()
            gpu.release()

    @pytest.mark.parametrize("gain", [0, 1e9], ids=["launched", "replayed"])
    def test_replayed_or_not_the_answers_are_right(self, plain, monkeypatch, gain):
        monkeypatch.setattr(tensorrt_run, "GAIN", gain)
        with TensorRtEngine(plain.package, SETTINGS) as engine:
            assert engine._running_plan.replays == (gain > 0)
            for batch in (19, 8, 3, 16):
                feeds = plain.feeds(batch)
                np.testing.assert_allclose(engine.infer(feeds)["logits"], plain.answer(**feeds)["logits"], atol=0.02)
