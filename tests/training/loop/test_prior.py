"""Networks that look for small tumours say at first that tumour is rare, and so learn sooner to outline it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from lightning import seed_everything  # noqa: E402

from tests.training.conftest import brain, grey  # noqa: E402
from training.data.examples import Examples, batches  # noqa: E402
from training.data.items import Item  # noqa: E402
from training.experiment import Variation  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.learner import Learner  # noqa: E402
from training.loop.prior import expect  # noqa: E402
from training.loop.train import use_threads  # noqa: E402
from training.networks.registry import build  # noqa: E402

EXPECTING = sorted(name for name, experiment in EXPERIMENTS.items() if experiment.prior)
WIDTHS = {
    "lgg-unet": {"widths": (16, 16, 16, 16, 16)},
    "lgg-residual-unet": {"widths": (16, 16, 32)},
    "lgg-double-unet": {"widths": (8, 8, 16, 16), "vgg": (8, 8, 16, 16, 16)},
    "lgg-classic-resunet": {"widths": (16, 16, 32)},
    "brats-unet3d": {"widths": (8, 8, 16, 16, 16)},
}


def test_rows_whose_loss_knows_nothing_but_overlap_start_so():
    overlap = {"focal-tversky", "soft-dice"}
    assert sorted(name for name, experiment in EXPERIMENTS.items() if experiment.loss in overlap) == EXPECTING


@pytest.mark.parametrize("name", EXPECTING)
def test_an_untrained_network_says_that_tumour_is_rare(name):
    experiment = EXPERIMENTS[name]
    experiment = replace(
        experiment, size=(16, 32, 32) if len(experiment.size) == 3 else (64, 64), options=WIDTHS.get(name, {})
    )
    torch.manual_seed(0)  # first weights move the answer a little, and now and then beyond the bound
    learner = Learner(experiment)
    answer = learner.network.train()(torch.rand(4, len(experiment.channels), *experiment.size))
    for logits in answer if isinstance(answer, tuple) else (answer,):
        assert torch.sigmoid(logits.median()).item() == pytest.approx(experiment.prior, rel=0.5)


def test_a_share_that_is_none_is_refused():
    network = build(replace(EXPERIMENTS["lgg-classic-resunet"], options={"widths": (16, 16)}))
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="share"):
            expect(network, share)


def test_a_last_layer_without_bias_is_refused():
    with pytest.raises(ValueError, match="bias"):
        expect(torch.nn.Conv2d(3, 1, 1, bias=False), 0.1)


@pytest.fixture(scope="module")
def small_lesions():
    """Slices of 64 x 64, each with a lesion of about one per cent of them."""
    items = []
    for seed in range(8):
        images, masks = brain(seed, 5, 64, diameter=30.0)
        colours = np.stack([grey(images[key]) for key in ("t1", "flair", "t1ce")], axis=1)
        for index, (plane, mask) in enumerate(zip(colours, masks["lesion"], strict=True)):
            if mask.any():
                pair = plane, mask[None].astype(np.uint8)
                items.append(Item(f"{seed}-{index}", str(seed), "phantom", positive=True, read=partial(tuple, pair)))
    return items


def tversky_after(experiment, items, steps):
    """Tversky index (0.7 for what is missed) of all slices together, after so many steps on them."""
    use_threads(1)
    seed_everything(experiment.seed, verbose=False)
    learner = Learner(experiment)
    learner.log = lambda *_, **__: None
    optimizer = learner.configure_optimizers()
    for index, batch in enumerate(
        batches(replace(experiment, per_epoch=steps * experiment.batch), items, training=True)
    ):
        optimizer.zero_grad()
        learner.training_step(batch, index).backward()
        optimizer.step()
    learner.eval()
    examples = Examples(experiment, items, training=False)
    image, truth = (torch.stack(part) for part in zip(*(examples[i] for i in range(len(items))), strict=True))
    with torch.inference_mode():
        found, wanted = learner.network(image) >= 0, truth > 0.5
    hit, missed, extra = (found & wanted).sum(), (~found & wanted).sum(), (found & ~wanted).sum()
    return float(hit / (hit + 0.7 * missed + 0.3 * extra))


def test_it_finds_small_lesions_sooner(small_lesions):
    assert 0.005 < np.mean([item.read()[1].mean() for item in small_lesions]) < 0.02
    experiment = replace(
        EXPERIMENTS["lgg-residual-unet"],
        size=(64, 64),
        options={"widths": (16, 16, 32)},
        batch=4,
        variation=Variation(),
        precision="32",
        prior=0.01,
    )
    sooner, later = (tversky_after(each, small_lesions, 60) for each in (experiment, replace(experiment, prior=0.0)))
    assert sooner > later + 0.1
