"""Abdominal CT: the liver (its largest component), the tumours in it, and how much of it they take (tumour burden)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomio.volumes.grid import reorient
from dicomio.volumes.masks import MaskBox, extents, grid_of, mask_boxes, piece_sizes
from pipelines.findings import Findings, Label, Region
from pipelines.labels import labels_of
from pipelines.measure import bounding_box, measure_region, split_components
from pipelines.networks import Network, Progress
from pipelines.preprocess import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomio.volumes.masks import Box
    from dicomio.volumes.volume import Volume
    from engines.packages.manifest import OutputSpec

SMALLEST_LIVER_ML = 100.0
"""Less than this is no liver (an adult's is 1000 to 2000 ml; a scan that ends in it may hold a part)."""


def run(inputs: Mapping[str, Volume], networks: Mapping[str, Network], report: Progress) -> Findings:
    """Finds the liver and its tumours.

    Args:
        inputs: `ct`, in Hounsfield units; any orientation.
        networks: `segmenter` (probabilities of background, liver and tumour per voxel).
        report: Called with each step and its progress.
    """
    ct, turned = reorient(inputs["ct"], "axial")
    network = networks["segmenter"]
    labels = {label.name.lower(): label for label in labels_of(network.package)}
    report("segment", 0.0)
    organ, tumour = segment(network, ct, report)
    report("measure", 0.0)
    box = bounding_box(organ) or (slice(0, 0),) * 3
    organ = keep_largest_component(organ[box], ct.voxel_ml)
    tumour = tumour[box] & organ
    box = turned.inverse_box(box, ct.array.shape)
    masks = turned.inverse(organ), turned.inverse(tumour)
    return _findings(inputs["ct"], box, masks, labels, network)


def segment(network: Network, ct: Volume, report: Progress) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks (slices, rows, columns) on the CT's grid, as the network says: liver with its tumours, and tumours.

    Memory that is never written to costs nothing, so nothing but the network's window is looked at, and slices without
    tumour are not written to say so.
    """
    manifest = network.package.manifest
    prepared = prepare(manifest.preprocessing.name, {"ct": ct.array}, ct.spacing)
    threshold = manifest.thresholds.mask
    organ, tumour = np.zeros(ct.array.shape, dtype=bool), np.zeros(ct.array.shape, dtype=bool)
    for at, probability in network.predict(prepared, lambda share: report("segment", share)):
        both = organ_and_tumour(probability, manifest.outputs[0])
        likely = both.max(axis=1) >= threshold / 2
        seen = np.flatnonzero(likely.any(axis=(1, 2)))
        if seen.size:
            rows, columns = prepared.source_window(likely.any(axis=0))
            restored = prepared.restore(both[seen], (rows, columns)) >= threshold
            organ[at + seen, rows, columns] = restored[:, 0] | restored[:, 1]
            held = np.flatnonzero(restored[:, 1].any(axis=(1, 2)))
            tumour[at + seen[held], rows, columns] = restored[held, 1]
    return organ, tumour


def organ_and_tumour(probability: NDArray[np.float32], output: OutputSpec) -> NDArray[np.float32]:
    """Probabilities (n, 2, height, width) of the liver with its tumours, and of tumour.

    With softmax the classes exclude each other, and the organ is their sum; with sigmoid `liver` is the whole organ.
    """
    liver, tumour = (probability[:, output.classes.index(name)] for name in ("liver", "tumour"))
    return np.stack([liver + tumour if output.activation == "softmax" else liver, tumour], axis=1)


def keep_largest_component(mask: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
    """The largest connected piece, holes filled slice by slice; empty when even that is too small to be a liver."""
    organ = np.zeros(mask.shape, dtype=bool)
    pieces, count = ndimage.label(mask)
    sizes = piece_sizes(pieces, mask, count)
    if sizes.max(initial=0) * voxel_ml < SMALLEST_LIVER_ML:
        return organ
    largest = int(sizes.argmax()) + 1
    box = ndimage.find_objects(pieces, max_label=largest)[-1]  # specks elsewhere make the mask's own box much larger
    for plane, piece in zip(organ[box], pieces[box], strict=True):
        np.equal(piece, largest, out=plane)
        if plane.any():
            fill_holes(plane[extents(plane[None])[1:]])  # a hole lies within what is around it
    return organ


def fill_holes(plane: NDArray[np.bool_]) -> None:
    """As `ndimage.binary_fill_holes`, in place and in a third of the time: what does not reach the border is a hole."""
    outside, count = ndimage.label(~plane)
    reaches = np.zeros(count + 1, dtype=bool)
    for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]):
        reaches[edge] = True
    reaches[0] = False  # the plane itself
    np.logical_not(reaches[outside], out=plane)


def _findings(
    ct: Volume,
    box: Box,
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    labels: Mapping[str, Label],
    network: Network,
) -> Findings:
    """Findings from the masks of organ and tumours in the part `box` of the CT; outside of it there is nothing."""
    organ, tumour = masks
    grid = grid_of(ct.array)
    minimum = network.package.manifest.thresholds.min_volume_ml
    components = np.zeros(grid, np.uint16)
    components[box] = split_components(tumour, voxel_ml=ct.voxel_ml, min_volume_ml=minimum).array
    boxes = dict(mask_boxes(components, box))
    lesions = tuple(
        measure_region(lesion, ct, labels["tumour"], f"Lesion {number}", component=number)
        for number, lesion in boxes.items()
    )
    livers: tuple[Region, ...] = ()
    if organ.any():
        holds = (labels["tumour"].number,)
        liver = MaskBox.placed(organ, box, grid)
        livers = (measure_region(liver, ct, labels["liver"], "Liver", with_diameters=False, holds=holds),)
    segmentation = np.zeros(grid, np.uint8)
    np.multiply(organ, labels["liver"].number, dtype=np.uint8, out=segmentation[box])
    for lesion in boxes.values():
        lesion.of_volume(segmentation)[lesion.voxels] = labels["tumour"].number
    missing = "" if livers else "No liver was found in this series"
    return Findings(
        volume=ct,
        segmentation=segmentation,
        components=components,
        labels=tuple(sorted(labels.values(), key=lambda label: label.number)),
        regions=(*livers, *lesions),
        totals=_totals(livers, lesions),
        models={network.package.name: network.package.digest},
        engines={network.package.name: str(network.engine.description)},
        used={"segmenter": network.package.name},
        notes=(missing,) if missing else (),
        question="Liver tumour",
        inconclusive=missing,
    )


def _totals(livers: tuple[Region, ...], lesions: tuple[Region, ...]) -> dict[str, tuple[float, str]]:
    liver_ml = sum(liver.volume_ml for liver in livers)
    tumour_ml = sum(lesion.volume_ml for lesion in lesions)
    totals = {
        "Liver volume": (liver_ml, "mL"),
        "Tumour count": (float(len(lesions)), "1"),
        "Tumour volume": (tumour_ml, "mL"),
    }
    if liver_ml > 0:
        totals["Tumour burden"] = (100.0 * tumour_ml / liver_ml, "%")
    return totals
