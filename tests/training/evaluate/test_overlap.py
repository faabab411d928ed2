"""Figures and losses mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from training.evaluate.burden import Burden, Detection, burden, detection  # noqa: E402
from training.evaluate.figures import dice, median_figure  # noqa: E402
from training.evaluate.overlap import (  # noqa: E402
    Overlap,
    calibration_figure,
    expected_calibration_error,
    overlap_figures,
    reliability_diagram,
    surface_distances,
    surface_figures,
)
from training.evaluate.pictures import OUTLINE, PARTS, Shown, animate, at_most, draw_gallery, draw_grid, strip  # noqa: E402
from training.evaluate.threshold import OF_MASKS, Sweep, best_dice, youden  # noqa: E402
from training.loop.losses import FocalTverskyLoss, make_loss  # noqa: E402


@pytest.fixture
def masks():
    mask, truth = np.zeros((8, 32, 32), bool), np.zeros((8, 32, 32), bool)
    truth[2:6, 8:20, 8:20] = True
    mask[2:6, 8:20, 10:22] = True
    return mask, truth


def test_overlap_figures_agree_with_their_definitions(masks):
    overlap = Overlap.of(*masks)
    both, one, other = (masks[0] & masks[1]).sum(), masks[0].sum(), masks[1].sum()
    assert overlap.dice == pytest.approx(dice(*masks))
    assert overlap.iou == pytest.approx(both / (one + other - both))
    assert overlap.tversky(0.5) == pytest.approx(overlap.dice)
    assert overlap.sensitivity == pytest.approx(both / other)
    assert overlap.specificity == pytest.approx((~masks[0] & ~masks[1]).sum() / (~masks[1]).sum())
    assert (overlap + overlap).dice == pytest.approx(overlap.dice)


def test_nothing_found_where_there_is_nothing_is_right():
    nothing = np.zeros((4, 4), bool)
    overlap = Overlap.of(nothing, nothing)
    assert (overlap.dice, overlap.iou, overlap.tversky(), overlap.specificity) == (1, 1, 1, 1)
    assert np.isnan(overlap.sensitivity)


def test_patients_without_the_class_have_no_dice_but_must_stay_empty(masks):
    nothing = np.zeros_like(masks[1])
    overlaps = [Overlap.of(*masks), Overlap.of(nothing, nothing), Overlap.of(masks[0], nothing)]
    figures = {f.metric: f for f in overlap_figures("edema", overlaps)}
    assert figures["edema: Dice by patient, mean"].n == 1
    assert figures["edema: specificity by patient, mean"].n == 3
    empty = figures["edema: patients without it that stay empty"]
    assert (empty.value, empty.n) == (0.5, 2)


def test_surfaces_are_measured_in_millimetres(masks):
    found = surface_distances(*masks, spacing=(5.0, 1.0, 1.5), tolerance=1.0)
    assert found is not None
    assert found[0] == pytest.approx(3.0)  # two pixels of 1.5 mm
    assert 0 < found[1] < 1
    assert surface_distances(masks[1], masks[1], (1, 1, 1)) == (0, 1)
    assert surface_distances(np.zeros_like(masks[0]), masks[1], (1, 1, 1)) == (np.inf, 0)
    assert surface_distances(masks[0], np.zeros_like(masks[1]), (1, 1, 1)) is None


def test_one_missed_tumour_does_not_hide_the_others():
    median, surface = surface_figures("core", [(2.0, 0.9), (np.inf, 0.0), (4.0, 0.7), None], 2.0)
    assert (median.value, median.n) == (4.0, 3)
    assert surface.value == pytest.approx(1.6 / 3)


def test_calibration_error_is_the_distance_of_promise_and_frequency(tmp_path):
    generator = np.random.default_rng(0)
    scores = generator.random(4000)
    truth = generator.random(4000) < scores
    assert expected_calibration_error(scores, truth) < 0.03
    assert expected_calibration_error(np.full(100, 0.9), np.arange(100) < 60) == pytest.approx(0.3, abs=1e-6)
    figure = calibration_figure("tumour", [(scores[:50], truth[:50]), (scores[50:90], truth[50:90])])
    assert (figure.n, figure.interval is not None) == (90, True)
    reliability_diagram(tmp_path / "reliability.png", scores, truth, "a network")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["bce", "focal-tversky", "soft-dice", "dice-bce", "dice-ce"])
@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 3, 4, 16, 16)])
def test_a_loss_is_small_for_the_truth_and_large_for_its_opposite(name, shape):
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (shape[0], *shape[2:]))
    truth = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    loss = make_loss(name)
    assert loss((truth - 0.5) * 40, truth) < 0.02
    assert loss((0.5 - truth) * 40, truth) > 0.7


def test_focal_tversky_is_the_papers_formula():
    probability = torch.tensor([[[[0.9, 0.6, 0.2, 0.1]]]])
    truth = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    hit, missed, extra = 1.1, 0.9, 0.7
    expected = (1 - (hit + 1) / (hit + 0.7 * missed + 0.3 * extra + 1)) ** 0.75
    assert float(FocalTverskyLoss()(torch.logit(probability), truth)) == pytest.approx(expected, rel=1e-4)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="dice-ce"):
        make_loss("hinge")


def test_the_burden_of_a_liver():
    liver, tumour = np.zeros((10, 40, 40), bool), np.zeros((10, 40, 40), bool)
    liver[:, :20] = True
    tumour[2:6, 4:14, 4:14] = True
    tumour[8, 2:4, 30:32] = True
    found = burden(liver, tumour, 0.01)
    assert found == Burden(pytest.approx(80.0), 2, pytest.approx(4.04))
    assert found.share == pytest.approx(0.0505)
    assert burden(liver, tumour, 0.01, min_volume_ml=0.1).tumours == 1
    assert burden(np.zeros_like(liver), np.zeros_like(liver), 0.01).share == 0


def test_lesions_are_counted_one_by_one():
    truth, mask = np.zeros((10, 40, 40), bool), np.zeros((10, 40, 40), bool)
    truth[2:6, 4:14, 4:14] = truth[2:6, 24:34, 24:34] = True  # two of 4 ml
    truth[8, 2:4, 30:32] = True  # 0.04 ml: smaller than 10 mm, so neither wanted nor false where it is found
    mask[2:6, 4:14, 6:14] = mask[8, 2, 30] = mask[0, 38, 38] = True
    assert detection(mask, truth, 0.01) == Detection(wanted=2, found=1, false=1)
    assert detection(mask, truth, 0.01, min_volume_ml=0.02) == Detection(wanted=2, found=1, false=0)
    assert detection(mask, np.zeros_like(truth), 0.01) == Detection(0, 0, 3)


def test_pictures_show_truth_and_prediction(masks, tmp_path):
    scan = np.random.default_rng(0).normal(size=masks[0].shape)
    draw_grid(tmp_path / "grid.png", [strip(scan[3], masks[1][3], masks[0][3])] * 2)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (128, 66)
    animate(tmp_path / "scan.gif", scan, masks[1], masks[0])
    with Image.open(tmp_path / "scan.gif") as scans:
        assert scans.n_frames == 8


def test_the_threshold_is_the_one_with_the_best_dice_by_patient():
    generator = np.random.default_rng(0)
    truth = [generator.random((8, 16, 16)) < share for share in (0.3, 0.1)]
    noise = [generator.random(mask.shape).astype(np.float32) * 0.2 for mask in truth]
    probability = [0.42 * mask.astype(np.float32) + part for mask, part in zip(truth, noise, strict=True)]
    patients = [[Sweep.of(*pair)] for pair in zip(probability, truth, strict=True)]
    by_hand = [
        np.mean([dice(p >= np.float32(t), m) for p, m in zip(probability, truth, strict=True)]) for t in OF_MASKS
    ]
    chosen = best_dice(patients)
    assert by_hand[OF_MASKS.index(chosen)] == max(by_hand) == 1
    both = patients[0][0] + patients[1][0]
    together = dice(np.stack(probability) >= np.float32(0.5), np.stack(truth))
    assert both.dice[OF_MASKS.index(0.5)] == pytest.approx(together)
    assert best_dice([[Sweep.of(noise[0], np.zeros_like(truth[0]))]]) == 0.5


def test_youdens_threshold_lies_in_the_middle_of_what_parts_the_classes():
    scores, truth = np.array([0.1, 0.2, 0.62, 0.9, 0.95]), np.array([0, 0, 1, 1, 1], bool)
    assert 0.2 < youden(scores, truth) <= 0.6
    assert youden(scores, truth) == pytest.approx(0.4, abs=0.06)
    assert youden(scores, np.ones(5, bool)) == 0.5


def test_a_median_has_an_interval_unless_that_is_infinite():
    figure = median_figure("Hausdorff", [2.0, 3.0, 4.0, 5.0, 30.0])
    assert figure.value == 4
    assert figure.interval is not None
    assert figure.interval[0] <= 4 <= figure.interval[1]
    assert median_figure("Hausdorff", [2.0, np.inf, np.inf]).interval is None


def test_surfaces_far_off_the_middle_are_measured_alike():
    mask, truth = np.zeros((2, 40, 60, 50), bool)
    mask[3:9, 10:20, 30:44], truth[3:9, 12:20, 28:44] = True, True
    small = surface_distances(mask[2:10, 9:21, 27:45], truth[2:10, 9:21, 27:45], (1.0, 1.0, 1.0), 1.0)
    assert surface_distances(mask, truth, (1.0, 1.0, 1.0), 1.0) == pytest.approx(small)


def test_a_gallery_shows_best_median_and_worst_and_draws_no_others(tmp_path):
    drawn = []

    def shown(score):
        def draw():
            drawn.append(score)
            return np.full((20, 120, 3), int(255 * score), np.uint8)

        return Shown(score, f"item {score}", draw)

    draw_gallery(tmp_path / "gallery.png", [shown(score / 10) for score in (5, 1, 9, 3, 7)], each=1)
    assert drawn == [0.9, 0.5, 0.1]
    with Image.open(tmp_path / "gallery.png") as gallery:
        assert gallery.size == (120, 3 * 34 + 4)
        rows = np.asarray(gallery)
    assert [int(rows[row, -1, 0]) for row in (30, 66, 102)] == [229, 127, 25]
    draw_gallery(tmp_path / "few.png", [shown(0.2), shown(0.8)], each=3)
    assert drawn[3:] == [0.8, 0.2]  # each once
    draw_gallery(tmp_path / "nothing.png", [])
    assert not (tmp_path / "nothing.png").exists()


def test_pictures_are_made_smaller_not_larger():
    assert at_most(np.zeros((512, 2048, 3), np.uint8)).shape == (256, 1024, 3)
    assert at_most(np.zeros((100, 400, 3), np.uint8)).shape == (100, 400, 3)


def test_nested_parts_have_colours_of_their_own(masks):
    found, truth = masks
    whole, core = truth[3], truth[3] & (np.arange(32) < 14)
    plane = np.zeros(whole.shape)
    drawn = strip(plane, np.stack([whole, core]), np.stack([found[3], core]))
    assert drawn.shape == (32, 4 * 32, 3)
    panels = np.split(drawn, 4, axis=1)
    assert {tuple(colour) for colour in panels[1][whole & ~core]} == {PARTS[0]}
    assert {tuple(colour) for colour in panels[1][core]} == {PARTS[1]}
    assert (panels[2][~(found[3] | core)] == 0).all()
    assert tuple(panels[3][8, 8]) == OUTLINE  # a corner of the truth
