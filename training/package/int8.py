"""The INT8 variant of a package's network for a processor, and whether it may be in the package.

NNCF quantises OpenVINO's own network and not the ONNX file: of the same networks quantised in ONNX, OpenVINO 2026.4
answered rightly for one of three (docs/lab/networks.md).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from numpy.typing import NDArray

from engines.backends.openvino.engine import packed
from engines.backends.openvino.rewrites import fold_unshuffles
from engines.choose import verify
from engines.contract import EngineSettings
from engines.gate import Agreement, reference_feeds
from engines.libraries import import_openvino
from engines.packages.package import ModelPackage, load_package
from pipelines.brain.volume import NeighbourSlices
from training.data.case import Case
from training.data.inputs import INPUTS
from training.data.items import Item
from training.errors import UnfitError
from training.evaluate.figures import Figure
from training.evaluate.report import Asked, EvaluationResult, measure_held_out
from training.experiment import Experiment
from training.package.agreement import in_words
from training.package.origin import experiments_of, unseen
from training.package.rewrite import edit_card, edit_manifest, put_in_place, variants_without, write_figures

if TYPE_CHECKING:
    import openvino

log = structlog.get_logger(__name__)

FILE = "model.int8.openvino.zip"
SECTION = "INT8"
COUNT = 96
"""About so many slices of held-out patients say what eight bits must reach; the gate's inputs come on top."""
PLAIN = EngineSettings(backend="openvino")
INT8 = EngineSettings(backend="openvino", precision="int8")

CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData"})
LOSS = 0.003
"""How much less a package's main figures may be in INT8."""
MAIN = ("Dice by patient", "AUC", "accuracy")


def add_int8(folder: Path, data: Path, version: str | None = None) -> ModelPackage:
    """Adds the INT8 variant to a package, or makes it anew: file, figures, entry in model.yaml, word in the card.

    The figures of model.yaml and card are then those of INT8; what they were without stands in the card's section.
    Where the gate refuses it, or a main figure falls by more than `LOSS`, the package has none, and the card says why.
    Nothing in the folder changes before all is measured.

    Args:
        folder: The package's.
        data: The data set; held-out patients choose what eight bits must reach, and are measured.
        version: What the package is called from now on; as before if None.

    Raises:
        UnfitError: No such network can be made of the package, or this machine does not compute in INT8.
        FileNotFoundError: Nothing that the package held out is in the data.
        PackageError: What is wrong with the package, or with the version.
    """
    package = load_package(folder)
    require_slices(package)
    held_out = calibration_inputs(package, data)
    with tempfile.TemporaryDirectory() as place:
        draft = Path(shutil.copytree(folder, Path(place) / folder.name))
        edit_manifest(draft, variants=variants_without(package, "int8"), **({"version": version} if version else {}))
        package = load_package(draft)
        before = measure_held_out(package, Asked(data, engine=PLAIN))
        network = packed(quantised(package, [*held_out, *reference_feeds(package)[package.manifest.inputs[0].name]]))
        (draft / FILE).write_bytes(network)
        entry = {"file": FILE, "sha256": hashlib.sha256(network).hexdigest(), "format": "openvino"}
        edit_manifest(draft, variants={**variants_without(package, "int8"), "int8": entry})
        package = load_package(draft)
        found = verify(package, INT8)[0]
        if found.agreement is None:
            raise UnfitError(reason=f"{package.name}: {'; '.join(found.problems)}")
        after = () if found.problems else measure_held_out(package, Asked(data, engine=INT8)).figures
        reason = "; ".join(found.problems) or lost(before.figures, after)
        if reason:
            log.warning("int8_refused", package=package.name, reason=reason)
            (draft / FILE).unlink()
            edit_manifest(draft, variants=variants_without(package, "int8"))
            words = f"None: {reason}."
        else:
            words = _words(network, len(held_out), found.agreement, before)
        write_figures(draft, after or before.figures)
        edit_card(draft, SECTION, words)
        put_in_place(draft, folder, [FILE])
        if not (draft / FILE).exists():
            (folder / FILE).unlink(missing_ok=True)
    return load_package(folder)


def require_slices(package: ModelPackage) -> None:
    """INT8 is calibrated on pictures and slices.

    Raises:
        UnfitError: The package's network takes something else.
    """
    manifest = package.manifest
    spatial = manifest.inputs[0].shape[1:]
    if len(manifest.inputs) != 1 or manifest.inputs[0].volumetric or not all(isinstance(n, int) for n in spatial):
        raise UnfitError(
            reason=f"{package.name}: INT8 is made of networks that take one picture or slice of a fixed size"
        )


def quantised(package: ModelPackage, inputs: Sequence[NDArray[np.float32]]) -> openvino.Model:
    """The network as OpenVINO serves it, convolutions in eight bits; the last ones and what follows stay as they are.

    Args:
        package: Its network takes one picture or slice.
        inputs: (channels, height, width) each; their largest values set the scales.
    """
    os.environ.setdefault("NNCF_CI", "1")  # it would tell its makers that it is used, and on what
    import nncf

    nncf.set_log_level(logging.WARNING)  # it would name every node that stays as it is
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    model = import_openvino().Core().read_model(package.network())
    spec = package.manifest.inputs[0]
    model.reshape({spec.name: [1, *spec.shape[1:]]})
    fold_unshuffles(model)
    answer: openvino.Model = nncf.quantize(
        model,
        nncf.Dataset([each[None] for each in inputs]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=_last(model)),
        # the usual estimate cuts off what is rare, which tumours are: none was left in the first networks
        advanced_parameters=AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    )
    return answer


def _last(model: openvino.Model) -> list[str]:
    """Names of all that no convolution comes after: the last ones, sizes put back, means over images, pooling.

    Where a dense layer answers, it is the last one, and the convolutions before it need no such care.
    """
    inner: set[str] = set()
    nodes = [
        node for node in model.get_ordered_ops() if node.get_type_name() not in {"Constant", "Parameter", "Result"}
    ]
    for node in reversed(nodes):
        if node.get_type_name() in CONVOLUTIONS or node.get_friendly_name() in inner:
            inner |= {source.get_node().get_friendly_name() for source in node.input_values()}
    outer = [node for node in nodes if node.get_friendly_name() not in inner]
    dense = any(node.get_type_name() == "MatMul" for node in outer)
    kept = [node for node in outer if not (dense and node.get_type_name() in CONVOLUTIONS)]
    return [node.get_friendly_name() for node in kept]


def calibration_inputs(package: ModelPackage, data: Path, count: int = COUNT) -> list[NDArray[np.float32]]:
    """About `count` inputs (channels, height, width), evenly through the held-out patients, as serving prepares them.

    Raises:
        FileNotFoundError: None of them is in the data.
    """
    experiment = experiments_of(package)[0]
    units = unseen(package, experiment, data)
    read = _of_cases if experiment.prepared else _of_items
    return list(read(experiment, units, count))


def _of_cases(experiment: Experiment, cases: Sequence[Case], count: int) -> Iterable[NDArray[np.float32]]:
    slices = [(case.prepared, index) for case in cases for index in range(len(case.prepared))]
    return (prepared.inputs(index, index + 1)[0] for prepared, index in _evenly(slices, count))


def _of_items(experiment: Experiment, items: Sequence[Item], count: int) -> Iterable[NDArray[np.float32]]:
    if not experiment.neighbours:
        yield from (INPUTS[experiment.inputs](item.read()[0]) for item in _evenly(items, count))
        return
    for item in items:
        slices = NeighbourSlices(INPUTS[experiment.inputs](item.read()[0]), experiment.neighbours)
        chosen = _evenly(slices.shown.tolist(), max(1, count // len(items)))
        yield from (slices.inputs(index, index + 1)[0] for index in chosen)


def _evenly(things: Sequence[Any], count: int) -> list[Any]:
    chosen = np.unique(np.linspace(0, len(things) - 1, min(count, len(things))).round().astype(int))
    return [things[index] for index in chosen]


def lost(before: Sequence[Figure], after: Sequence[Figure]) -> str:
    """The main figures that fell too far, or are none any more, in words; empty if none did."""
    now = {figure.metric: figure.value for figure in after}
    main = [one for one in before if any(name in one.metric for name in MAIN) and np.isfinite(one.value)]
    if not main:
        return f"no figure to judge it by was measured ({', '.join(MAIN)})"
    both = [(one, now.get(one.metric, float("nan"))) for one in main]
    fallen = [(one, value) for one, value in both if not value >= one.value - LOSS]
    return "; ".join(f"{one.metric} would be {value:.3f} instead of {one.value:.3f}" for one, value in fallen)


def _words(network: bytes, count: int, found: Agreement, before: EvaluationResult) -> str:
    size, tool = f"{len(network) / 1e6:.1f} MB", f"NNCF {metadata.version('nncf')}"
    return "\n".join(
        [
            f"`{FILE}`, {size}, for OpenVINO: convolutions in eight bits ({tool}), scales from the largest values on "
            f"{count} slices of the held-out patients and on the reference inputs; the last layers stay in floating "
            "point. The figures above are measured with it. Against ONNX Runtime FP32 on the reference inputs: "
            f"{in_words(found)}.",
            "",
            "Without it (`precision: bf16` or `fp32` in the configuration), on the same patients:",
            "",
            before.table,
        ]
    )
