"""Inputs for the admission gate of a package: made up, so that no patient's image is in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.brain.volume import CHANNELS, NeighbourSlices
from pipelines.phantoms.phantom import PhantomOptions, make_phantom
from training.data.inputs import INPUTS
from training.data.phantoms import phantom_cases
from training.experiment import Experiment

# Brightness of each channel (flair, t1, t1ce, t2) in deviations of the brain's. Those of the tumour are medians over
# eight BraTS scans.
_TISSUES = {
    "white": (-0.3, 0.7, 0.5, -0.5),
    "grey": (0.1, -0.2, -0.2, 0.1),
    "fluid": (-1.8, -2.0, -1.6, 2.2),
    "edema": (1.8, 0.4, 0.1, 0.6),
    "core": (2.5, -0.2, 0.0, 1.7),
    "enhancing": (1.8, 0.1, 1.7, 0.7),
}
TUMOUR_AT, TUMOUR_RADIUS = (0.1, -0.12, 0.16), 0.15
"""Where a made-up brain's tumour lies, off the middle by these shares of each axis; radius by the shortest axis."""
THROUGH_TUMOUR, ELSEWHERE = 10, 4
"""Slices of a made-up brain that are asked: a mask that few of them show has a Dice that tells of rounding only."""
CLEARLY = 0.65
"""Share of the tumour's radius within which a slice cuts all of its parts. Nearer its ends a network is undecided."""

_STEP = 1 / 16  # a coarse scale of grey values compresses well


def reference_inputs(experiment: Experiment) -> NDArray[np.float32]:
    """Inputs (n, channels, ...) of what serving looks at: slices of two phantoms, one whole brain, or slices of one."""
    if experiment.prepared:
        return _prepared(experiment)
    if experiment.served_size is not None:
        brain = made_up_brain(experiment.served_size, seed=90_000)
        return _slices_of(brain, experiment) if experiment.neighbours else brain[None]
    kind = "abdomen-ct" if experiment.data == "lits" else "brain-mr"
    found = [_phantom(experiment, kind, seed) for seed in (90_000, 90_001)]
    return np.stack(found).astype(np.float16).astype(np.float32)


def _prepared(experiment: Experiment) -> NDArray[np.float32]:
    """Of each phantom the slice that shows most of the class `oversampled`."""
    found = []
    for case in phantom_cases(experiment.inputs, 2, seed=90_000):
        largest = int(case.masks[:, experiment.oversampled].sum(axis=(1, 2)).argmax())
        found.append(case.prepared.inputs(largest, largest + 1))
    return np.concatenate(found).astype(np.float16).astype(np.float32)


def _slices_of(brain: NDArray[np.float32], experiment: Experiment) -> NDArray[np.float32]:
    """Evenly through the tumour's middle, and evenly through the brain."""
    slices, shape = NeighbourSlices(brain, experiment.neighbours), brain.shape[1:]
    middle, reach = (shape[0] - 1) / 2 + TUMOUR_AT[0] * shape[0], CLEARLY * TUMOUR_RADIUS * min(shape)
    through = np.linspace(middle - reach, middle + reach, THROUGH_TUMOUR)
    wanted = np.unique(np.rint([*through, *np.linspace(slices.shown[0], slices.shown[-1], ELSEWHERE)]).astype(int))
    return np.concatenate([slices.inputs(at, at + 1) for at in wanted.tolist()])


def _phantom(experiment: Experiment, kind: str, seed: int) -> NDArray[np.float32]:
    slices = experiment.size[0] if len(experiment.size) == 3 else 2
    view = 400.0 if kind == "abdomen-ct" else 240.0
    options = PhantomOptions(
        slices=slices,
        matrix=max(experiment.size[-2:]),
        pixel_mm=view / max(experiment.size[-2:]),
        slice_mm=5.0,
        seed=seed,
    )
    images, _ = make_phantom(kind, options).render()
    names = [name if name in images else next(iter(images)) for name in experiment.channels]
    raw = np.stack([images[name] for name in names])[..., : experiment.size[-2], : experiment.size[-1]]
    raw = raw if len(experiment.size) == 3 else raw[:, 0]
    return INPUTS[experiment.inputs](
        np.clip(raw / 2, 0, 255) if experiment.inputs != "hounsfield-1024-v1" and len(experiment.size) == 2 else raw
    )


def made_up_brain(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """A brain as `brain-volume-v1` gives one, (4, slices, rows, columns), with one tumour of three parts.

    An ellipsoid that fills the box, folded into white and grey matter by noise as fine as gyri are (coarser folds look
    like edema to a network that knows brains), with fluid in its middle and, off the middle, edema around a rim
    that enhances around a core that does not.
    """
    generator = np.random.default_rng(seed)
    folds, waves = _noise(shape, 24, generator), _noise(shape, 8, generator)
    centre = [(length - 1) / 2 for length in shape]
    lesion = [middle + share * length for middle, share, length in zip(centre, TUMOUR_AT, shape, strict=True)]
    brain = _distance(shape, centre, [0.44 * length for length in shape]) < 1
    fluid = _distance(shape, centre, [0.12 * length for length in shape]) < 1 + 0.3 * waves
    tumour = _distance(shape, lesion, [TUMOUR_RADIUS * min(shape)] * 3) - 0.15 * waves
    parts = {
        "white": folds < 0,
        "grey": folds >= 0,
        "fluid": fluid,
        "edema": tumour < 1,
        "enhancing": tumour < 0.6,
        "core": tumour < 0.4,
    }
    image = np.zeros((len(CHANNELS), *shape), np.float32)
    for name, where in parts.items():
        for channel, value in enumerate(_TISSUES[name]):
            image[channel][brain & where] = value
    texture = ndimage.gaussian_filter(image, (0, 1.0, 1.0, 1.0)) + 0.15 * waves.astype(np.float32)
    rounded = np.rint(texture / _STEP) * _STEP
    return np.asarray(np.where(brain, rounded, 0), np.float32)


def _noise(shape: tuple[int, ...], knots: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise of deviation about 1, drawn at so many knots along each axis."""
    zoom = [length / knots for length in shape]
    drawn = generator.standard_normal((knots, knots, knots))
    return np.asarray(ndimage.zoom(drawn, zoom, order=3, grid_mode=True, mode="grid-mirror"))


def _distance(shape: tuple[int, ...], centre: list[float], radii: list[float]) -> NDArray[np.float32]:
    """1 on the ellipsoid, less inside."""
    axes = np.ogrid[tuple(slice(length) for length in shape)]
    squares = [((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radii, strict=True)]
    return np.sqrt(np.asarray(sum(squares[1:], squares[0]), np.float32))
