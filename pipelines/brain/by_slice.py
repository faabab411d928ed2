"""The brain slice by slice: classify the FLAIR's slices, then segment where the classifier says tumour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomio.volumes.grid import resample_onto
from dicomio.volumes.masks import mask_boxes
from pipelines.findings import Classification, Findings
from pipelines.labels import labels_of
from pipelines.measure import measure_region, split_components
from pipelines.preprocess import PreparedSlices, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomio.volumes.volume import Volume
    from pipelines.brain.alignment import BrainStudy
    from pipelines.networks import Network, Progress

CLASSIFIER, SEGMENTER = "classifier", "segmenter"
QUESTION = "Brain tumour"
ROLES = ("t1", "t1ce")
"""What it reads beside the FLAIR."""

NEIGHBOURS = 1
"""Slices next to one that the classifier calls tumour are segmented too: a tumour's ends look healthy."""


def read_slices(study: BrainStudy, networks: Mapping[str, Network], report: Progress) -> Findings:
    """Finds tumours on single slices.

    Args:
        study: `flair`, and optionally `t1` and `t1ce`.
        networks: `classifier` (probability per slice) and `segmenter` (probability per voxel).
        report: Called with each step and its progress.
    """
    images, notes = _images(study)
    flair = study.flair
    classifier, segmenter = networks[CLASSIFIER], networks[SEGMENTER]
    prepared = _prepared((classifier, segmenter), images, flair)
    per_slice = classify(classifier, prepared[classifier.package.name], report)
    answer = study_answer(per_slice, classifier.package.manifest.thresholds.probability)
    mask = np.zeros(flair.array.shape, dtype=bool)
    if answer.positive:
        index = suspicious(per_slice, answer.threshold)
        mask = segment(segmenter, prepared[segmenter.package.name], index, report)
    report("measure", 0.0)
    source_mask = np.asarray(study.reorientation.inverse(mask), dtype=bool)
    return _findings(study.source, source_mask, answer, (classifier, segmenter), notes)


def _prepared(
    networks: Sequence[Network], images: Mapping[str, NDArray[np.float32] | None], flair: Volume
) -> dict[str, PreparedSlices]:
    """By package; networks that want the same preparation share it."""
    wanted = {network.package.name: network.package.manifest.preprocessing.name for network in networks}
    made = {name: prepare(name, images, flair.spacing) for name in set(wanted.values())}
    return {package: made[name] for package, name in wanted.items()}


def _images(study: BrainStudy) -> tuple[dict[str, NDArray[np.float32] | None], tuple[str, ...]]:
    """FLAIR, and the T1 images on its grid or None; notes on those that it replaces."""
    images: dict[str, NDArray[np.float32] | None] = {"flair": study.flair.array}
    alignment, notes = study.alignment, []
    for role in ROLES:
        images[role] = None
        if role in alignment.transforms:
            images[role] = resample_onto(study.images[role], study.flair, transform=study.transform(role))
        elif role in alignment.failed:
            reason = alignment.failed[role]
            notes.append(f"{role.upper()} could not be aligned and was replaced by the FLAIR: {reason}")
        else:
            notes.append(f"{role.upper()} was not available and was replaced by the FLAIR")
    return images, tuple(notes)


def classify_study(study: BrainStudy, network: Network, report: Progress) -> Classification:
    """Whether there is a tumour anywhere, by the slices alone: the same answer whichever way the study is read on."""
    prepared = _prepared((network,), _images(study)[0], study.flair)[network.package.name]
    return study_answer(classify(network, prepared, report), network.package.manifest.thresholds.probability)


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
    networks: tuple[Network, Network],
    notes: tuple[str, ...],
) -> Findings:
    package = networks[1].package
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
        models={network.package.name: network.package.digest for network in networks},
        engines={network.package.name: str(network.engine.description) for network in networks},
        used={CLASSIFIER: networks[0].package.name, SEGMENTER: package.name},
        notes=notes,
        question=QUESTION,
    )
