"""Whole abdominal CTs: are lesions found one by one, and are liver volume, tumour count and tumour burden right?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicomio.volume import Volume
from engines.contract import Engine
from pipelines import abdomen_ct
from pipelines.networks import Network, silent
from training.burden import Burden, burden, detection, found_lesions
from training.data.lesions_in_volumes import draw_lesions
from training.data.studies import Study
from training.evaluate import Figure, bootstrap, mean_figure
from training.figures import Overlap

Mask = NDArray[np.bool_]
Segment = Callable[[Volume], tuple[Mask, Mask]]
"""A CT to the liver with its tumours, and the tumours, as serving would have them."""

SIZES_MM = ((10.0, 20.0), (20.0, np.inf))


@dataclass(frozen=True)
class Read:
    """What was found in a study, beside what is there.

    Attributes:
        name: Of the study.
        liver: Overlap of the liver.
        tumour: Overlap of the tumours.
        found: Volumes and count as found.
        true: As they are.
        lesions: (diameter in mm, whether it was found) of each lesion over 10 mm.
        false: Tumours that touch no lesion.
    """

    name: str
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
        findings = abdomen_ct.run({"ct": volume}, networks, silent)
        numbers = {label.name.lower(): label.number for label in findings.labels}
        return findings.segmentation > 0, findings.segmentation == numbers["tumour"]

    return segment


def read_studies(
    segment: Segment, studies: Iterable[Study], *, synthetic: int = 0, min_volume_ml: float = 0.0, seed: int = 0
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
            found.append(compare(study.name, segment(volume), (liver, tumour), volume.voxel_ml, min_volume_ml))
        for number in range(synthetic):
            generator = np.random.default_rng((seed, number))
            drawn, lesions = draw_lesions(np.asarray(volume.array, np.int16), liver, volume.spacing, generator)
            truth = liver, tumour | lesions
            masks = segment(replace(volume, array=drawn))
            found.append(compare(f"{study.name} with lesions {number}", masks, truth, volume.voxel_ml, min_volume_ml))
    return found


def compare(
    name: str, found: tuple[Mask, Mask], true: tuple[Mask, Mask], voxel_ml: float, min_volume_ml: float = 0.0
) -> Read:
    """(liver with tumours, tumours) as found against as they are, (slices, rows, columns) each."""
    (organ, tumour), (liver, truth) = found, true
    return Read(
        name,
        Overlap.of(organ, liver),
        Overlap.of(tumour, truth),
        burden(organ, tumour, voxel_ml, min_volume_ml=min_volume_ml),
        burden(liver, truth, voxel_ml),
        tuple(found_lesions(tumour, truth, voxel_ml, min_volume_ml=min_volume_ml)),
        detection(tumour, truth, voxel_ml, min_volume_ml=min_volume_ml).false,
    )


def study_figures(reads: Sequence[Read], kind: str = "") -> list[Figure]:
    """Figures by study and lesion by lesion; `kind` comes before "lesions" (synthetic ones must be called so)."""
    with_tumour = [read for read in reads if read.true.tumours]
    figures = [
        mean_figure("liver: Dice by study, mean", [read.liver.dice for read in reads]),
        mean_figure("liver volume: absolute error in %, mean", [_percent(read) for read in reads]),
        *(
            [mean_figure(f"{kind}tumour: Dice by study, mean", [read.tumour.dice for read in with_tumour])]
            if with_tumour
            else []
        ),
        *(_sensitivity(reads, kind, *sizes) for sizes in ((10.0, np.inf), *SIZES_MM)),
        mean_figure("false tumours per study, mean", [float(read.false) for read in reads]),
        mean_figure("tumour count: absolute error, mean", [abs(r.found.tumours - r.true.tumours) for r in reads]),
        mean_figure("tumour volume: absolute error in ml, mean", [_difference_ml(read) for read in reads]),
        mean_figure("tumour burden: absolute error in percentage points, mean", [_burden(read) for read in reads]),
    ]
    return [figure for figure in figures if figure.n]


def _sensitivity(reads: Sequence[Read], kind: str, over_mm: float, below_mm: float) -> Figure:
    """Share of the lesions of a size that were found; interval by bootstrap over studies."""
    per_study = [np.array([f for mm, f in read.lesions if over_mm <= mm < below_mm], np.float64) for read in reads]
    n = sum(map(len, per_study))
    size = f"over {over_mm:g} mm" if np.isinf(below_mm) else f"of {over_mm:g} to {below_mm:g} mm"
    metric = f"{kind}lesions {size}: sensitivity"
    if not n:
        return Figure(metric, float("nan"), 0)

    def statistic(drawn: Sequence[NDArray[np.float64]]) -> float:
        joined = np.concatenate(drawn)
        return float(joined.mean()) if len(joined) else float("nan")

    return Figure(metric, statistic(per_study), n, bootstrap(per_study, statistic) if len(reads) > 1 else None)


def _percent(read: Read) -> float:
    return 100 * abs(read.found.liver_ml - read.true.liver_ml) / read.true.liver_ml if read.true.liver_ml else 0.0


def _difference_ml(read: Read) -> float:
    return abs(read.found.tumour_ml - read.true.tumour_ml)


def _burden(read: Read) -> float:
    return 100 * abs(read.found.share - read.true.share)
