"""Brain MR: is there a tumour on the FLAIR, and where. Classify slice by slice, then segment where it says tumour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomio.errors import RegistrationFailed
from dicomio.grid import reorient, resample_onto
from dicomio.masks import mask_boxes
from dicomio.registration import register_rigid
from pipelines.findings import Classification, Findings
from pipelines.labels import labels_of
from pipelines.measure import measure_region, split_components
from pipelines.networks import Network, Progress
from pipelines.preprocess import PreparedSlices, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomio.volume import Volume

NEIGHBOURS = 1
"""Slices next to one that the classifier calls tumour are segmented too: a tumour's ends look healthy."""


def run(inputs: Mapping[str, Volume], networks: Mapping[str, Network], report: Progress) -> Findings:
    """Finds tumours.

    Args:
        inputs: `flair`, and optionally `t1` and `t1ce`; any orientation, any grid.
        networks: `classifier` (probability per slice) and `segmenter` (probability per voxel).
        report: Told of each step and its progress.
    """
    flair, turned = reorient(inputs["flair"], "axial")
    report("align", 0.0)
    images, notes = aligned_images(inputs, flair)
    prepared = {
        slot: prepare(network.package.manifest.preprocessing.name, images, flair.spacing)
        for slot, network in networks.items()
    }
    per_slice = classify(networks["classifier"], prepared["classifier"], report)
    answer = study_answer(per_slice, networks["classifier"].package.manifest.thresholds.probability)
    mask = np.zeros(flair.array.shape, dtype=bool)
    if answer.positive:
        mask = segment(networks["segmenter"], prepared["segmenter"], suspicious(per_slice, answer.threshold), report)
    report("measure", 0.0)
    return _findings(inputs["flair"], np.asarray(turned.inverse(mask), dtype=bool), answer, networks, notes)


def aligned_images(
    inputs: Mapping[str, Volume], flair: Volume
) -> tuple[dict[str, NDArray[np.float32] | None], tuple[str, ...]]:
    """FLAIR and the T1 images on its grid; registered where the frames of reference differ. Notes say what was done."""
    images: dict[str, NDArray[np.float32] | None] = {"flair": flair.array}
    notes = []
    for role in ("t1", "t1ce"):
        moving = inputs.get(role)
        if moving is None:
            images[role] = None
            notes.append(f"{role.upper()} was not available and was replaced by the FLAIR")
            continue
        transform = None
        if moving.frame_of_reference_uid != flair.frame_of_reference_uid:
            try:
                transform = register_rigid(moving, flair)
            except RegistrationFailed as error:  # an optional series: the study can do without
                images[role] = None
                notes.append(f"{role.upper()} could not be aligned and was replaced by the FLAIR: {error}")
                continue
            notes.append(f"{role.upper()} has another frame of reference and was registered to the FLAIR (rigid)")
        images[role] = resample_onto(moving, flair, transform=transform)
    return images, tuple(notes)


def classify(network: Network, prepared: PreparedSlices, report: Progress) -> NDArray[np.float32]:
    """Probability of tumour per axial slice."""
    answers = [p.reshape(len(p), -1)[:, -1] for _, p in network.predict(prepared, lambda s: report("classify", s))]
    return np.concatenate(answers)


def study_answer(per_slice: NDArray[np.float32], threshold: float) -> Classification:
    """The study is as suspicious as its most suspicious run of three slices: one odd slice alone does not count."""
    smoothed = ndimage.median_filter(per_slice, size=3, mode="nearest")
    probability = float(smoothed.max())
    positive = probability >= threshold
    return Classification(
        question="Brain tumour on FLAIR",
        answer="tumour" if positive else "no tumour",
        probability=probability,
        threshold=threshold,
        positive=positive,
    )


def suspicious(per_slice: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Index of the slices worth segmenting."""
    return np.flatnonzero(ndimage.maximum_filter1d(per_slice, 2 * NEIGHBOURS + 1, mode="nearest") >= threshold)


def segment(network: Network, prepared: PreparedSlices, index: NDArray[np.intp], report: Progress) -> NDArray[np.bool_]:
    """Tumour mask (slices, rows, columns) on the FLAIR's grid."""
    shape = (len(prepared), prepared.rows.size, prepared.columns.size)
    mask = np.zeros(shape, dtype=bool)
    threshold = network.package.manifest.thresholds.mask
    for at, probability in network.predict_slices(prepared, index, lambda share: report("segment", share)):
        mask[at : at + len(probability)] = prepared.restore(probability[:, -1:])[:, 0] >= threshold
    return mask


def _findings(
    flair: Volume,
    mask: NDArray[np.bool_],
    answer: Classification,
    networks: Mapping[str, Network],
    notes: tuple[str, ...],
) -> Findings:
    package = networks["segmenter"].package
    (label,) = labels_of(package)
    minimum = package.manifest.thresholds.min_volume_ml
    components = split_components(mask, voxel_ml=flair.voxel_ml, min_volume_ml=minimum)
    lesions = tuple(
        measure_region(box, flair, label, f"Lesion {number}", component=number)
        for number, box in mask_boxes(components.array)
    )
    if answer.positive and not lesions:
        notes = (*notes, "The classifier suspects a tumour, the segmentation outlines none: please look at the images")
    return Findings(
        volume=flair,
        segmentation=(components.array > 0) * np.uint8(label.number),
        components=components.array,
        labels=(label,),
        regions=lesions,
        classifications=(answer,),
        totals={
            "Tumour count": (float(len(lesions)), "1"),
            "Tumour volume": (sum(lesion.volume_ml for lesion in lesions), "mL"),
        },
        models={network.package.name: network.package.digest for network in networks.values()},
        engines={network.package.name: str(network.engine.description) for network in networks.values()},
        notes=notes,
    )
