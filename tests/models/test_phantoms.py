"""The packages that ship: whole, described, and able to find what the phantoms hold. Needs no torch."""

from __future__ import annotations

import numpy as np
import pytest

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.packages.activation import probabilities
from engines.packages.package import find_packages, shipped_folder
from pipelines.phantoms.phantom import PhantomOptions, make_phantom
from pipelines.preprocess import prepare

NAMES = ("abdomen-liver-unet", "brain-lgg-classifier", "brain-lgg-resunet")


@pytest.fixture(scope="module")
def packages():
    return find_packages(shipped_folder())


def answer(package, images, spacing):
    """Probabilities of every slice, masks on the source grid."""
    prepared = prepare(package.manifest.preprocessing.name, images, spacing)
    parts = []
    with open_engine(package, EngineSettings()) as engine:
        for start in range(0, len(prepared), 8):
            outputs = engine.infer({"image": prepared.inputs(start, start + 8)})
            found = probabilities(package.manifest, outputs)["logits"]
            parts.append(found if found.ndim == 2 else prepared.restore(found))
    return np.concatenate(parts)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_all_are_there_and_small_enough(packages):
    assert set(NAMES) <= set(packages)
    total = sum(path.stat().st_size for path in shipped_folder().rglob("*") if path.is_file())
    assert total < 60e6


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is_for_and_how_good_it_is(packages, name):
    manifest = packages[name].manifest
    assert "Not a medical device" in manifest.intended_use
    assert manifest.accuracy
    assert manifest.training.split["by"] == "patient"
    for figure in manifest.accuracy:
        assert figure.metric in packages[name].card


@pytest.fixture(scope="module", params=[41, 42])
def brain(request):
    phantom = make_phantom(
        "brain-mr", PhantomOptions(slices=20, matrix=256, lesion_diameters_mm=(34.0,), seed=request.param)
    )
    return phantom, *phantom.render()


@pytest.mark.parametrize("names", [("flair",), ("flair", "t1", "t1ce")])
def test_the_brain_segmenter_finds_the_lesion_of_a_phantom(packages, brain, names):
    phantom, images, masks = brain
    package = packages["brain-lgg-resunet"]
    found = answer(package, {name: images[name] for name in names}, phantom.spacing)[:, 0]
    assert dice(found >= package.manifest.thresholds.mask, masks["lesion"]) > 0.75


def test_the_classifier_tells_slices_with_a_lesion_from_those_without(packages, brain):
    phantom, images, masks = brain
    package = packages["brain-lgg-classifier"]
    found = answer(package, images, phantom.spacing)[:, 0]
    area = masks["lesion"].sum(axis=(1, 2)) * phantom.spacing[1] ** 2
    threshold = package.manifest.thresholds.probability
    assert (found[area > 150] >= threshold).mean() > 0.9
    assert (found[area == 0] < threshold).mean() > 0.8


def test_the_liver_and_its_lesions_are_found_in_a_phantom(packages):
    options = PhantomOptions(slices=24, matrix=384, slice_mm=8, lesions=2, lesion_diameters_mm=(40.0, 30.0), seed=43)
    phantom = make_phantom("abdomen-ct", options)
    images, masks = phantom.render()
    package = packages["abdomen-liver-unet"]
    found = answer(package, images, phantom.spacing) >= package.manifest.thresholds.mask
    assert dice(found[:, 0], masks["liver"]) > 0.88
    assert dice(found[:, 1], masks["lesion"]) > 0.6
