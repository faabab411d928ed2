"""The published layouts, tiny, made of phantoms (no patient's image is ever in the project)."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from pipelines.phantom import PhantomOptions, make_phantom


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
