"""What a stored plan or verdict holds good for: whatever would change the answer is part of its name."""

from __future__ import annotations

import hashlib

import pytest

from engines import gate
from engines.backends.openvino import engine as openvino_engine
from engines.backends.openvino.engine import OpenVinoEngine
from engines.backends.tensorrt import build as tensorrt_build
from engines.backends.tensorrt import engine as tensorrt_engine
from engines.backends.tensorrt.engine import TensorRtEngine
from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.packages.package import load_package
from tests.engines.backends.tensorrt.fake_gpu import Driver, FakeGpu, install
from tests.engines.conftest import images, manifest, segmenter, write

CPU = EngineSettings(backend="openvino", precision="fp32", threads=2)
GPU = EngineSettings(backend="tensorrt", precision="fp32", max_batch=4)


@pytest.fixture
def package(tmp_path):
    """The segmenter, and the same network (in other bytes) as its INT8 variant."""
    other = segmenter() + b"\x32\x00"  # an empty documentation string: another file, the same network
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.int8.onnx").write_bytes(other)
    variants = {"int8": {"file": "model.int8.onnx", "sha256": hashlib.sha256(other).hexdigest()}}
    return load_package(write(folder, manifest(variants=variants), segmenter(), {"image": images(3, 3, 32, 32)}))


def on_the_processor(package, **changes) -> str:
    return OpenVinoEngine(package, CPU.model_copy(update=changes))._key().file


def on_the_gpu(package, **changes) -> str:
    engine = TensorRtEngine(package, GPU.model_copy(update=changes))
    return engine._key(FakeGpu(engine.settings.gpu)).file


@pytest.mark.parametrize("changes", [{"threads": 1}, {"precision": "bf16"}, {"precision": "int8"}], ids=str)
def test_a_compiled_network_is_for_one_precision_and_number_of_threads(package, changes):
    assert on_the_processor(package, **changes) != on_the_processor(package)


@pytest.mark.parametrize(
    ("name", "value"), [("processor", lambda: "another processor"), ("REWRITES", 99)], ids=["processor", "rewrites"]
)
def test_a_compiled_network_is_for_one_processor_and_our_rewriting(package, monkeypatch, name, value):
    before = on_the_processor(package)
    assert on_the_processor(package) == before
    monkeypatch.setattr(openvino_engine, name, value)
    assert on_the_processor(package) != before


def test_a_compiled_network_is_for_one_version_of_the_library(package, monkeypatch):
    before = on_the_processor(package)
    monkeypatch.setattr(openvino_engine.import_openvino(), "__version__", "2031.1.0")
    assert on_the_processor(package) != before


def test_the_network_itself_decides_not_only_the_precision(package):
    """As what a precision is computed from; the name of the package stays."""
    plain, variant = (OpenVinoEngine(package, CPU.model_copy(update={"precision": p}))._key() for p in ("fp32", "int8"))
    assert (plain.network, variant.network) == (package.digest, package.network_digest("int8"))
    assert plain.network != variant.network


@pytest.mark.parametrize(
    "changes", [{"gpu": 1}, {"max_batch": 8}, {"precision": "int8"}, {"precision": "fp16"}], ids=str
)
def test_a_plan_is_for_one_card_precision_and_profile(package, monkeypatch, changes):
    install(monkeypatch, Driver(), Driver())
    assert on_the_gpu(package) == on_the_gpu(package)
    assert on_the_gpu(package, **changes) != on_the_gpu(package)


def test_a_plan_is_for_one_compute_capability_and_version_of_tensorrt(package, monkeypatch):
    install(monkeypatch)
    engine, card = TensorRtEngine(package, GPU), FakeGpu(0)
    before = engine._key(card)
    card.capability = "8.9"
    assert engine._key(card).file != before.file
    card.capability = "9.0"
    assert engine._key(card) == before
    tensorrt_engine.import_tensorrt().__version__ = "12.0.0"
    assert engine._key(card).file != before.file
    assert engine._key(card).timing_file != before.timing_file


def test_a_plan_in_fp16_is_for_one_converter(package, monkeypatch):
    install(monkeypatch)
    before = on_the_gpu(package, precision="fp16")
    monkeypatch.setattr(tensorrt_build, "converter", lambda: "another 1.0")
    assert on_the_gpu(package, precision="fp16") != before


def verdicts(settings: EngineSettings) -> set[str]:
    return {path.name for path in (settings.cache_dir / "gate").glob("*.json")}


@pytest.mark.parametrize("what", ["device", "version", "precision", "backend", "plan"])
def test_a_verdict_is_for_one_device_library_precision_and_plan(package, tmp_path, monkeypatch, what):
    settings = CPU.model_copy(update={"cache_dir": tmp_path / "cache"})
    with open_engine(package, settings):
        (first,) = verdicts(settings)
    describe = OpenVinoEngine._describe

    def elsewhere(self):
        described = describe(self)
        return type(described)(**{**described.as_dict(), "gate": None, what: "another"})

    monkeypatch.setattr(OpenVinoEngine, "_describe", elsewhere)
    with open_engine(package, settings) as engine:
        assert not engine.description.gate.cached
    assert len(verdicts(settings)) == 2
    assert first in verdicts(settings)


@pytest.mark.parametrize("changes", [{"tolerance": {"dice": 0.9}}, {"thresholds": {"mask": 0.4}}], ids=str)
def test_a_verdict_is_for_one_tolerance_and_threshold(tmp_path, changes):
    settings = CPU.model_copy(update={"cache_dir": tmp_path / "cache"})
    for number, more in enumerate(({}, changes)):
        folder = write(tmp_path / str(number), manifest(**more), segmenter(), {"image": images(3, 3, 32, 32)})
        with open_engine(load_package(folder), settings) as engine:
            assert not engine.description.gate.cached


def test_a_verdict_is_for_one_set_of_rules(package, tmp_path, monkeypatch):
    settings = CPU.model_copy(update={"cache_dir": tmp_path / "cache"})
    open_engine(package, settings).close()
    monkeypatch.setattr(gate, "FORMAT", gate.FORMAT + 1)
    with open_engine(package, settings) as engine:
        assert not engine.description.gate.cached
