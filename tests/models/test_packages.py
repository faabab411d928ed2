"""Every package that ships: complete, admitted on this machine's engines, and buildable by TensorRT."""

from __future__ import annotations

import re
from functools import cache, partial

import numpy as np
import pytest

from engines.backends.tensorrt.build import PRECISIONS, build, offers, profiles
from engines.choose import open_engine, verify
from engines.contract import EngineSettings
from engines.errors import BackendMissing, PackageError
from engines.gate import reference_feeds
from engines.libraries import import_tensorrt
from engines.machine import this_processor
from engines.packages.activation import masks, probabilities
from engines.packages.package import find_packages, shipped_folder

BROKEN: list[PackageError] = []
PACKAGES = find_packages(shipped_folder(), on_error=BROKEN.append)


def tensorrt_missing() -> bool:
    try:
        import_tensorrt()
    except BackendMissing:
        return True
    return False


@pytest.fixture(params=PACKAGES)
def package(request):
    return PACKAGES[request.param]


def test_all_of_them_load():
    assert BROKEN == []
    assert PACKAGES


def test_the_folder_is_named_as_the_package(package):
    assert package.folder.name == package.name


def test_brings_what_a_reader_and_the_gate_need(package):
    manifest = package.manifest
    assert package.reference() is not None
    assert manifest.accuracy, "an accuracy was measured, or the package does not ship"
    assert all(source.licence for source in manifest.training.data)
    assert re.search("research", manifest.intended_use, re.IGNORECASE)
    assert re.search("not a medical device", manifest.intended_use, re.IGNORECASE)
    assert len(package.card) > 500


@pytest.mark.parametrize("name", [name for name, one in PACKAGES.items() if one.manifest.task == "segmentation"])
def test_reference_inputs_show_something(name):
    """A gate that compares two empty masks would let anything pass."""
    package = PACKAGES[name]
    with open_engine(package, EngineSettings(backend="onnxruntime")) as engine:
        found = probabilities(package.manifest, engine.infer(reference_feeds(package)))
        for spec in package.manifest.outputs:
            drawn = masks(package.manifest, spec, found[spec.name]).sum(axis=(0, *range(2, found[spec.name].ndim)))
            assert (drawn > 100).all(), dict(zip(spec.classes, drawn, strict=False))


@pytest.fixture(scope="module")
def verified():
    """Of each package, once: what its engines answer, and which one serves."""
    return cache(lambda name: verify(PACKAGES[name], EngineSettings(threads=2)))


def test_every_engine_of_this_machine_is_admitted_or_another_one_serves(package, verified):
    """Whatever the processor: in FP32 all answer alike, and an INT8 that it computes otherwise does not serve."""
    compared = {one.label: one for one in verified(package.name) if one.agreement is not None}
    assert compared.keys() >= {"openvino fp32", "onnxruntime fp32"}
    refused = {label: one.problems for label, one in compared.items() if one.problems}
    assert [label for label in refused if "fp32" in label] == []
    (chosen,) = (label for label, one in compared.items() if one.chosen)
    assert chosen not in refused


@pytest.mark.skipif(not this_processor().known, reason="INT8 was measured on x86-64 alone")
def test_int8_is_admitted_with_dot_products_and_without(package, verified):
    """A processor without VNNI adds in 16 bits (saturation.py), and serves INT8 all the same."""
    found = {one.label: one for one in verified(package.name)}
    assert found["openvino int8"].problems == ()
    assert found["openvino int8"].chosen


def test_a_batch_is_answered_like_its_samples(package):
    feeds = reference_feeds(package)
    repeated = {name: np.concatenate([array] * 3) for name, array in feeds.items()}
    with open_engine(package, EngineSettings(threads=2)) as engine:
        once, thrice = engine.infer(feeds), engine.infer(repeated)
    for name, array in once.items():
        np.testing.assert_allclose(thrice[name], np.concatenate([array] * 3), atol=1e-3)


@pytest.mark.skipif(
    tensorrt_missing(),
    reason="TensorRT does not import: install scanward[gpu], or export what ../shared/tools/tensorrt-on-cpu.sh prints",
)
def test_tensorrt_builds_every_network(package):
    told: list[float] = []
    for precision in filter(partial(offers, package), PRECISIONS):
        built = build(package, precision, profiles(package, 8), progress=lambda phase, share: told.append(share))
        assert len(built.plan) > 10_000
        assert built.timing
    assert told[-1] == 1
