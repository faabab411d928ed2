"""The brain as one volume: four sequences on a grid of 1 mm, a network of volumes or of slices, parts of the tumour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dicomio.volumes.masks import MaskBox, extents, mask_boxes
from pipelines.brain.extraction import find_brain
from pipelines.brain.grid import box_around, cut, restore, sample
from pipelines.brain.regions import TUMOUR, segments
from pipelines.brain.volume import CHANNELS, NeighbourSlices, centre_of, crop, standardise
from pipelines.findings import Findings, Region
from pipelines.labels import labels_of
from pipelines.measure import measure_region, split_components

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dicomio.volumes.volume import Volume
    from pipelines.brain.alignment import BrainStudy
    from pipelines.findings import Label
    from pipelines.networks import Network, Progress

SEGMENTER = "volume_segmenter"
ROLES = tuple(role for role in CHANNELS if role != "flair")
"""What it needs beside the FLAIR."""

VOLUMES = {
    "Edema volume": (1,),
    "Non-enhancing core volume": (2,),
    "Enhancing volume": (3,),
    "Tumour core volume": (2, 3),
}
"""Figures of the study: name -> the labels that it counts (`regions.LABELS`)."""


@dataclass(frozen=True, eq=False)
class PreparedBrain:
    """A brain as the network takes it.

    Attributes:
        inputs: (4, *SHAPE) float32, channels as in `volume.CHANNELS`.
        box: The grid of the inputs, in the FLAIR's patient coordinates.
        notes: How the brain was found.
    """

    inputs: NDArray[np.float32]
    box: Volume
    notes: tuple[str, ...]


def read_volume(study: BrainStudy, networks: Mapping[str, Network], report: Progress) -> Findings:
    """Finds a tumour's parts.

    Args:
        study: `flair`, `t1`, `t1ce` and `t2`.
        networks: `volume_segmenter` (probabilities of the regions, on the box of `brain.volume` or its slices).
        report: Called with each step and its progress.

    Raises:
        BrainNotFound: There is none in the images that it could be.
    """
    report("find the brain", 0.0)
    prepared = prepare_brain(study)
    report("segment", 0.0)
    network = networks[SEGMENTER]  # opened only now: without a brain it is not needed
    probability = _predict(network, prepared.inputs, report)
    report("measure", 0.0)
    manifest = network.package.manifest
    threshold = np.full(len(probability), manifest.thresholds.mask, np.float32)
    regions = restore(probability, prepared.box, study.flair, threshold)
    parts = segments(regions, manifest.labels, manifest.outputs[0].classes)
    return _findings(study.source, np.ascontiguousarray(study.reorientation.inverse(parts)), network, prepared.notes)


def _predict(network: Network, inputs: NDArray[np.float32], report: Progress) -> NDArray[np.float32]:
    """Probabilities (classes, *SHAPE): of the whole brain at once, or slice by slice if the network takes slices."""
    neighbours = network.package.manifest.preprocessing.neighbours
    if not neighbours:
        return network.predict_one(inputs)
    slices = NeighbourSlices(inputs, neighbours)
    answers = network.predict_slices(slices, slices.shown, partial(report, "segment"))
    return slices.joined(answers, len(network.package.manifest.outputs[0].classes))


def prepare_brain(study: BrainStudy) -> PreparedBrain:
    """The network's input of a study.

    Raises:
        BrainNotFound: There is none in the images that it could be.
    """
    brain = find_brain(study)
    centre = centre_of(brain.mask)
    box, mask = box_around(brain.grid, centre), crop(brain.mask, centre)
    window = extents(mask)  # beyond the brain there is nothing but zeros: a third of the box
    part = cut(box, window)
    sampled = np.stack([sample(study.images[role], part, study.transform(role)) for role in CHANNELS])
    inputs = np.zeros((len(CHANNELS), *mask.shape), np.float32)
    inputs[:, *window] = standardise(sampled, mask[window])
    return PreparedBrain(inputs, box, brain.notes)


def _findings(flair: Volume, parts: NDArray[np.uint8], network: Network, notes: tuple[str, ...]) -> Findings:
    package = network.package
    labels = labels_of(package)
    minimum = package.manifest.thresholds.min_volume_ml
    components = split_components(parts > 0, voxel_ml=flair.voxel_ml, min_volume_ml=minimum)
    parts = np.where(components.array > 0, parts, np.uint8(0))
    lesions = tuple(
        measure_region(box, flair, TUMOUR, f"Lesion {number}", component=number, outlined=False)
        for number, box in mask_boxes(components.array)
    )
    counts = np.bincount(parts.ravel(), minlength=max(label.number for label in labels) + 1) * flair.voxel_ml
    totals = {
        "Tumour count": (float(len(lesions)), "1"),
        "Tumour volume": (float(counts[1:].sum()), "mL"),
        **{name: (float(counts[list(numbers)].sum()), "mL") for name, numbers in VOLUMES.items()},
    }
    return Findings(
        volume=flair,
        segmentation=parts,
        components=components.array,
        labels=labels,
        regions=(*_parts(flair, parts, labels), *lesions),
        totals=totals,
        models={package.name: package.digest},
        engines={package.name: str(network.engine.description)},
        used={"segmenter": package.name},
        notes=notes,
    )


def _parts(flair: Volume, parts: NDArray[np.uint8], labels: tuple[Label, ...]) -> tuple[Region, ...]:
    """Each part of the tumour as a whole, over all lesions."""
    boxes = [(label, MaskBox.of(parts == label.number)) for label in labels]
    return tuple(
        measure_region(box, flair, label, label.name.capitalize(), with_diameters=False)
        for label, box in boxes
        if not box.empty
    )
