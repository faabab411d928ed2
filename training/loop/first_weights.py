"""First weights of a run: those of another run, or of a package that the system was exported to.

A package's network may have its batch norms folded into the convolutions (`sixteen_bits.fold_norms`). A network without
norms is hard to train, so they are put back, with statistics of the images that it is about to be trained on: it then
answers as the package does, and learns as a network with norms does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from engines.backends.tensorrt.fp16 import widened
from training.networks.ensemble import both_sides
from training.networks.registry import served
from training.package.network import DIFFERENCE

ALIKE = 1e-4
"""Share of the largest logit by which a network may answer otherwise than the package that it was taken from."""

PREFIXES = ("networks.0.network.", "networks.0.slices.", "networks.0.")
"""What an export puts before the names of a network's weights (`Mean`, and `ServedNetwork` within it)."""


def first_weights(network: nn.Module, initial: Path, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Weights for `network` from a run's best.pt, or from a package's folder.

    Args:
        network: Of the same kind as the one that was kept; its weights are spent in the making.
        initial: The file, or the folder.
        batches: (image, truth) as in training; the first one says what norms see.

    Raises:
        ValueError: The package holds another network, or several, or one whose norms cannot be put back.
    """
    if not initial.is_dir():
        weights: dict[str, Tensor] = torch.load(initial, weights_only=True)["weights"]
        return weights
    images = next(iter(batches))[0]
    take_package(served(network), _named(initial), lambda: network(images))
    _check(served(network), initial)
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def _check(part: nn.Module, package: Path) -> None:
    """Asks both about noise of the package's size; it may answer with the mean over the image and its mirror image."""
    import onnxruntime

    session = onnxruntime.InferenceSession(package / "model.onnx", providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape[1:]
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    part.eval()
    with torch.inference_mode():
        answers = [one[0] if isinstance(one := ask(image), tuple) else one for ask in (part, partial(both_sides, part))]
    part.train()
    apart = min(float((answer - expected).abs().max()) for answer in answers)
    if apart > max(DIFFERENCE, ALIKE * float(expected.abs().max())):
        raise ValueError(f"{package}: the network would not answer as it does, but {apart:.2g} of a logit otherwise")


def take_package(network: nn.Module, kept: dict[str, Tensor], ask: Callable[[], object]) -> None:
    """Fills `network` with what a package kept, in place; norms that were folded are put back.

    Layers of the network that nothing asks, and that were therefore not exported, stay as they are.

    Args:
        network: In whatever state.
        kept: Weights by name.
        ask: Asks it (or a network that it is a part of) for images, by which the norms' statistics are taken.

    Raises:
        ValueError: A weight has no place, or one of another shape.
    """
    folded, mine = _folded(network, kept), network.state_dict()
    biases = {f"{convolution}.bias" for convolution in folded}
    for name, value in kept.items():
        if name in biases:
            continue
        if name not in mine or mine[name].shape != value.shape:
            wanted = tuple(mine[name].shape) if name in mine else "none of this name"
            raise ValueError(f"weight {name}: expected {wanted}, received one of {tuple(value.shape)}")
        mine[name].copy_(value)
    modules = dict(network.named_modules())
    hooks = [
        modules[norm].register_forward_pre_hook(_unfold(kept[f"{convolution}.bias"]))
        for convolution, norm in folded.items()
    ]
    network.eval()
    with torch.inference_mode():
        ask()
    for hook in hooks:
        hook.remove()
    network.train()


def _unfold(bias: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A hook that makes a norm add `bias` and otherwise let pass what it sees, by the statistics of what it sees."""

    def hook(norm: nn.Module, seen: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(seen[0].float(), dim=(0, *range(2, seen[0].ndim)), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.copy_(bias + mean)

    return hook


def _folded(network: nn.Module, kept: dict[str, Tensor]) -> dict[str, str]:
    """Convolution -> norm, by name, where the package has the two in one."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            for (one, first), (other, second) in pairwise(module.named_children()):
                if (
                    isinstance(second, nn.BatchNorm2d | nn.BatchNorm3d)
                    and getattr(first, "bias", 0) is None
                    and f"{name}.{one}.bias" in kept
                ):
                    found[f"{name}.{one}"] = f"{name}.{other}"
    return found


def _named(package: Path) -> dict[str, Tensor]:
    """The package's weights by the names that the network has for them."""
    model = widened(onnx.load(package / "model.onnx"))
    names = {tensor.name: tensor for tensor in model.graph.initializer}
    if any(name.startswith("networks.1.") for name in names):
        raise ValueError(f"{package}: expected one network, received the mean of several")
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in names)), "")
    found = {}
    for name, tensor in names.items():
        if name.startswith(prefix):
            # `weight_bias` is what the exporter calls the bias of a norm that it folded by itself
            ours = name.removeprefix(prefix).replace(".weight_bias", ".bias")
            found[ours] = torch.from_numpy(np.array(numpy_helper.to_array(tensor), np.float32))
    return found
