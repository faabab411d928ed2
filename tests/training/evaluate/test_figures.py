"""Figures mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.data.case import Case
from training.data.layouts.lgg import load_lgg
from training.evaluate.cases import Segmented, segmentation_figures
from training.evaluate.figures import area_under_curve, classification_figures, dice, mean_figure


def test_dice_of_equal_disjoint_and_empty_masks():
    a, b = np.array([1, 1, 0], bool), np.array([0, 0, 1], bool)
    assert dice(a, a) == 1
    assert dice(a, b) == 0
    assert dice(a & b, a & b) == 1
    assert dice(a, np.array([1, 0, 0], bool)) == pytest.approx(2 / 3)


def test_a_figure_that_no_draw_defines_has_no_interval_and_no_warning():
    scored = [(np.array([0.2, 0.9]), np.array([True, True])) for _ in range(3)]
    figures = {figure.metric: figure for figure in classification_figures(scored, "tumour", 0.5)}
    assert np.isnan(figures["tumour: specificity by slice"].value)
    assert np.isnan(figures["tumour: specificity by slice"].interval).all()
    assert figures["tumour: sensitivity by slice"].value == pytest.approx(0.5)


def test_area_under_the_curve_counts_pairs():
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert area_under_curve(scores, np.array([0, 0, 1, 1], bool)) == pytest.approx(0.75)
    assert area_under_curve(np.full(4, 0.5), np.array([0, 1, 0, 1], bool)) == pytest.approx(0.5)
    assert np.isnan(area_under_curve(scores, np.zeros(4, bool)))


def test_the_interval_holds_the_mean_and_is_repeatable():
    figure = mean_figure("Dice", [0.7, 0.8, 0.9, 0.85])
    assert figure.interval is not None
    assert figure.interval[0] < figure.value < figure.interval[1]
    assert mean_figure("Dice", [0.7, 0.8, 0.9, 0.85]) == figure


def test_a_network_that_answers_with_the_truth_scores_nearly_one(tiny_lgg):
    case = load_lgg(tiny_lgg)[0]
    truth = iter([case.prepared.place(case.masks)])
    segmented = Segmented.of(lambda inputs: next(truth), case)
    figures = {f.metric: f.value for f in segmentation_figures([segmented], ["tumour"], 0.5)}
    assert figures["tumour: Dice by patient, mean"] > 0.95


def test_a_class_that_is_not_labelled_counts_nowhere(tiny_lgg):
    case = load_lgg(tiny_lgg)[0]
    blind = Case(case.name, case.stratum, case.prepared, case.masks, np.zeros_like(case.trusted))
    segmented = Segmented(blind, np.zeros(case.masks.shape, np.uint8))
    assert segmented.dice(0, 0.5) is None
    assert segmented.slice_dices(0, 0.5) == []
    assert segmented.false_slices(0, 0.5) == (0, 0)


def test_specks_that_are_not_sent_are_not_measured_where_slices_make_a_volume(tiny_lgg):
    case = load_lgg(tiny_lgg)[0]
    found = np.zeros(case.masks.shape, np.uint8)
    found[0, 0, 5:13, 5:13] = 255  # 64 voxels of 4.4 cubic mm: 0.28 ml
    found[4, 0, 5:13, 5:14] = 255
    segmented = Segmented(case, found)
    sent = segmented.as_sent(0.5, 0.3).probabilities
    assert np.flatnonzero(sent.any(axis=(1, 2, 3))).tolist() == [4]
    np.testing.assert_array_equal(sent[4], found[4])
    assert segmented.as_sent(0.5, 0.2).probabilities.sum() == found.sum()
    assert Segmented(replace(case, voxel_ml=None), found).as_sent(0.5, 0.3).probabilities.sum() == found.sum()


def test_classification_figures():
    patients = [(np.array([0.9, 0.2, 0.7]), np.array([1, 0, 1], bool)), (np.array([0.6, 0.1]), np.array([0, 0], bool))]
    figures = {f.metric: f for f in classification_figures(patients, "tumour", 0.5)}
    assert figures["tumour: accuracy by slice"].value == pytest.approx(0.8)
    assert figures["tumour: sensitivity by slice"].value == 1
    assert figures["tumour: specificity by slice"].value == pytest.approx(2 / 3)
    assert figures["tumour: AUC by slice"].n == 5
