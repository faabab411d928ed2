"""LGG patients as brains: the skull comes off, the whole tumour is outlined, nobody knows of the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from pipelines.brain_volume import SHAPE  # noqa: E402
from tests.pipelines.brains import head_around  # noqa: E402
from tests.pipelines.test_brain_extraction import AXIAL, atlas  # noqa: E402
from training.classic import REGIONS, SYSTEMS, Variation  # noqa: E402
from training.data.lgg_brains import load_lgg_brains  # noqa: E402
from training.data.volumes import VolumeCache  # noqa: E402
from training.losses_volumetric import make_loss  # noqa: E402
from training.systems.brains import BrainPatches, without  # noqa: E402
from training.systems.learn import known  # noqa: E402

FOUND, LOST = "TCGA_CS_0001_19990101", "TCGA_DU_0002_19990101"


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """One patient whose head is an atlas's, cut into 33 slices of 5 mm, and one of nothing but noise."""
    root = tmp_path_factory.mktemp("lgg")
    grey, mask = atlas(0, 0.9, (0, 0, 0))
    head = head_around(grey, mask, AXIAL).array
    scaled = np.clip(head / np.percentile(head, 99.5) * 255, 0, 255)
    for name, slices in ((FOUND, _cut(scaled)), (LOST, np.random.default_rng(0).uniform(0, 255, (12, 256, 256)))):
        folder = root / "kaggle_3m" / name
        folder.mkdir(parents=True)
        for number, plane in enumerate(slices, start=1):
            Image.fromarray(np.repeat(plane[..., None], 3, axis=2).astype(np.uint8)).save(
                folder / f"{name}_{number}.tif"
            )
            drawn = np.zeros((256, 256), np.uint8)
            if 16 <= number <= 20:
                drawn[110:140, 90:120] = 255
            Image.fromarray(drawn).save(folder / f"{name}_{number}_mask.tif")
    return load_lgg_brains(root, REGIONS, VolumeCache(tmp_path_factory.mktemp("cache")))


def _cut(head):
    """A head in cubes of 2 mm as 33 slices of 256 x 256 of 0.9375 mm."""
    from scipy import ndimage

    planes = ndimage.zoom(head, (33 / len(head), 2 / 0.9375, 2 / 0.9375), order=1)
    out = np.zeros((33, 256, 256))
    rows, columns = (min(256, n) for n in planes.shape[1:])
    out[:, :rows, :columns] = planes[:, :rows, :columns]
    return np.clip(out, 0, 255)


def test_a_patient_without_a_brain_is_left_out(items):
    assert [item.name for item in items] == [FOUND]
    assert (items[0].group, items[0].stratum) == (FOUND, "CS")


def test_a_brain_is_as_serving_prepares_it_and_the_tumour_lies_in_it(items):
    image, truth = items[0].read()
    assert image.shape == (4, *SHAPE)
    brain = (image != 0).any(axis=0)
    assert 700 < brain.sum() / 1000 < 2300
    assert image[0][brain].std() == pytest.approx(1, abs=0.1)
    np.testing.assert_array_equal(image[3], image[0])  # no T2 there: the FLAIR stands in
    drawn = 5 * 5 * 30 * 30 * 0.9375**2  # cubic mm: five slices of 5 mm
    assert truth[0].sum() == pytest.approx(drawn, rel=0.15)
    assert not truth[0][~brain].any()
    assert items[0].unknown == ("tumour core", "enhancing")


def test_within_the_tumour_nobody_knows_of_its_parts_and_beyond_it_there_are_none():
    masks = torch.zeros(3, 2, 2, 2)
    masks[0, 0] = 1
    told = without(masks, torch.tensor([False, True, True]))
    assert not told[0].isnan().any()
    assert told[1:, 0].isnan().all()
    assert (told[1:, 1] == 0).all()
    assert torch.equal(without(masks, torch.tensor([False] * 3)), masks)


@pytest.mark.parametrize("name", ["dice-bce", "focal-tversky", "soft-dice", "bce"])
def test_what_nobody_knows_teaches_nothing(name):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 8, 8, requires_grad=True)
    truth = (torch.rand(2, 3, 4, 8, 8) < 0.3).float()
    truth[0, 1:, :2] = float("nan")
    make_loss(name)(*known(logits, truth)).backward()
    assert (logits.grad[0, 1:, :2] == 0).all()
    assert (logits.grad[0, 0] != 0).any()
    assert (logits.grad[1] != 0).any()


def test_patches_of_further_brains_are_drawn_as_often_as_the_system_says(items):
    torch.manual_seed(1)
    system = replace(
        SYSTEMS["brats-slices-unet"], size=(4, 32, 32), variation=Variation(), per_epoch=60, more_share=0.5
    )
    image, _ = items[0].read()
    whole = np.zeros((3, *SHAPE), np.uint8)
    whole[:, 70:90, 80:110, 70:90] = 1
    own = replace(items[0], name="own", unknown=(), read=lambda: (image, whole))
    drawn = [masks.isnan().any().item() for _, masks in (BrainPatches(system, [own], items)[n] for n in range(60))]
    assert 10 < sum(drawn) < 40  # not each patch of a further brain shows tumour
    assert not any(BrainPatches(system, [own])[n][1].isnan().any() for n in range(20))
