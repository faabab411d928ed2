"""FP16 for a GPU, made of a package's own network where the package brings no such variant."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from engines import tensorrt_build
from engines.choose import candidates
from engines.contract import EngineSettings
from engines.errors import PrecisionMissing
from engines.gate import agreement, reference_feeds
from engines.package import find_packages, shipped_folder
from engines.tensorrt_build import network_for, offers, require

pytest.importorskip("onnxconverter_common", reason="needs the `gpu` or the `train` extra")

PACKAGES = find_packages(shipped_folder())


def answers(package, network: bytes) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in package.manifest.outputs]
    return dict(zip(names, session.run(names, reference_feeds(package)), strict=True))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_shipped_network_in_fp16_answers_as_the_gate_wants(name):
    package = PACKAGES[name]
    half = network_for(package, "fp16")
    assert 0.9 * len(half) < len(onnx.load_from_string(half).SerializeToString())
    weights = onnx.load_from_string(half).graph.initializer
    large = [each for each in weights if np.prod(each.dims) > 1000]
    assert {each.data_type for each in large} == {onnx.TensorProto.FLOAT16}
    found = agreement(package.manifest, answers(package, half), answers(package, package.network()))
    assert found.max_difference > 0
    assert found.problems(package.manifest.tolerance) == ()


def test_it_is_tried_before_fp32_where_it_can_be_made(plain, monkeypatch):
    def tried() -> list[str]:
        return [engine.settings.precision for engine in candidates(plain.package, EngineSettings(backend="tensorrt"))]

    assert tried() == ["fp16", "fp32"]
    monkeypatch.setattr(tensorrt_build, "can_halve", lambda: False)
    assert tried() == ["fp32"]
    with pytest.raises(PrecisionMissing, match="onnxconverter-common is not installed"):
        require(plain.package, "fp16")


def test_a_network_that_cannot_be_converted_is_refused_in_words(plain, monkeypatch):
    def broken(network: bytes) -> bytes:
        raise ValueError("no such operation")

    monkeypatch.setattr(tensorrt_build, "halved", broken)
    assert offers(plain.package, "fp16")
    with pytest.raises(PrecisionMissing, match=r"tiny cannot be converted \(ValueError: no such operation\)"):
        network_for(plain.package, "fp16")
