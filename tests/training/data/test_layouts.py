"""The data sets are read as published, lazily, and split so that nothing leaks unless it is told to."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from training.data import dataset
from training.data.duplicates import find_duplicates
from training.data.inputs import hounsfield, standardised, standardised_by_slice
from training.data.items import fold_items, split_items
from training.data.layouts.brats import centre, load_brats
from training.data.layouts.brats_slices import brats_slices
from training.data.layouts.lgg import load_lgg, load_lgg_slices
from training.data.layouts.liver import load_lits
from training.data.layouts.mr_slices import load_mr_slices
from training.data.layouts.volumes import VolumeCache, read_oriented
from training.data.layouts.yesno import load_yesno
from training.data.patches import draw_patch
from training.experiments import EXPERIMENTS


def test_copies_are_found_whatever_was_done_to_them(tiny_yesno):
    paths = sorted((tiny_yesno / "no").iterdir()) + sorted((tiny_yesno / "yes").iterdir())
    found = find_duplicates(paths)
    by_name = {path.name: group for path, group in zip(paths, found.groups, strict=True)}
    copies = ("no0.png", "no-copy.png", "no-larger.jpg", "no-mirrored.png")
    assert len({by_name[name] for name in copies}) == 1
    assert (found.pictures, found.exact, found.near, len(set(found.groups))) == (23, 1, 2, 20)
    assert str(found) == "23 pictures: 1 exact and 2 near duplicates, 20 distinct"


def test_duplicates_are_dropped_kept_together_or_ignored(tiny_yesno):
    assert len(load_yesno(tiny_yesno, (32, 32), "drop")) == 20
    kept = load_yesno(tiny_yesno, (32, 32), "keep")
    assert (len(kept), len({item.group for item in kept})) == (23, 20)
    ignored = load_yesno(tiny_yesno, (32, 32), "ignore")
    assert len({item.group for item in ignored}) == 23
    image, truth = next(item for item in kept if item.positive).read()
    assert (image.shape, truth.tolist()) == ((3, 32, 32), [1])


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="yes/ and no/"):
        load_yesno(tmp_path, (32, 32))


def test_lgg_slices_are_pictures_with_masks(tiny_slices):
    items = load_lgg_slices(tiny_slices, (64, 64))
    assert [item.name.rsplit("_", 1)[1] for item in items[:5]] == ["8", "9", "10", "11", "12"]
    image, mask = items[2].read()
    assert (image.shape, image.dtype, mask.shape) == ((3, 64, 64), np.uint8, (1, 64, 64))
    assert all(bool(item.read()[1].any()) == item.positive for item in items)
    assert {item.positive for item in items} == {True, False}


def test_a_split_by_patient_holds_out_the_same_patients_prepared_or_not(tiny_slices):
    _, held_out = split_items(load_lgg_slices(tiny_slices, (64, 64)), 0.5, seed=7)
    _, cases = split_items(load_lgg(tiny_slices), 0.5, seed=7, every_stratum=True)
    assert {item.group for item in held_out} == {case.name for case in cases}


def test_a_split_by_slice_tears_patients_apart_and_a_split_by_patient_does_not(tiny_slices):
    items = load_lgg_slices(tiny_slices, (64, 64))
    for by, torn in (("patient", False), ("slice", True)):
        rest, held_out = split_items(items, 0.25, seed=1, by=by)
        assert len(rest) + len(held_out) == len(items)
        assert bool({i.group for i in rest} & {i.group for i in held_out}) == torn


def test_three_parts_hold_everyone_once(tiny_slices):
    experiment = EXPERIMENTS["lgg-resnet50"]
    items = load_lgg_slices(tiny_slices, (64, 64))
    parts = dataset.split(experiment, items)
    everyone = (*parts.training, *parts.validation, *parts.test)
    assert sorted(item.name for item in everyone) == sorted(item.name for item in items)


def test_a_split_that_holds_nobody_out_is_refused(tiny_slices):
    with pytest.raises(ValueError, match="holds nothing out"):
        dataset.split(replace(EXPERIMENTS["lgg-unet"], held_out=0.05), load_lgg_slices(tiny_slices, (64, 64)))


def test_a_system_takes_changes_from_yaml_and_refuses_what_it_does_not_have(tmp_path):
    path = tmp_path / "change.yaml"
    path.write_text("split: slice\nbatch: 4\noptions: {width: 64}\nvariation: {mirror: [1], blur: 0.5}\n")
    experiment = EXPERIMENTS["lgg-xception"].changed(path)
    assert (experiment.split, experiment.batch, experiment.options, experiment.variation.mirror) == (
        "slice",
        4,
        {"width": 64},
        (1,),
    )
    for wrong in ("colour: red", "name: other", "batch: many", "- a"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"colour|name|batch|keys"):
            EXPERIMENTS["lgg-xception"].changed(path)


def test_brats_and_the_decathlon_come_out_alike(tiny_brats, tiny_task01):
    classes = ("edema", "non-enhancing", "enhancing", "whole tumour", "tumour core")
    case = next(item for item in load_brats(tiny_brats, classes) if item.name == "Brats18_2013_1_1")
    (other,) = load_brats(tiny_task01, classes)
    np.testing.assert_array_equal(case.read()[0], other.read()[0])
    np.testing.assert_array_equal(case.read()[1], other.read()[1])
    masks = dict(zip(classes, case.read()[1].astype(bool), strict=True))
    assert all(mask.any() for mask in masks.values())
    np.testing.assert_array_equal(masks["whole tumour"], masks["tumour core"] | masks["edema"])
    np.testing.assert_array_equal(masks["tumour core"], masks["non-enhancing"] | masks["enhancing"])


def test_the_2013_cases_stay_in_one_split(tiny_brats):
    groups = {item.name: item.group for item in load_brats(tiny_brats, ("edema",))}
    assert groups["Brats18_2013_1_1"] == groups["Brats18_2013_2_1"]
    assert len(set(groups.values())) == 5
    assert [centre(n) for n in ("Brats18_TCIA01_1_1", "Brats18_2013_1_1", "BraTS2021_1", "BRATS_001")] == [
        "TCIA",
        "2013",
        "BraTS2021",
        "BRATS",
    ]


def test_a_scan_is_read_once_and_then_mapped(tiny_brats, tmp_path):
    cache = VolumeCache(tmp_path)
    (item, *_) = load_brats(tiny_brats, ("edema",), cache)
    assert not list(tmp_path.iterdir())
    first = item.read()[0]
    assert isinstance(first, np.memmap)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    item.read()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_label_that_nobody_knows_is_refused(tiny_brats, tmp_path):
    folder = tmp_path / "BraTS2021_00001"
    shutil.copytree(tiny_brats / folder.name, folder)
    path = folder / f"{folder.name}_seg.nii.gz"
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    labels[0, 0, 0] = 3
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(path))
    with pytest.raises(ValueError, match=r"\[3\]"):
        load_brats(tmp_path, ("edema",))[0].read()


def test_patches_hold_enough_tumour_or_as_much_as_there_is():
    generator = np.random.default_rng(0)
    truth = np.zeros((2, 12, 40, 40), np.uint8)
    truth[0, 3:7, 10:20, 10:20] = 1
    truth[1, 5, 12, 12] = 1
    image = np.arange(truth[0].size, dtype=np.float32).reshape(1, *truth.shape[1:])
    starts = set()
    for _ in range(30):
        patch, mask = draw_patch(image, truth, (4, 16, 16), 0.05, generator)
        assert patch.shape == (1, 4, 16, 16)
        assert mask.any(axis=0).mean() >= 0.05
        starts.add(float(patch[0, 0, 0, 0]))
    assert len(starts) > 10
    assert draw_patch(image, truth, (4, 16, 16), 0.9, generator)[1].any(axis=0).sum() == 400  # all that there is
    assert draw_patch(image, truth, (16, 48, 48), 0.05, generator)[0].shape == (1, 16, 48, 48)  # padded


def test_lits_is_read_in_one_orientation_whatever_the_file_has(tiny_lits):
    items = load_lits(tiny_lits, (64, 64))
    assert len(items) == 20
    for item in items:
        image, masks = item.read()
        assert (image.shape, masks.shape) == ((1, 64, 64), (3, 64, 64))
        assert (masks.sum(axis=0) == 1).all()
        assert bool(masks[2].any()) == item.positive
    assert items[0].spacing == pytest.approx((6.0, 6.0))
    stored = read_oriented(tiny_lits / "segmentation-3.nii")
    found = np.stack([item.read()[1][1:].any(axis=0) for item in items if item.group == "volume-3"])
    np.testing.assert_array_equal(found, stored > 0)


def test_a_volume_without_segmentation_is_refused(tiny_lits, tmp_path):
    (tmp_path / "volume-0.nii").symlink_to(tiny_lits / "volume-0.nii")
    with pytest.raises(FileNotFoundError, match=r"segmentation-0\.nii"):
        load_lits(tmp_path, (64, 64))


def test_scattered_slices_keep_their_published_split_and_leave_out_merged_tumours(tiny_liver):
    items = load_lits(tiny_liver, (128, 128))
    assert {item.group for item in items} == {"00000", "00001", "00003"}
    parts = dataset.split(EXPERIMENTS["lits-munet"], items)
    assert {item.group for item in parts.validation} == {"00003"}
    assert (len(parts.training), parts.test) == (6, [])
    assert items[0].read()[0].shape == (1, 128, 128)


def test_grey_values_are_mapped_as_published():
    generator = np.random.default_rng(0)
    scan = generator.integers(0, 1000, (4, 3, 16, 16)).astype(np.int16)
    scan[:, 2] = 7
    mapped = standardised_by_slice(scan)
    np.testing.assert_allclose(mapped[:, :2].mean(axis=(2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(mapped[:, :2].std(axis=(2, 3)), 1, atol=1e-4)
    assert (mapped[:, 2] == 0).all()
    assert abs(float(standardised(scan).mean())) < 1e-5
    assert hounsfield(np.array([-3000, -1024, 0, 512, 4000])).tolist() == [-1, -1, 0, 0.5, 1]


def test_over_all_folds_every_picture_is_held_out_once_and_groups_stay_together(tiny_yesno):
    items = load_yesno(tiny_yesno, (32, 32), "keep")
    seen = []
    for fold in range(4):
        rest, held_out = fold_items(items, fold, 4, seed=3)
        assert not {item.group for item in rest} & {item.group for item in held_out}
        assert {item.stratum for item in held_out} == {"yes", "no"}
        assert len(rest) + len(held_out) == len(items)
        seen += [item.name for item in held_out]
    assert sorted(seen) == sorted(item.name for item in items)


def test_brats_slices_leave_out_whoever_may_be_a_patient_of_the_glioma_set(tiny_brats):
    samples = brats_slices(tiny_brats)
    scans = 2  # of six: the others have ids of BraTS 2021
    assert len(samples) == scans * 3  # every fourth of twelve slices
    assert samples.inputs.shape[1:] == (5, 192, 160)
    assert samples.positive.any()
    np.testing.assert_array_equal(samples.positive, samples.targets.any(axis=(2, 3)))


def test_pictures_of_single_sequences_are_cropped_to_the_head_and_know_their_tumours(tiny_slices):
    items = load_mr_slices(tiny_slices, (48, 48))
    assert {item.name.rsplit("/", 1)[1] for item in items} == {"t1", "flair", "t1ce"}
    assert {item.positive for item in items} == {True, False}
    image, truth = items[0].read()
    assert image.shape == (3, 48, 48)
    assert image.dtype == np.uint8
    assert (image[0] == image[2]).all()
    assert truth.tolist() == [int(items[0].positive)]
    bright = image[0] > 25
    assert bright.any(axis=0).mean() > 0.9  # the head reaches both sides
    assert bright.any(axis=1).mean() > 0.9


def test_scans_give_pictures_of_all_four_sequences(tiny_brats):
    items = load_mr_slices(tiny_brats, (48, 48))
    assert {item.name.rsplit("/", 1)[1] for item in items} == {"flair", "t1", "t1ce", "t2"}
    assert {item.group for item in items} >= {"2013"}
