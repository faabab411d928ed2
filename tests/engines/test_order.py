"""Which engine goes first on which processor, described; and which one after a look at the clock."""

from __future__ import annotations

import itertools

import pytest

from engines import order
from engines.choose import Verification, _choice, candidates, open_engine
from engines.contract import EngineSettings
from engines.gate import Agreement
from engines.order import FP32, fastest, milliseconds, tiers
from tests.engines.test_machine import GRAVITON, HASWELL, SAPPHIRE_RAPIDS, a_processor


@pytest.mark.parametrize("flags", [HASWELL, SAPPHIRE_RAPIDS])
def test_on_x86_fewer_bits_go_first_and_time_decides_in_fp32(flags):
    processor = [tier for tier in tiers(a_processor(flags)) if tier[0][0] != "tensorrt"]
    assert processor == [(("openvino", "int8"),), (("openvino", "bf16"),), FP32]


def test_on_a_processor_that_nobody_measured_time_decides_of_all():
    assert tiers(a_processor(GRAVITON))[-1] == (("openvino", "int8"), ("openvino", "bf16"), *FP32)


def test_a_gpu_goes_first_on_all_of_them():
    for flags in (HASWELL, GRAVITON):
        assert [tier[0] for tier in tiers(a_processor(flags))][:3] == [
            ("tensorrt", "int8"),
            ("tensorrt", "fp16"),
            ("tensorrt", "fp32"),
        ]


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({"openvino fp32": 10.0, "onnxruntime fp32": 5.0}, "onnxruntime fp32"),
        ({"openvino fp32": 10.0, "onnxruntime fp32": 9.5}, "openvino fp32"),  # no more than the clock's noise
        ({"openvino fp32": 10.0}, "openvino fp32"),
        ({}, "openvino fp32"),
    ],
)
def test_another_one_serves_only_where_it_is_clearly_faster(times, chosen):
    assert fastest("openvino fp32", times) == chosen


def test_a_refused_int8_leaves_the_place_to_the_faster_fp32():
    good = Agreement({}, 0.0, 0.0, 0.0)
    found = [
        Verification("openvino", "int8", None, good, ("Dice of lesion is 0.9942, below 0.995",), 1.0),
        Verification("openvino", "fp32", None, good, (), 10.0),
        Verification("onnxruntime", "fp32", None, good, (), 4.0),
    ]
    labels = [one.label for one in found]
    assert _choice(found, labels) == "onnxruntime fp32"
    assert _choice(found[:2], labels) == "openvino fp32"
    assert _choice(found[:1], labels) is None


def test_a_choice_is_timed_once_and_kept(plain, tmp_path, monkeypatch):
    measured = []

    def slower_and_slower(engines):
        measured.append([order.label(engine) for engine in engines])
        assert all(time > 0 for time in milliseconds(engines))  # as it is measured, of open engines
        return [float(10 - 5 * number) for number in range(len(engines))]

    monkeypatch.setattr("engines.choose.milliseconds", slower_and_slower)
    settings = EngineSettings(threads=1, cache_dir=tmp_path / "cache")
    for _ in range(2):
        with open_engine(plain.package, settings) as engine:
            serving = engine.description
            assert engine.infer(plain.feeds(2))["logits"].shape == (2, 1, 32, 32)
        if serving.precision != "fp32":  # bfloat16 serves here, and nothing is left to the clock
            return
    assert measured == [["openvino fp32", "onnxruntime fp32"]]
    assert serving.backend == "onnxruntime"


def test_a_damaged_time_is_measured_again(plain, tmp_path):
    settings = EngineSettings(threads=1, precision="fp32", cache_dir=tmp_path / "cache")
    for content in ("{", "[]", '{"openvino fp32": "soon"}', None):
        open_engine(plain.package, settings).close()
        (kept,) = (tmp_path / "cache" / "times").glob("*.json")
        assert kept.stat().st_mode & 0o777 == 0o600
        if content is not None:
            kept.write_text(content)
    assert "soon" not in kept.read_text()


def test_without_a_place_to_keep_it_nothing_is_timed(plain, monkeypatch):
    monkeypatch.setattr("engines.choose.milliseconds", lambda engines: pytest.fail("it was timed"))
    with open_engine(plain.package, EngineSettings(threads=1, precision="fp32")) as engine:
        assert engine.description.backend == "openvino"


def test_every_engine_that_may_serve_has_its_place(plain):
    known = list(itertools.chain(*tiers(a_processor(HASWELL))))
    for engine in candidates(plain.package, EngineSettings()):
        assert (engine.backend, engine.settings.precision) in known
