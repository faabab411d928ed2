"""Data sets are read as published, and split by patient."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.case import gather, split_by_slice
from training.data.items import split_items
from training.data.layouts.lgg import load_lgg
from training.data.layouts.liver import load_liver
from training.data.phantoms import phantom_cases


def test_lgg_slices_are_stacked_by_number_not_by_name(tiny_lgg):
    cases = load_lgg(tiny_lgg)
    assert [case.stratum for case in cases] == ["CS", "CS", "DU", "DU"]
    inputs = cases[0].prepared.inputs()
    np.testing.assert_array_equal(inputs[1:, 3], inputs[:-1, 1])
    assert cases[0].masks.shape == (6, 1, 96, 96)
    assert cases[0].masks.any()


def test_a_folder_without_patients_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="TCGA_"):
        load_lgg(tmp_path)


def test_liver_tumours_merged_into_the_liver_are_not_trusted(tiny_liver):
    cases = {case.name: case for case in load_liver(tiny_liver)}
    assert cases["00002"].trusted.tolist() == [[True, False]] * 3
    assert cases["00000"].trusted.all()
    assert (cases["00000"].masks[:, 1] & ~cases["00000"].masks[:, 0]).sum() == 0  # the liver includes its tumours
    assert cases["00003"].stratum == "val"


def test_a_split_holds_out_whole_patients_of_every_stratum_and_is_repeatable(tiny_lgg):
    cases = load_lgg(tiny_lgg)
    rest, held_out = split_items(cases, 0.5, seed=1, every_stratum=True)
    assert not {case.name for case in rest} & {case.name for case in held_out}
    assert sorted(case.stratum for case in held_out) == ["CS", "DU"]
    again = split_items(list(reversed(cases)), 0.5, seed=1, every_stratum=True)[1]
    assert {case.name for case in again} == {case.name for case in held_out}


def test_samples_hold_every_slice_with_its_share_of_mask(tiny_lgg):
    cases = load_lgg(tiny_lgg)
    samples = gather(cases)
    assert len(samples) == 24
    assert samples.inputs.dtype == np.float16
    assert samples.targets.shape == (24, 1, 192, 160)
    assert samples.positive.sum() == sum(case.masks.any(axis=(1, 2, 3)).sum() for case in cases)


def test_phantoms_are_cases_like_any_other():
    (case,) = phantom_cases("ct-slices-v1", 1, seed=3)
    assert case.masks.shape[:2] == case.trusted.shape == (len(case.prepared), 2)
    assert (case.masks[:, 1] & ~case.masks[:, 0]).sum() == 0


def test_a_split_by_slice_shares_out_every_patients_slices(tiny_lgg):
    cases = load_lgg(tiny_lgg)
    rest, held_out = split_by_slice(cases, 0.4, seed=1)
    for case, one, other in zip(cases, rest, held_out, strict=True):
        assert case.name == one.name == other.name
        assert (one.trusted ^ other.trusted).all()
    counts = [len(gather(part)) for part in (rest, held_out)]
    assert min(counts) > 0
    assert sum(counts) == len(gather(cases))


def test_gathering_leaves_out_what_is_not_asked_for(tiny_lgg):
    case = load_lgg(tiny_lgg)[0]
    thinned, whole = gather([case], every=4), gather([case])
    assert len(thinned) == 2
    np.testing.assert_array_equal(thinned.inputs, whole.inputs[[0, 4]])
    np.testing.assert_array_equal(thinned.targets, whole.targets[[0, 4]])
    np.testing.assert_array_equal(thinned.positive, whole.positive[[0, 4]])
