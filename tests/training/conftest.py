"""Tiny data sets in the published layouts, made of phantoms (no patient's image is ever in the project)."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from engines.packages.package import shipped_folder
from engines.plain_yaml import read_yaml, write_yaml
from pipelines.phantoms.phantom import PhantomOptions, make_phantom


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


def brain(seed, slices, matrix, diameter=70.0):
    options = PhantomOptions(
        slices=slices,
        matrix=matrix,
        pixel_mm=240 / matrix,
        slice_mm=60 / slices,
        lesion_diameters_mm=(diameter,),
        seed=seed,
    )
    return make_phantom("brain-mr", options).render()


def grey(image):
    return np.clip(image / 2.2, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def tiny_yesno(tmp_path_factory):
    """Ten pictures of each class; one is there twice, one again in another size, and one mirrored."""
    root = tmp_path_factory.mktemp("yesno")
    for start, label in ((100, "yes"), (0, "no")):
        (root / label).mkdir()
        for seed in range(10):
            images, masks = brain(start + seed, 3, 128)
            plane = grey(images["flair"][1]) if label == "no" else grey(images["flair"][1] + 200 * masks["lesion"][1])
            Image.fromarray(plane).save(root / label / f"{label}{seed}.png")
    first = Image.open(root / "no" / "no0.png")
    first.save(root / "no" / "no-copy.png")
    first.resize((200, 200), Image.Resampling.BICUBIC).save(root / "no" / "no-larger.jpg", quality=80)
    first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "no" / "no-mirrored.png")
    return root


@pytest.fixture(scope="session")
def tiny_slices(tmp_path_factory):
    """Eight patients of two sites in the layout of kaggle_3m, five slices of 64 x 64 each, some without tumour."""
    root = tmp_path_factory.mktemp("lgg")
    for number in range(8):
        site = "CS" if number < 4 else "DU"
        images, masks = brain(number, 5, 64)
        name = f"TCGA_{site}_{number:04d}_19990101"
        folder = root / "kaggle_3m" / name
        folder.mkdir(parents=True)
        colours = np.stack([grey(images[key]) for key in ("t1", "flair", "t1ce")], axis=-1)
        for index, (plane, mask) in enumerate(zip(colours, masks["lesion"], strict=True), start=8):
            Image.fromarray(plane).save(folder / f"{name}_{index}.tif")
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}_{index}_mask.tif")
    return root


def scan(seed):
    """Channels FLAIR, T1, T1 with contrast, T2 (slices, rows, columns) and labels in BraTS's numbers."""
    images, masks = brain(seed, 12, 40)
    channels = [images["flair"], images["t1"], images["t1ce"], images["flair"] // 2]
    labels = np.where(masks["lesion"], 2, 0).astype(np.uint8)
    labels[4:8][labels[4:8] > 0] = 4
    labels[:, :, ::3][labels[:, :, ::3] == 4] = 1
    return [channel.astype(np.int16) for channel in channels], labels


@pytest.fixture(scope="session")
def tiny_brats(tmp_path_factory):
    """Six cases in the BraTS layout, two of them of the 2013 collection, the others of one centre."""
    root = tmp_path_factory.mktemp("brats")
    names = ("Brats18_2013_1_1", "Brats18_2013_2_1", *(f"BraTS2021_0000{n}" for n in range(1, 5)))
    for seed, name in enumerate(names):
        (root / name).mkdir()
        channels, labels = scan(seed)
        for ending, array in zip(("flair", "t1", "t1ce", "t2", "seg"), (*channels, labels), strict=True):
            path = root / name / f"{name}_{ending}.nii.gz"
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    return root


@pytest.fixture(scope="session")
def tiny_task01(tmp_path_factory):
    """The same first case in the layout and the numbers of the Decathlon's Task01."""
    root = tmp_path_factory.mktemp("Task01_BrainTumour")
    (root / "imagesTr").mkdir()
    (root / "labelsTr").mkdir()
    channels, labels = scan(0)
    stacked = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(channel) for channel in channels])
    SimpleITK.WriteImage(stacked, str(root / "imagesTr" / "BRATS_001.nii.gz"))
    renumbered = np.array([0, 2, 1, 0, 3], np.uint8)[labels]
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(renumbered), str(root / "labelsTr" / "BRATS_001.nii.gz"))
    return root


@pytest.fixture(scope="session")
def tiny_lits(tmp_path_factory):
    """Four CTs of five slices of 64 x 64; the last one is stored from head to feet."""
    root = tmp_path_factory.mktemp("lits")
    for number in range(4):
        options = PhantomOptions(
            slices=5, matrix=64, pixel_mm=6.0, slice_mm=20, lesions=2, lesion_diameters_mm=(45.0,), seed=number
        )
        images, masks = make_phantom("abdomen-ct", options).render()
        labels = masks["liver"].astype(np.uint8) + (masks["liver"] & masks["lesion"])
        for name, array in (("volume", images["ct"]), ("segmentation", labels.astype(np.uint8))):
            image = SimpleITK.GetImageFromArray(array)
            image.SetSpacing((6.0, 6.0, 20.0))
            if number == 3:
                image = SimpleITK.DICOMOrient(image, "LPI")
            SimpleITK.WriteImage(image, str(root / f"{name}-{number}.nii"))
    return root


@pytest.fixture(scope="session", autouse=True)
def training_cache(tmp_path_factory):
    """Volumes are not cached in the user's home by tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCANWARD_TRAINING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
