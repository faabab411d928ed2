"""Weights in 16 bits: half the file, and the same answers everywhere."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
onnx = pytest.importorskip("onnx", reason="training needs the `train` extra")

import onnxruntime  # noqa: E402
from torch import nn  # noqa: E402

from engines.backends.tensorrt.fp16 import widened  # noqa: E402
from training.networks.ensemble import Mean  # noqa: E402
from training.package.network import check_against_torch, write_onnx  # noqa: E402
from training.package.sixteen_bits import fold_norms, round_weights, store_in_half  # noqa: E402


def network():
    torch.manual_seed(1)
    return Mean(
        [nn.Sequential(nn.Conv2d(3, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 2, 3))]
    ).eval()


INPUTS = np.random.default_rng(0).normal(size=(2, 3, 20, 24)).astype(np.float32)


def test_a_compact_network_is_half_as_large_and_answers_as_torch_does(tmp_path):
    whole, compact = tmp_path / "whole.onnx", tmp_path / "compact.onnx"
    before, rounded = network(), network()
    write_onnx(before, INPUTS, whole)
    write_onnx(rounded, INPUTS, compact, compact=True)
    weights = sum(p.numel() for p in before.parameters() if p.numel() >= 1024)
    assert whole.stat().st_size - compact.stat().st_size == pytest.approx(2 * weights, abs=600)
    assert check_against_torch(rounded, compact, INPUTS) < 1e-5
    difference = before.networks[0][0].weight - rounded.networks[0][0].weight
    assert 0 < difference.abs().max() < 1e-3  # it was rounded, and no more than that


def test_widened_is_the_same_network_without_a_cast(tmp_path):
    path = tmp_path / "compact.onnx"
    write_onnx(network(), INPUTS, path, compact=True)
    wide = widened(onnx.load(path))
    assert "Cast" not in {node.op_type for node in wide.graph.node}
    answers = [
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"image": INPUTS})[0]
        for file in (path.read_bytes(), wide.SerializeToString())
    ]
    np.testing.assert_array_equal(*answers)


def test_a_cast_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "net.onnx"
    write_onnx(network(), INPUTS, path)
    plain = onnx.load(path)
    assert widened(plain) == plain
    store_in_half(path)
    assert "Cast" in {node.op_type for node in onnx.load(path).graph.node}


def test_rounded_weights_stay_round_when_an_engine_folds_norms():
    whole, rounded = network(), network()
    norm = rounded.networks[0][1]
    norm.running_var.fill_(0.3), norm.running_mean.fill_(0.2)
    whole.load_state_dict(rounded.state_dict())
    fold_norms(rounded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in rounded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(rounded(torch.from_numpy(INPUTS)), whole(torch.from_numpy(INPUTS)))
    round_weights(rounded, torch.bfloat16)
    weights = [weight for weight in rounded.parameters() if weight.ndim == 4]
    assert len(weights) == 2
    assert all(torch.equal(weight, weight.bfloat16().float()) for weight in weights)
    assert not torch.equal(weights[0], whole.networks[0][0].weight)


def test_a_weight_that_fp16_cannot_say_is_an_error():
    large = network()
    with torch.no_grad():
        large.networks[0][0].weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match=r"0\.weight: expected weights under 65504"):
        round_weights(large)
