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

from engines.benchmark_field import Contender, Run
from training.experiment import System
from training.experiments import SYSTEMS
from training.recipes import RECIPES

if TYPE_CHECKING:
    import torch
    from torch import nn

    from engines.contract import Arrays
    from engines.package import ModelPackage


def contenders(package: ModelPackage, *, threads: int, compiled: bool) -> list[Contender]:
    """What PyTorch offers for a package: eager and, if `compiled`, `torch.compile`; each in FP32 and in 16 bit.

    Nothing for a package that was not trained here, whose network nobody knows.
    """
    import torch

    if _system_of(package) is None and (package.manifest.training.model_extra or {}).get("recipe") not in RECIPES:
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

    from training.systems.learn import with_channels_last

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
    from training.networks.mean import Mean

    system, extra = _system_of(package), package.manifest.training.model_extra or {}
    if system is not None:
        from training.systems.learn import build as build_system
        from training.systems.learn import served

        networks = [build_system(one) for one in (system, *map(System.of, extra.get("others", ())))]
        if package.manifest.preprocessing.neighbours:  # else an older export, of the whole network
            networks = [served(network) for network in networks]
        return Mean(networks, mirror=extra.get("mirror", False))
    from training.package.export import untrained_answer

    parts = extra.get("mean_of", [extra])
    names = [part["recipe"] for part in parts for _ in range(part.get("networks", 1))]
    return Mean([untrained_answer(RECIPES[name]) for name in names])


def _system_of(package: ModelPackage) -> System | None:
    """The system as it was trained, which the package records; by name for a package that does not."""
    recorded = (package.manifest.training.model_extra or {}).get("system")
    return SYSTEMS.get(package.name) if recorded is None else System.of(recorded)
