"""PyTorch as the yardstick of `models benchmark`: a package's training network, eager and compiled.

The command line finds `contenders` through the entry point `scanward.contenders`, since nothing that serves may import
this folder.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from engines.benchmark.contender import Contender, Run
from training.errors import UnfitError
from training.package.origin import experiments_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from engines.contract import Arrays
    from engines.packages.package import ModelPackage


def contenders(package: ModelPackage, *, threads: int, compiled: bool) -> list[Contender]:
    """What PyTorch offers for a package: eager and, if `compiled`, `torch.compile`; each in FP32 and in 16 bit.

    Nothing for a package that was not trained here, whose network nobody knows.
    """
    import torch

    try:
        experiments_of(package)
    except UnfitError:
        return []
    half = "fp16" if torch.cuda.is_available() else "bf16"
    ways = [("torch eager", False), *([("torch.compile", True)] if compiled else [])]
    return [
        Contender(name, precision, partial(_opened, package, precision, threads, compiled=compiles), comparable=False)
        for name, compiles in ways
        for precision in ("fp32", half)
    ]


@contextmanager
def _opened(package: ModelPackage, precision: str, threads: int, *, compiled: bool) -> Iterator[Run]:
    """The network with random weights (they do not change its speed), copies to the device and back included."""
    import torch

    from training.networks.registry import with_channels_last

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(threads)
    volumetric = package.manifest.inputs[0].volumetric
    layout = torch.channels_last_3d if volumetric else torch.channels_last
    network = with_channels_last(_network_of(package)).eval().to(device)
    called: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network) if compiled else network
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    feed, answer = package.manifest.inputs[0].name, package.manifest.outputs[0].name

    def run(feeds: Arrays) -> Arrays:
        image = torch.from_numpy(feeds[feed]).to(device).contiguous(memory_format=layout)
        with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype is not None):
            return {answer: called(image).float().cpu().numpy()}

    with warnings.catch_warnings(action="ignore"):  # torch.compile is talkative
        yield run


def _network_of(package: ModelPackage) -> nn.Module:
    from training.networks.ensemble import Mean
    from training.package.network import answer_of

    mirror = (package.manifest.training.model_extra or {}).get("mirror", False)
    return Mean([answer_of(experiment) for experiment in experiments_of(package)], mirror=mirror)
