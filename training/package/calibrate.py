"""What TensorRT needs to compute a package in INT8: how far eight bits must reach, measured on held-out patients.

The network itself is made where a plan is built (`engines.backends.tensorrt.int8`), so that a package carries kilobytes
for it and no second network. What that network answers is measured here on a processor, in the same arithmetic.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import structlog
from numpy.typing import NDArray

from engines.backends.tensorrt.fp16 import plain
from engines.backends.tensorrt.int8 import convolutions, in_eight_bits, quantised
from engines.contract import EngineSettings
from engines.gate import Agreement, reference_feeds
from engines.packages.manifest import CalibrationFile
from engines.packages.package import NETWORK, ModelPackage, load_package
from training.errors import UnfitError
from training.evaluate.figures import Figure
from training.evaluate.report import Asked, EvaluationResult, measure_held_out
from training.package.agreement import compare, in_words
from training.package.int8 import calibration_inputs, lost, require_slices
from training.package.manifest import CALIBRATION
from training.package.rewrite import edit_card, edit_manifest, put_in_place

log = structlog.get_logger(__name__)

SECTION = "INT8 on a GPU"
FP32 = EngineSettings(backend="onnxruntime")
LEAST = 2e-5
"""For a tensor that is never anything but zero: a scale that FP16 can say, 127 of which this is."""


def add_calibration(folder: Path, data: Path) -> ModelPackage:
    """Adds `calibration.json` to a package, or makes it anew: file, entry in model.yaml, word in the card.

    Where the gate would refuse the INT8 network that is made by it, or a main figure falls by more than `int8.LOSS`,
    the package has none, and the card says why. Nothing in the folder changes before all is measured.

    Args:
        folder: The package's.
        data: The data set; held-out patients choose what eight bits must reach, and are measured.

    Raises:
        UnfitError: No such network can be made of the package.
        FileNotFoundError: Nothing that the package held out is in the data.
        PackageError: What is wrong with the package.
    """
    package = load_package(folder)
    require_slices(package)
    held_out = calibration_inputs(package, data)
    inputs = [*held_out, *reference_feeds(package)[package.manifest.inputs[0].name]]
    try:
        largest = largest_values(package, inputs)
        found = compare(package, onnx.load_from_string(in_eight_bits(package.network(), largest)))
    except Exception as error:  # quantiser, converter, checker and ONNX Runtime raise what they like
        raise UnfitError(reason=f"{package.name} cannot be converted ({type(error).__name__}: {error})") from error
    reason = "; ".join(found.problems(package.manifest.tolerance))
    with tempfile.TemporaryDirectory() as place:
        draft = Path(shutil.copytree(folder, Path(place) / folder.name))
        before: tuple[Figure, ...] = ()
        after: tuple[Figure, ...] = ()
        if not reason:
            before = measure_held_out(package, Asked(data, engine=FP32)).figures
            after = measure_in_eight_bits(package, largest, data).figures
            reason = lost(before, after)
        if reason:
            log.warning("calibration_refused", package=package.name, reason=reason)
            (draft / CALIBRATION).unlink(missing_ok=True)
            edit_manifest(draft, calibration=None)
            words = f"None: {reason}."
        else:
            text = _file(package, largest, len(inputs))
            (draft / CALIBRATION).write_text(text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            edit_manifest(draft, calibration={"file": CALIBRATION, "sha256": digest})
            words = _words(package, len(held_out), found, before, after)
        edit_card(draft, SECTION, words)
        load_package(draft)
        put_in_place(draft, folder, [CALIBRATION])
        if reason:
            (folder / CALIBRATION).unlink(missing_ok=True)
    return load_package(folder)


def largest_values(package: ModelPackage, inputs: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """By the name of each tensor that a convolution reads which may be in eight bits: its largest absolute value.

    The very largest, and not an estimate that cuts off what is rare, which tumours are.

    Args:
        package: Its network takes one picture or slice.
        inputs: (channels, height, width) each.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    name = package.manifest.inputs[0].name
    feeds = iter([{name: each[None]} for each in inputs])

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(feeds, None)

    model = plain(onnx.load_from_string(package.network()))
    with tempfile.TemporaryDirectory() as place:
        onnx.save(model, f"{place}/{NETWORK}")
        calibrator = create_calibrator(
            Path(place) / NETWORK,
            ["Conv"],
            augmented_model_path=f"{place}/augmented.onnx",
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(Reader())
        ranges = calibrator.compute_data()
    wanted = {node.input[0]: ranges[node.input[0]].range_value for node in convolutions(model)}
    # five digits say it, and a file of as many bytes everywhere
    return {name: max(LEAST, float(f"{np.abs(np.ravel(ends)).max():.5g}")) for name, ends in wanted.items()}


def measure_in_eight_bits(package: ModelPackage, largest: dict[str, float], data: Path) -> EvaluationResult:
    """The figures of the package's network in INT8 (what is FP16 on a GPU in FP32), as ONNX Runtime computes it.

    Raises:
        FileNotFoundError: Nothing that the package held out is in the data.
        UnfitError: Nobody here knows what the package was made of.
    """
    network = quantised(plain(onnx.load_from_string(package.network())), largest).SerializeToString()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(package.folder, Path(place) / package.folder.name))
        (folder / NETWORK).write_bytes(network)
        edit_manifest(folder, sha256=hashlib.sha256(network).hexdigest(), variants={}, calibration=None)
        return measure_held_out(load_package(folder), Asked(data, engine=FP32))


def _file(package: ModelPackage, largest: dict[str, float], count: int) -> str:
    import onnxruntime

    tool = f"onnxruntime {onnxruntime.__version__}, MinMax"
    return CalibrationFile(network=package.digest, tool=tool, inputs=count, largest=largest).model_dump_json(indent=1)


def _words(
    package: ModelPackage, count: int, found: Agreement, before: Sequence[Figure], after: Sequence[Figure]
) -> str:
    model = plain(onnx.load_from_string(package.network()))
    share = f"{len(convolutions(model))} of {sum(node.op_type == 'Conv' for node in model.graph.node)}"
    then = {figure.metric: figure.value for figure in after}
    rows = [f"| {one.metric} | {one.value:.3f} | {then[one.metric]:.3f} |" for one in before if np.isfinite(one.value)]
    return "\n".join(
        [
            f"`{CALIBRATION}`: the largest values on {count} slices of the held-out patients and on the reference "
            f"inputs. TensorRT's INT8 network is made with it when its plan is built (`precision: int8`): {share} "
            "convolutions in eight bits, the rest in FP16. Computed that way on a processor, against ONNX Runtime FP32 "
            f"on the reference inputs: {in_words(found)}. The same patients, on a processor:",
            "",
            "| Figure | without | in INT8 |",
            "|---|---|---|",
            *rows,
        ]
    )
