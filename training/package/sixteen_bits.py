"""Weights that 16 bits can say: half the file (FP16), or nothing left for an engine to round (bfloat16).

The network is rounded before it is exported and measured, so that what torch, ONNX Runtime and the card speak of is the
one network. What is stored in FP16 is computed with in FP32: engines turn it back when they read the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engines.backends.tensorrt.fp16 import NARROW

SMALLEST = 1024
"""Weights of fewer numbers stay in 32 bits, as norms and biases do: little in a file, and much in an answer."""


def fold_norms(network: nn.Module) -> None:
    """Multiplies batch norms into the convolutions that they follow in a Sequential, in place; answers stay the same.

    Engines do so themselves, after which weights that were rounded before are round no more.
    """
    for child in network.children():
        fold_norms(child)
    if not isinstance(network, nn.Sequential):
        return
    names = list(network._modules)
    for one, other in pairwise(names):
        first, second = network._modules[one], network._modules[other]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            network._modules[one], network._modules[other] = fuse_conv_bn_eval(first, second), nn.Identity()


def round_weights(network: nn.Module, kind: torch.dtype = torch.float16) -> None:
    """Rounds the weights to what `kind` can say, in place.

    Raises:
        ValueError: A weight is too large for FP16.
    """
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if not (_stored(weight.shape) if kind == torch.float16 else weight.ndim > 1):
                continue
            rounded = weight.to(kind).float()
            if not torch.isfinite(rounded).all():
                raise ValueError(f"{name}: expected weights under 65504, received {float(weight.abs().max()):.0f}")
            weight.copy_(rounded)


def _stored(shape: Sequence[int]) -> bool:
    """Whether a tensor of this shape is kept in FP16, and so has to be rounded before: weights that are worth it."""
    return len(shape) > 1 and prod(shape) >= SMALLEST


def store_in_half(path: Path) -> None:
    """Rewrites an ONNX file: its large weights in FP16, cast to FP32 before use; nothing changes of what was rounded.

    Raises:
        ValueError: A weight is too large for FP16; the file stays as it was.
    """
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or not _stored(tensor.dims):
            continue
        name = tensor.name
        half = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(f"{name}: expected weights under 65504")
        tensor.CopyFrom(numpy_helper.from_array(half, name + NARROW))
        casts.append(helper.make_node("Cast", [name + NARROW], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
