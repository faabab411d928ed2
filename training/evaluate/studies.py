"""Whole abdominal CTs: are lesions found one by one, and are liver volume, tumour count and tumour burden right?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomio.volumes.volume import Volume
from engines.contract import Engine
from pipelines.abdomen import liver as abdomen_ct
from pipelines.networks import Network, no_progress
from training.data.layouts.studies import LabelledStudy
from training.data.lesions_in_volumes import draw_lesions
from training.evaluate.burden import Burden, burden, detection, found_lesions
from training.evaluate.figures import Figure, bootstrap
from training.evaluate.overlap import Overlap
from training.evaluate.predict import Predict, masks, predict_item
from training.experiment import Experiment

Mask = NDArray[np.bool_]
Segment = Callable[[Volume], tuple[Mask, Mask]]
"""A CT to the liver with its tumours, and the tumours, as serving would have them."""

SIZES_MM = ((10.0, 20.0), (20.0, np.inf))


@dataclass(frozen=True)
class Read:
    """What was found in a study, beside what is there.

    Attributes:
        name: Of the study.
        patient: Whose CT it is.
        liver: Overlap of the liver.
        tumour: Overlap of the tumours.
        found: Volumes and count as found.
        true: As they are.
        lesions: (diameter in mm, whether it was found) of each lesion over 10 mm.
        false: Tumours that touch no lesion.
    """

    name: str
    patient: str
    liver: Overlap
    tumour: Overlap
    found: Burden
    true: Burden
    lesions: tuple[tuple[float, bool], ...]
    false: int

    def __str__(self) -> str:
        found, true = self.found, self.true
        return (
            f"{self.name}: liver {found.liver_ml:.0f} ml (true {true.liver_ml:.0f}), tumours {found.tumours} (true "
            f"{true.tumours}), {found.tumour_ml:.1f} ml (true {true.tumour_ml:.1f}), burden {100 * found.share:.1f} % "
            f"(true {100 * true.share:.1f}), false {self.false}"
        )


def as_served(engine: Engine) -> Segment:
    """What the pipeline `abdomen-ct` finds with the network of an open engine."""

    def segment(volume: Volume) -> tuple[Mask, Mask]:
        networks = {"segmenter": Network(engine.package, engine)}
        findings = abdomen_ct.run({"ct": volume}, networks, no_progress)
        numbers = {label.name.lower(): label.number for label in findings.labels}
        return findings.segmentation > 0, findings.segmentation == numbers["tumour"]

    return segment


def by_slices(experiment: Experiment, predict: Predict, threshold: float = 0.5) -> Segment:
    """Liver with tumours, and tumours, as the experiment outlines them; classes background, liver, tumour as in LiTS.

    The volume must be axial, rows to the back and columns to the patient's left, as LiTS and CHAOS are read.
    """

    def segment(volume: Volume) -> tuple[Mask, Mask]:
        liver, tumour = np.zeros(volume.array.shape, bool), np.zeros(volume.array.shape, bool)
        for index, plane in enumerate(volume.array):
            found = masks(
                experiment, predict_item(experiment, predict, _fitted(plane, experiment.size)[None]), threshold
            )
            _, organ, lesion = (_back(mask, plane.shape) for mask in found)
            liver[index], tumour[index] = organ | lesion, lesion
        return liver, tumour

    return segment


def _fitted(plane: NDArray[np.int16], size: tuple[int, ...]) -> NDArray[np.float32]:
    picture = Image.fromarray(plane.astype(np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR), np.float32)


def _back(mask: Mask, shape: tuple[int, ...]) -> Mask:
    picture = Image.fromarray(mask.astype(np.uint8)).resize((shape[1], shape[0]), Image.Resampling.NEAREST)
    return np.asarray(picture, bool)


def read_studies(
    segment: Segment, studies: Iterable[LabelledStudy], *, synthetic: int = 0, min_volume_ml: float = 0.0, seed: int = 0
) -> list[Read]:
    """Reads each study, as it is, or `synthetic` times with other lesions drawn into its liver.

    Args:
        segment: The network in its pipeline.
        studies: CTs with truth.
        synthetic: 0 for the studies as they are.
        min_volume_ml: Smaller tumours are neither found nor false, as in serving.
        seed: Of the lesions.
    """
    found = []
    for study in studies:
        volume, liver, tumour = study.read()
        if not synthetic:
            names = study.name, study.name
            found.append(compare(names, segment(volume), (liver, tumour), volume.voxel_ml, min_volume_ml))
        for number in range(synthetic):
            generator = np.random.default_rng((seed, number))
            drawn, lesions = draw_lesions(np.asarray(volume.array, np.int16), liver, volume.spacing, generator)
            truth = liver, tumour | lesions
            masks = segment(replace(volume, array=drawn))
            names = f"{study.name} with lesions {number}", study.name
            found.append(compare(names, masks, truth, volume.voxel_ml, min_volume_ml))
    return found


def compare(
    names: tuple[str, str],
    found: tuple[Mask, Mask],
    true: tuple[Mask, Mask],
    voxel_ml: float,
    min_volume_ml: float = 0.0,
) -> Read:
    """What was found against what is there.

    Args:
        names: Of the study, and of the patient.
        found: Liver with tumours, and tumours, (slices, rows, columns) each.
        true: Likewise.
        voxel_ml: Volume of a voxel.
        min_volume_ml: Smaller tumours are neither found nor false.
    """
    (organ, tumour), (liver, truth) = found, true
    return Read(
        *names,
        Overlap.of(organ, liver),
        Overlap.of(tumour, truth),
        burden(organ, tumour, voxel_ml, min_volume_ml=min_volume_ml),
        burden(liver, truth, voxel_ml),
        tuple(found_lesions(tumour, truth, voxel_ml, min_volume_ml=min_volume_ml)),
        detection(tumour, truth, voxel_ml, min_volume_ml=min_volume_ml).false,
    )


def study_figures(reads: Sequence[Read], *, synthetic: bool = False) -> list[Figure]:
    """Figures by study and lesion by lesion, intervals by bootstrap over patients: none of a single patient.

    Lesions that were drawn in are called synthetic, and then nothing is said of livers and volumes, which are those of
    the same CT again and again.
    """
    kind = "synthetic " if synthetic else ""
    figures = [
        _mean("liver: Dice by study, mean", reads, lambda read: read.liver.dice),
        _mean("liver volume: absolute error in %, mean", reads, _percent),
        _mean("tumour count: absolute error, mean", reads, lambda read: abs(read.found.tumours - read.true.tumours)),
        _mean("tumour volume: absolute error in ml, mean", reads, _difference_ml),
        _mean("tumour burden: absolute error in percentage points, mean", reads, _burden),
    ]
    with_tumour = [read for read in reads if read.true.tumours]
    of_lesions = [
        _mean(f"{kind}tumour: Dice by study, mean", with_tumour, lambda read: read.tumour.dice),
        *(_sensitivity(reads, kind, *sizes) for sizes in ((10.0, np.inf), *SIZES_MM)),
        _mean("false tumours per study, mean", reads, lambda read: read.false),
    ]
    wanted = of_lesions if synthetic else [*figures[:2], *of_lesions, *figures[2:]]
    return [figure for figure in wanted if figure.n]


def _mean(metric: str, reads: Sequence[Read], value: Callable[[Read], float]) -> Figure:
    return _pooled(metric, [(read.patient, [value(read)]) for read in reads])


def _sensitivity(reads: Sequence[Read], kind: str, over_mm: float, below_mm: float) -> Figure:
    """Share of the lesions of a size that were found."""
    size = f"over {over_mm:g} mm" if np.isinf(below_mm) else f"of {over_mm:g} to {below_mm:g} mm"
    per_read = [(read.patient, [float(f) for mm, f in read.lesions if over_mm <= mm < below_mm]) for read in reads]
    return _pooled(f"{kind}lesions {size}: sensitivity", per_read)


def _pooled(metric: str, values: Sequence[tuple[str, Sequence[float]]]) -> Figure:
    """Mean of all values, of each of which the patient is known."""
    per_patient: dict[str, list[float]] = {}
    for patient, some in values:
        per_patient.setdefault(patient, []).extend(some)
    arrays = [np.array(some, np.float64) for some in per_patient.values()]
    count = sum(len(array) for array in arrays)
    interval = bootstrap(arrays, _mean_of) if len(arrays) > 1 and count else None
    return Figure(metric, _mean_of(arrays), count, interval)


def _mean_of(arrays: Sequence[NDArray[np.float64]]) -> float:
    joined = np.concatenate([*arrays, np.empty(0)])
    return float(joined.mean()) if len(joined) else float("nan")


def _percent(read: Read) -> float:
    return 100 * abs(read.found.liver_ml - read.true.liver_ml) / read.true.liver_ml if read.true.liver_ml else 0.0


def _difference_ml(read: Read) -> float:
    return abs(read.found.tumour_ml - read.true.tumour_ml)


def _burden(read: Read) -> float:
    return 100 * abs(read.found.share - read.true.share)
