"""What is particular to the OpenVINO engine: its kept compilations, its streams, its precisions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from engines.backends.openvino import engine as openvino_engine
from engines.backends.openvino.engine import OpenVinoEngine, precisions
from engines.contract import EngineSettings
from engines.errors import NoEngine, PrecisionMissing
from engines.machine import processor, usable_cores
from tests.engines.conftest import spoil, volume_sample

FP32 = EngineSettings(backend="openvino", precision="fp32", threads=2)


def answer(sample, settings) -> np.ndarray:
    with OpenVinoEngine(sample.package, settings) as engine:
        return engine.infer(sample.feeds(3))["logits"]


@pytest.fixture
def kept(tmp_path):
    return FP32.model_copy(update={"cache_dir": tmp_path / "cache"})


def plans(settings) -> list:
    return sorted((settings.cache_dir / "plans").glob("*.plan"))


def test_a_compiled_network_is_kept_and_used(plain, kept):
    first = answer(plain, kept)
    (plan,) = plans(kept)
    written = plan.stat().st_ino
    np.testing.assert_array_equal(answer(plain, kept), first)
    assert [path.stat().st_ino for path in plans(kept)] == [written]
    assert plan.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.99])
def test_damage_is_noticed_and_mended(plain, kept, place):
    first = answer(plain, kept)
    (plan,) = plans(kept)
    content = bytearray(plan.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    plan.write_bytes(content)
    np.testing.assert_array_equal(answer(plain, kept), first)
    assert plan.read_bytes() != content


def test_a_plan_that_openvino_refuses_is_compiled_again(plain, kept):
    first = answer(plain, kept)
    key = OpenVinoEngine(plain.package, kept)._key()
    store = spoil(kept.cache_dir, key)
    np.testing.assert_array_equal(answer(plain, kept), first)
    assert store.read(key) != b"no plan at all"


def test_other_threads_are_another_plan(plain, kept):
    answer(plain, kept)
    answer(plain, kept.model_copy(update={"threads": 1}))
    assert len(plans(kept)) == 2


FULL_DISK = """
import resource, sys
from pathlib import Path
from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.packages.package import load_package
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
settings = EngineSettings(backend="openvino", precision="fp32", cache_dir=Path(sys.argv[2]))
with open_engine(load_package(sys.argv[1]), settings) as engine:
    print(engine.description.backend)
"""


def test_a_full_disk_costs_time_not_service(plain, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, plain.package.folder, tmp_path / "cache"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "openvino"
    assert "plan_not_kept" in done.stdout
    assert "gate_record_not_kept" in done.stdout
    assert [path.name for path in (tmp_path / "cache").rglob("*.p*t") if path.is_file()] == []


def test_streams_follow_the_kind_of_network(plain, tmp_path):
    volume = volume_sample(tmp_path / "volume")
    for threads, flat, deep in ((1, 1, 1), (2, 2, 1), (8, 8, 2), (64, 16, 16)):
        settings = FP32.model_copy(update={"threads": threads})
        assert OpenVinoEngine(plain.package, settings)._streams == flat
        assert OpenVinoEngine(volume.package, settings)._streams == deep


def test_a_precision_that_the_processor_lacks(plain):
    missing = {"fp16", "bf16"} - set(precisions())
    if not missing:
        pytest.skip("this processor computes in all of them")
    engine = OpenVinoEngine(plain.package, FP32.model_copy(update={"precision": missing.pop()}))
    with pytest.raises(PrecisionMissing, match="the processor does not compute in it"):
        engine.open()


@pytest.mark.parametrize(("native", "hint"), [(("fp32", "int8"), "f32"), (("fp32", "bf16", "int8"), "bf16")])
def test_what_int8_leaves_is_computed_as_fast_as_the_processor_can(plain, monkeypatch, native, hint):
    monkeypatch.setattr(openvino_engine, "precisions", lambda: native)
    engine = OpenVinoEngine(plain.package, FP32.model_copy(update={"precision": "int8"}))
    assert engine._options()["INFERENCE_PRECISION_HINT"] == hint
    assert OpenVinoEngine(plain.package, FP32)._options()["INFERENCE_PRECISION_HINT"] == "f32"


def test_the_settings_reach_openvino(plain, monkeypatch):
    """Threads from the worker's share of the machine, not pinned, in as many streams as they feed."""
    from openvino import Core

    given = []
    compile_model = Core.compile_model

    def spy(self, model, device, options):
        given.append(options)
        return compile_model(self, model, device, options)

    monkeypatch.setattr(Core, "compile_model", spy)
    answer(plain, FP32.model_copy(update={"threads": 2}))
    answer(plain, FP32.model_copy(update={"threads": 1}))
    assert [one["INFERENCE_NUM_THREADS"] for one in given] == [2, 1]
    assert [one["NUM_STREAMS"] for one in given] == [2, 1]
    assert [one["INFERENCE_PRECISION_HINT"] for one in given] == ["f32", "f32"]
    assert not any(one["ENABLE_CPU_PINNING"] for one in given)


def test_a_variant_that_the_package_lacks(plain):
    from engines.choose import open_engine

    with pytest.raises(NoEngine, match="int8"):
        open_engine(plain.package, EngineSettings(backend="openvino", precision="int8"))


def test_cores_follow_the_containers_quota(tmp_path):
    everything = usable_cores(tmp_path / "none")
    for content, cores in (("max 100000", everything), ("150000 100000", min(2, everything)), ("1000 100000", 1)):
        (tmp_path / "cpu.max").write_text(content)
        assert usable_cores(tmp_path / "cpu.max") == cores


def test_the_processor_has_a_name():
    assert processor().endswith(")")
