"""One package of several that answer the same question: the mean of what they say answers, in one network.

Networks of different kinds err in different places, so the mean is better than most of them and seldom worse than the
best. In a mean of logits the surest outvotes the others; where one is surer of itself than it should be, the mean of
probabilities is better. The ONNX files are put side by side; no weights of a training are needed, so any packages will
do.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import structlog
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, compose, helper, numpy_helper
from scipy.special import expit

from engines.gate import reference_feeds
from engines.package import MANIFEST, NETWORK, ModelPackage, load_package
from engines.plainyaml import read_yaml
from training.evaluate.figures import UnfitError
from training.evaluate.measure import measure
from training.evaluate.report import cases_of
from training.package.card import write_description
from training.package.export import DIFFERENCE, THRESHOLD, ask_onnx
from training.package.manifest import LIMITS, REFERENCE, accuracy, forget_variants, with_inherited
from training.package.rewrite import put_in_place
from training.package.storage import store_in_half
from training.recipes import RECIPES
from training.systems.commands import unseen_names

log = structlog.get_logger(__name__)

Of = Literal["logits", "probabilities"]
LEAST = 1e-4
"""What is added to a probability before its logarithm is taken: 16 bits can say it, and no logit is beyond 9.2."""


def put_together(
    folders: Sequence[Path],
    data: Path,
    out: Path,
    version: str,
    *,
    of: Of = "probabilities",
    threshold: float = THRESHOLD,
    compact: bool = False,
    pictures: Path | None = None,
) -> ModelPackage:
    """Writes the package `out/<name of the first>`, with figures measured on the patients that all parts held out.

    Args:
        folders: Of the packages; made by recipes.
        data: The data set.
        out: Folder of packages.
        version: Of the new package.
        of: What the mean is taken of.
        threshold: From which probability on it counts. With probabilities, under 0.5, a part that is sure outvotes one
            that sees nothing.
        compact: Keep the weights in 16 bits; they are rounded before anything is measured.
        pictures: A folder for a gallery.

    Raises:
        UnfitError: The parts take, answer or held out something else than each other, or are no recipes' packages.
        FileNotFoundError: Nothing that they held out is in the data.
    """
    parts = [load_package(folder) for folder in folders]
    check_alike(parts)
    recipe, held_out = cases_of(parts[0], data)
    network = mean_network([(part.folder / NETWORK).read_bytes() for part in parts], parts[0], of)
    reference = reference_feeds(parts[0])[parts[0].manifest.inputs[0].name]
    difference = _difference(network, parts, reference, of)
    content = _manifest(parts, version, of, threshold)
    with tempfile.TemporaryDirectory() as place:  # a package is there as it was, or whole
        draft = Path(place) / parts[0].name
        draft.mkdir()
        shutil.copyfile(parts[0].folder / REFERENCE, draft / REFERENCE)
        onnx.save(network, draft / NETWORK)
        if compact:
            store_in_half(draft / NETWORK)
            content["training"]["compact"] = True
        content["sha256"] = hashlib.sha256((draft / NETWORK).read_bytes()).hexdigest()
        write_description(draft, content, LIMITS[recipe.data], difference)
        _, figures = measure(recipe, load_package(draft), held_out, threshold, pictures)
        content["accuracy"] = [accuracy(recipe, figure) for figure in figures]
        write_description(draft, content, LIMITS[recipe.data], difference)
        folder = out / parts[0].name
        put_in_place(draft, folder, [NETWORK, REFERENCE])
        forget_variants(folder)
    for figure in figures:
        log.info("figure", package=parts[0].name, figure=str(figure))
    return load_package(folder)


def check_alike(parts: Sequence[ModelPackage]) -> None:
    """See `put_together`."""
    if len(parts) < 2:
        raise UnfitError("expected two packages or more to take the mean of")
    for part in parts:
        recorded = part.manifest.training.model_extra or {}
        if recorded.get("recipe") not in RECIPES or "mean_of" in recorded:
            raise UnfitError(f"{part.name} {part.version}: expected a package of one recipe of {', '.join(RECIPES)}")
    first = parts[0].manifest
    for part in parts[1:]:
        if first.outputs[0].activation != "sigmoid":
            raise UnfitError(f"{first.name}: expected sigmoids, received {first.outputs[0].activation}")
        for name in ("task", "inputs", "outputs", "preprocessing", "labels"):
            if getattr(part.manifest, name) != getattr(first, name):
                raise UnfitError(f"{first.name} and {part.name} differ in {name} (model.yaml)")
        if unseen_names(parts[0]) != unseen_names(part):
            raise UnfitError(f"{first.name} and {part.name} held out other patients: each may have seen the other's")


def mean_network(networks: Sequence[bytes], like: ModelPackage, of: Of) -> ModelProto:
    """ONNX: every network asked for the same image, and the mean of their logits, or the logit of their mean.

    Args:
        networks: ONNX files of one input and one output.
        like: A package whose names of input and output they have.
        of: What the mean is taken of.

    Raises:
        UnfitError: They were written for different versions of ONNX's operators.
    """
    image, answer = like.manifest.inputs[0].name, like.manifest.outputs[0].name
    models = [compose.add_prefix(onnx.load_from_string(network), f"part{n}.") for n, network in enumerate(networks)]
    versions = {tuple((one.domain, one.version) for one in model.opset_import) for model in models}
    if len(versions) > 1:
        raise UnfitError(f"networks of different operator versions cannot be put together: {sorted(versions)}")
    nodes, weights, answers = [], [], []
    for number, model in enumerate(models):
        for node in model.graph.node:
            for index, name in enumerate(node.input):
                if name == f"part{number}.{image}":
                    node.input[index] = image
        nodes += model.graph.node
        weights += model.graph.initializer
        answers.append(f"part{number}.{answer}")
    if of == "logits":
        nodes.append(helper.make_node("Mean", answers, [answer], name="mean"))
    else:
        nodes += _logit_of_mean(answers, answer)
        weights.append(numpy_helper.from_array(np.array(LEAST, np.float32), "mean.least"))
    whole = onnx.load_from_string(networks[0])
    graph = helper.make_graph(nodes, "mean", list(whole.graph.input), list(whole.graph.output), weights)
    model = helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)
    onnx.checker.check_model(model, full_check=True)
    return model


def _logit_of_mean(answers: Sequence[str], answer: str) -> list[NodeProto]:
    """log(p) - log(1 - p), where p and 1 - p are means over `answers`, each taken by itself: near 1, 1 - p is noise."""
    nodes = []
    for side in ("yes", "no"):
        shares = []
        for name in answers:
            turned = name
            if side == "no":
                turned = f"{name}.turned"
                nodes.append(helper.make_node("Neg", [name], [turned], name=turned))
            shares.append(f"{name}.{side}")
            nodes.append(helper.make_node("Sigmoid", [turned], [shares[-1]], name=shares[-1]))
        steps = [("Mean", shares), ("Add", [f"mean.{side}.0", "mean.least"]), ("Log", [f"mean.{side}.1"])]
        nodes += [
            helper.make_node(kind, given, [f"mean.{side}.{number}"], name=f"mean.{side}.{number}")
            for number, (kind, given) in enumerate(steps)
        ]
    return [*nodes, helper.make_node("Sub", ["mean.yes.2", "mean.no.2"], [answer], name="mean")]


def _difference(network: ModelProto, parts: Sequence[ModelPackage], image: NDArray[np.float32], of: Of) -> float:
    """Largest difference of a probability between the network and the mean of its parts, each asked by itself."""
    apart = [ask_onnx(part.folder / NETWORK, image) for part in parts]
    mean = expit(np.mean(apart, axis=0)) if of == "logits" else np.mean(expit(apart), axis=0)
    difference = float(np.abs(expit(ask_onnx(network.SerializeToString(), image)) - mean).max())
    if difference > DIFFERENCE:
        raise ArithmeticError(
            f"probabilities differ from the mean of the parts by {difference:.2g}, allowed {DIFFERENCE}"
        )
    return difference


def _manifest(parts: Sequence[ModelPackage], version: str, of: Of, threshold: float) -> dict[str, Any]:
    """Content of model.yaml, without figures."""
    content: dict[str, Any] = read_yaml((parts[0].folder / MANIFEST).read_text())
    for key in ("variants", "calibration"):
        content.pop(key, None)
    made = [read_yaml((part.folder / MANIFEST).read_text()) for part in parts]
    data: list[dict[str, Any]] = []
    for one in made:
        data = with_inherited(data, one["training"]["data"])
    licences = dict.fromkeys(one["licence"] for one in made)
    notes = "; ".join(f"{one['name']} {one['version']}: {one['training']['split']['note']}" for one in made)
    chose = "threshold fixed beforehand" if threshold == THRESHOLD else "they were looked at when the threshold was set"
    split = {**made[0]["training"]["split"], "note": f"{chose}; of the parts: {notes}"}
    kept = ("name", "version", "sha256")
    mean_of = [
        {**{key: one[key] for key in kept}, **{k: v for k, v in one["training"].items() if k not in ("data", "split")}}
        for one in made
    ]
    return {
        **content,
        "version": version,
        "licence": "; ".join(licences),
        "thresholds": {**content["thresholds"], "mask": threshold, "probability": threshold},
        "training": {
            "data": data,
            "split": split,
            "recipe": made[0]["training"]["recipe"],
            "minutes": round(sum(one["training"].get("minutes", 0.0) for one in made), 1),
            "mean": of,
            "threshold": threshold,
            "mean_of": mean_of,
        },
        "accuracy": [],
        "reference_inputs": REFERENCE,
    }
