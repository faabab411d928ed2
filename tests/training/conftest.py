"""Tiny data sets in the published layouts, made of phantoms (no patient's image is ever in the project)."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from engines.package import shipped_folder
from engines.plainyaml import read_yaml, write_yaml
from pipelines.phantom import PhantomOptions, make_phantom


@pytest.fixture(scope="module", autouse=True)
def small_numbers_are_back():
    """Training flushes subnormal numbers to zero, in the whole process; other files of tests count on them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def tiny_lgg(tmp_path_factory):
    """Four patients of two sites with six slices of 96 x 96, as in kaggle_3m."""
    root = tmp_path_factory.mktemp("lgg")
    for number, site in enumerate(("CS", "CS", "DU", "DU")):
        options = PhantomOptions(slices=6, matrix=96, pixel_mm=2.5, lesion_diameters_mm=(60.0,), seed=number)
        images, masks = make_phantom("brain-mr", options).render()
        name = f"TCGA_{site}_{number:04d}_19990101"
        folder = root / "kaggle_3m" / name
        folder.mkdir(parents=True)
        colours = np.stack([images[key] for key in ("t1", "flair", "t1ce")], axis=-1)
        for index, plane in enumerate(np.clip(colours / 2.5, 0, 255).astype(np.uint8), start=1):
            Image.fromarray(plane).save(folder / f"{name}_{index + 6}.tif")  # 7..12: as text, 10 comes before 7
            mask = masks["lesion"][index - 1].astype(np.uint8) * 255
            Image.fromarray(mask).save(folder / f"{name}_{index + 6}_mask.tif")
    return root


CLASSIFIER = "brain-lgg-classifier"


@pytest.fixture
def classifier(tmp_path, tiny_lgg):
    """The shipped one, as if two patients of the tiny data set had been held out."""
    return held_out_of(tiny_lgg, tmp_path)


def held_out_of(tiny_lgg, place):
    """That classifier, in a folder of `place`."""
    folder = place / CLASSIFIER
    shutil.copytree(shipped_folder() / CLASSIFIER, folder)
    content = read_yaml((folder / "model.yaml").read_text())
    patients = sorted(path.name for path in (tiny_lgg / "kaggle_3m").iterdir())
    content["training"]["split"]["held_out"] = patients[::2]
    (folder / "model.yaml").write_text(write_yaml(content))
    return folder


@contextmanager
def untouched(folder):
    """What happens leaves the folder byte for byte as it was."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    yield
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.fixture(scope="session")
def tiny_liver(tmp_path_factory):
    """Four patients with three slices, one of them with tumours merged into the liver."""
    root = tmp_path_factory.mktemp("liver")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    entries = []
    for number in range(4):
        options = PhantomOptions(slices=3, matrix=256, slice_mm=15, lesions=2, lesion_diameters_mm=(45.0,), seed=number)
        images, masks = make_phantom("abdomen-ct", options).render()
        label = {0: "labelled", 1: "labelled", 2: "merged into liver", 3: "labelled"}[number]
        for index in range(3):
            name = f"{number:05d}_{index:03d}"
            Image.fromarray(np.clip(images["ct"][index], 0, 255).astype(np.uint8)).save(root / "images" / f"{name}.jpg")
            labels = masks["liver"][index] + masks["lesion"][index].astype(np.uint8) * (label == "labelled")
            Image.fromarray(labels.astype(np.uint8)).save(root / "labels" / f"{name}.png")
            split = "val" if number == 3 else "train"
            entries.append({"slice": name, "patient": f"{number:05d}", "split": split, "tumour_label": label})
    (root / "index.json").write_text(json.dumps(entries))
    return root
