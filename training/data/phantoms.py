"""Phantoms as training cases: varied in anatomy, matrix, slice distance, number and size of lesions."""

from __future__ import annotations

import numpy as np

from pipelines.phantoms.phantom import PhantomOptions, make_phantom
from pipelines.preprocess import prepare
from training.data.case import Case

KINDS = {"brain-slices-v1": "brain-mr", "ct-slices-v1": "abdomen-ct"}


def phantom_cases(preprocessing: str, count: int, seed: int) -> list[Case]:
    """`count` phantoms prepared with `preprocessing`; seeds from a million up, away from those a person would type."""
    generator = np.random.default_rng(seed)
    return [_case(preprocessing, 1_000_000 + seed + number, generator) for number in range(count)]


def _case(preprocessing: str, seed: int, generator: np.random.Generator) -> Case:
    kind = KINDS[preprocessing]
    options = PhantomOptions(
        slices=int(generator.integers(18, 30)),
        matrix=int(generator.choice((256, 320) if kind == "brain-mr" else (256, 512))),
        lesions=int(generator.choice(4, p=(0.15, 0.4, 0.3, 0.15))),
        seed=seed,
    )
    phantom = make_phantom(kind, options)
    images, masks = phantom.render()
    names = ("lesion",) if kind == "brain-mr" else ("liver", "lesion")
    truth = np.stack([masks[name] for name in names], axis=1)
    prepared = prepare(preprocessing, dict(images), phantom.spacing)
    return Case(f"phantom-{seed}", "phantom", prepared, truth, np.ones(truth.shape[:2], bool))
