"""A package is wrong in many ways; each is said with the file and the key."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from engines.errors import DigestMismatch, PackageError, PackageInvalid, PackageMissing
from engines.packages.package import find_packages, load_package, shipped_folder
from engines.plain_yaml import read_yaml, write_yaml
from tests.engines.conftest import TUMOUR, images, manifest, plain_sample, segmenter, write


def edit(folder, **changes):
    """Changes keys of model.yaml; None removes one."""
    file = folder / "model.yaml"
    content = read_yaml(file.read_text()) | changes
    file.write_text(write_yaml({key: value for key, value in content.items() if value is not None}))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "tiny", manifest(), segmenter())


def test_a_good_one(folder):
    package = load_package(folder)
    assert (package.name, package.version, len(package.digest)) == ("tiny", "1.0.0", 64)
    assert package.network() == segmenter()
    assert package.card.startswith("# Tiny")
    assert package.reference() is None
    assert package.manifest.labels[0].name == "tumour"
    assert "tiny 1.0.0" in repr(package)


def test_travels_between_processes(folder):
    assert pickle.loads(pickle.dumps(load_package(folder))).digest == load_package(folder).digest


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"version": "new"}, "version", "pattern"),
        ({"licence_fee": 3}, "licence_fee", "not permitted"),
        ({"training": None}, "training", "required"),
        ({"intended_use": ""}, "intended_use", "at least 1"),
        ({"inputs": [{"name": "image", "shape": [2, 3, 32, 32]}]}, "inputs.0", "must be 'batch'"),
        ({"inputs": [{"name": "image", "shape": ["batch", 0]}]}, "inputs.0.shape.1", "greater than 0"),
        (
            {"inputs": [{"name": "image", "shape": ["batch", 3, 32, 32], "channels": [{"name": "flair"}]}]},
            "inputs.0",
            "1 are named, but shape says 3",
        ),
        (
            {
                "inputs": [
                    {"name": "image", "shape": ["batch", 1, 9], "channels": [{"name": "t1", "fallback": "flair"}]}
                ]
            },
            "inputs.0",
            "is no channel",
        ),
        (
            {"outputs": [{"name": "logits", "shape": ["batch", 1, 9], "activation": "softmax"}]},
            "outputs.0",
            "always 1",
        ),
        (
            {"outputs": [{"name": "logits", "shape": ["batch", 1, "depth"], "classes": ["tumour"]}]},
            "(whole file)",
            "no input has a dimension ['depth']",
        ),
        ({"labels": []}, "(whole file)", "a segmentation needs at least one"),
        ({"labels": [TUMOUR, TUMOUR]}, "(whole file)", "a number appears twice"),
        ({"labels": [TUMOUR | {"name": "cyst"}]}, "(whole file)", "['cyst'] are no classes"),
        ({"labels": [TUMOUR | {"colour": [0, 0, 256]}]}, "labels.0.colour.2", "255"),
        (
            {"task": "classification", "outputs": [{"name": "x", "shape": ["batch", 1]}]},
            "(whole file)",
            "needs classes",
        ),
        ({"reference_inputs": "nothing.npz"}, "reference_inputs", "nothing.npz is missing"),
        ({"reference_inputs": "../elsewhere.npz"}, "reference_inputs", "own folder"),
        ({"variants": {"fp16": {"file": "half.onnx", "sha256": "0" * 64}}}, "variants.fp16.file", "half.onnx"),
        ({"thresholds": {"mask": 1.5}}, "thresholds.mask", "less than or equal to 1"),
        (
            {"variants": {"fp16": {"file": "h.zip", "sha256": "0" * 64, "format": "openvino"}}},
            "(whole file)",
            "fp16 as onnx",
        ),
        ({"preprocessing": {"name": "x", "neighbours": 2}}, "preprocessing", "expected whole numbers such as"),
        ({"preprocessing": {"name": "x", "neighbours": [-1, "0"]}}, "preprocessing", "received [-1, '0']"),
        ({"preprocessing": {"name": "x", "neighbours": [-1, 0]}}, "(whole file)", "2 slices beside each other need"),
    ],
)
def test_wrong_manifest(folder, changes, key, words):
    with pytest.raises(PackageInvalid) as caught:
        load_package(edit(folder, **changes))
    assert caught.value.file == folder / "model.yaml"
    assert caught.value.key == key
    assert words in str(caught.value)


def test_slices_that_are_seen_beside_each_other(folder):
    assert load_package(folder).manifest.preprocessing.neighbours == ()
    preprocessing = {"name": "x", "neighbours": [-2, 0, 2]}
    assert load_package(edit(folder, preprocessing=preprocessing)).manifest.preprocessing.neighbours == (-2, 0, 2)


def test_manifest_that_is_no_yaml(folder):
    (folder / "model.yaml").write_text("name: [tiny\nversion: 1")
    with pytest.raises(PackageInvalid, match=r"model\.yaml: line 2: not valid YAML"):
        load_package(folder)


def test_nothing_there(tmp_path):
    with pytest.raises(PackageMissing, match="no such folder"):
        load_package(tmp_path / "none")
    with pytest.raises(PackageMissing, match=r"no model\.yaml"):
        load_package(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "MODEL_CARD.md"])
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(PackageInvalid, match=f"{name} is missing"):
        load_package(folder)


def test_damaged_network(folder):
    (folder / "model.onnx").write_bytes(segmenter()[:-1])
    with pytest.raises(DigestMismatch, match=r"model\.onnx: its sha256 is .* but model.yaml says"):
        load_package(folder)


def test_network_replaced_while_we_ran(folder):
    package = load_package(folder)
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(DigestMismatch):
        package.network()


def test_variant_that_is_not_there(folder):
    with pytest.raises(PackageInvalid, match="no fp16 variant"):
        load_package(folder).network("fp16")


@pytest.mark.parametrize(
    "arrays",
    [
        {"picture": images(1, 3, 32, 32)},
        {"image": images(1, 3, 32, 30)},
        {"image": images(0, 3, 32, 32)},
        {"image": images(1, 3, 32, 32).astype(np.float64)},
    ],
)
def test_reference_inputs_must_suit(tmp_path, arrays):
    with pytest.raises(PackageInvalid, match=r"reference\.npz"):
        load_package(write(tmp_path / "tiny", manifest(), segmenter(), arrays))


def test_reference_inputs(tmp_path):
    package = plain_sample(tmp_path / "tiny").package
    assert package.reference()["image"].shape == (3, 3, 32, 32)


def test_finding_packages(tmp_path):
    write(tmp_path / "ours" / "a", manifest(name="a"), segmenter())
    write(tmp_path / "ours" / "b", manifest(name="b"), segmenter())
    write(tmp_path / "theirs" / "b", manifest(name="b", version="2.0.0"), segmenter())
    found = find_packages(tmp_path / "ours", tmp_path / "theirs", tmp_path / "nowhere")
    assert {name: package.version for name, package in found.items()} == {"a": "1.0.0", "b": "2.0.0"}


def test_two_packages_of_one_name(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, manifest(), segmenter())
    with pytest.raises(PackageInvalid, match="tiny is also the name of a"):
        find_packages(tmp_path)


def test_one_broken_package_need_not_hide_the_others(tmp_path):
    write(tmp_path / "a", manifest(name="a"), segmenter())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.yaml").write_text("name: b")
    errors: list[PackageError] = []
    assert list(find_packages(tmp_path, on_error=errors.append)) == ["a"]
    assert len(errors) == 1
    with pytest.raises(PackageInvalid):
        find_packages(tmp_path)


def test_the_shipped_folder_is_the_projects():
    assert shipped_folder().name == "models"
    assert (shipped_folder().parent / "engines").is_dir()
