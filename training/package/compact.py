"""A package that exists, with its weights in 16 bits: half the file, and figures of its own."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from engines.gate import reference_feeds
from engines.packages.package import NETWORK, ModelPackage, load_package
from training.errors import UnfitError
from training.evaluate.figures import Figure
from training.evaluate.report import Asked, measure_held_out
from training.package import calibrate, int8
from training.package.manifest import REFERENCE, forget_variants, write_reference
from training.package.rewrite import edit_card, edit_manifest, put_in_place, write_figures
from training.package.sixteen_bits import store_in_half

GONE = "None: what there was had been made of the weights before they were rounded."


def make_compact(folder: Path, data: Path, version: str) -> ModelPackage:
    """Rounds a package's large weights to FP16 and stores them so; they are computed with in FP32 all the same.

    Other precisions' networks and the calibration are of the old weights, so they go; make them anew afterwards.
    Nothing in the folder changes before all is measured.

    Args:
        folder: The package's.
        data: The data set; the figures are measured anew on the held-out patients.
        version: Of the package from now on: its weights are others.

    Raises:
        UnfitError: A main figure would fall by more than `int8.LOSS`, a weight is too large for FP16, or all are in it.
        FileNotFoundError: Nothing that the package held out is in the data.
        PackageError: What is wrong with the package, or with the version.
    """
    package = load_package(folder)
    with tempfile.TemporaryDirectory() as place:
        draft = Path(shutil.copytree(folder, Path(place) / folder.name))
        forget_variants(draft)
        try:
            store_in_half(draft / NETWORK)
        except ValueError as error:
            raise UnfitError(reason=f"{package.name}: {error}") from error
        if package.manifest.reference_inputs == REFERENCE:
            write_reference(draft, reference_feeds(package))
        if (draft / NETWORK).read_bytes() == package.network():
            raise UnfitError(reason=f"{package.name} keeps its weights in 16 bits already")
        digest = hashlib.sha256((draft / NETWORK).read_bytes()).hexdigest()
        content = edit_manifest(draft, sha256=digest, version=version, variants={}, calibration=None)
        edit_manifest(draft, training=content["training"] | {"compact": True})
        figures = measure_held_out(load_package(draft), Asked(data, engine=int8.PLAIN)).figures
        stated = [Figure(one.metric, one.value, one.n) for one in package.manifest.accuracy]
        if reason := int8.lost(stated, figures):
            raise UnfitError(reason=f"{package.name} stays as it is: {reason}")
        write_figures(draft, figures)
        for section in ("FP16", int8.SECTION, calibrate.SECTION):
            if f"## {section}\n" in package.card:
                edit_card(draft, section, GONE)
        put_in_place(draft, folder, [NETWORK, REFERENCE])
        forget_variants(folder)
    return load_package(folder)
