"""Lays the template's head on a patient's: affine, by mutual information, from coarse to fine.

Mattes et al. 2003, IEEE Trans Med Imaging 22:120-128. Mutual information does not mind that the template is a T1 and
the image is not.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so
from scipy import ndimage

from dicomio.volumes.grid import to_sitk
from dicomio.volumes.masks import largest_piece
from dicomio.volumes.registration import matrix_of, single_threaded_sitk
from dicomio.volumes.volume import Volume
from pipelines.brain.template import template
from pipelines.errors import BrainNotFound

if TYPE_CHECKING:
    from numpy.typing import NDArray

COARSE_MM, FINE_MM = 6.0, 4.0
SAMPLES, FIRST_SAMPLES = 40_000, 6_000
BINS = 32
SEED = 20_000

BELOW_VERTEX_MM = 75.0
"""Depth of the brain's middle below the top of the head."""

LOWER_MM = 110.0
"""How much of a head, from its top, is looked at for its middle: the neck is not."""

STARTS = tuple(product((-25.0, 0.0, 25.0), (-12.0, 5.0), (-20.0, 0.0, 20.0), (0.85, 1.0)))
"""Where the search may begin: mm up and mm back from the guessed middle, degrees of nodding, size."""

BEST_STARTS = 3
SIZES = (0.6, 1.35)
"""How much smaller or larger than the template, along any direction, a head may be: the atlas is a large brain."""


def register_template(image: Volume) -> NDArray[np.float64]:
    """Where the template lies in an image of a head.

    The same image gives the same transform to the last bit: fixed seeds, and one thread adds up.

    Returns:
        (4, 4) float64, MNI coordinates (LPS mm) -> patient coordinates of the image.

    Raises:
        BrainNotFound: The search failed, or came out where no head can be.
    """
    try:
        with single_threaded_sitk():
            matrix = matrix_of(_search(image))
    except RuntimeError as error:
        raise BrainNotFound(reason=str(error).strip().splitlines()[-1].strip()) from error
    sizes = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    if sizes.min() < SIZES[0] or sizes.max() > SIZES[1]:
        raise BrainNotFound(reason=f"it would be {sizes.min():.2f} to {sizes.max():.2f} times as large as the template")
    return matrix


def _search(image: Volume) -> sitk.AffineTransform:
    moving = _without_brightest(image)
    start = _best_similarity(_Pair.at(COARSE_MM, moving))
    found = sitk.AffineTransform(3)
    found.SetCenter(start.GetCenter())
    found.SetMatrix(start.GetMatrix())
    found.SetTranslation(start.GetTranslation())
    _Pair.at(FINE_MM, moving).refine(found, 100)
    return found


@dataclass(frozen=True)
class _Pair:
    """Template and image at one size of voxels."""

    voxel_mm: float
    head: sitk.Image
    compared: sitk.Image
    image: sitk.Image

    @classmethod
    def at(cls, voxel_mm: float, image: sitk.Image) -> _Pair:
        return cls(voxel_mm, *_template_at(voxel_mm), _shrunk(image, voxel_mm - 1)).of_its_own()

    def of_its_own(self) -> _Pair:
        """The same for another thread: ITK marks on an image what part of it is wanted."""
        images = [sitk.Image(image) for image in (self.head, self.compared, self.image)]
        for image in images:
            image.MakeUnique()
        return _Pair(self.voxel_mm, *images)

    def unlikeness(self, start: sitk.Transform) -> float:
        """How unlike the two are."""
        method = self._metric(FIRST_SAMPLES)
        method.SetMetricUseFixedImageGradientFilter(False)  # the value needs no gradients, which took most of the time
        method.SetMetricUseMovingImageGradientFilter(False)
        method.SetInitialTransform(start, inPlace=False)
        try:
            return float(method.MetricEvaluate(self.head, self.image))
        except RuntimeError:  # no sample of one lies within the other
            return math.inf

    def refine(self, transform: sitk.Transform, rounds: int) -> float:
        """Searches from `transform`, which is changed; returns how unlike the two still are."""
        method = self._metric(SAMPLES)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=self.voxel_mm / 2, minStep=0.01, numberOfIterations=rounds, relaxationFactor=0.7
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(self.head, self.image)
        except RuntimeError:  # it walked out of the image
            return math.inf
        return float(method.GetMetricValue())

    def _metric(self, samples: int) -> sitk.ImageRegistrationMethod:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(BINS)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetMetricFixedMask(self.compared)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(min(1.0, samples / self.head.GetNumberOfPixels()), SEED)
        return method


@cache
def _template_at(voxel_mm: float) -> tuple[sitk.Image, sitk.Image]:
    """The template's head and where it is compared, made once per process; used through copies only."""
    known = template()
    head, compared = (
        to_sitk(Volume(array, known.affine, "", "MR", "", (), None))
        for array in (known.head, known.compared.astype(np.uint8))
    )
    shrunk = _shrunk(head, voxel_mm)
    return shrunk, sitk.Resample(compared, shrunk, sitk.Transform(), sitk.sitkNearestNeighbor)


def _without_brightest(image: Volume) -> sitk.Image:
    """Fat and vessels at one brightness, so that the bins are spent on the brain."""
    values = np.asarray(image.array)
    tissue = values[values > 0.1 * np.percentile(values, 98)]
    limit = float(np.percentile(tissue, 97)) if tissue.size else float(values.max())
    return sitk.Clamp(sitk.Cast(to_sitk(image), sitk.sitkFloat32), sitk.sitkFloat32, float(values.min()), limit)


def _shrunk(image: sitk.Image, voxel_mm: float) -> sitk.Image:
    return sitk.BinShrink(image, [max(1, round(voxel_mm / spacing)) for spacing in image.GetSpacing()])


def _guessed_middle(image: sitk.Image) -> NDArray[np.float64]:
    """Patient coordinates of the brain's middle, guessed from the outline of the head."""
    array = sitk.GetArrayFromImage(image)
    outline = largest_piece(ndimage.binary_opening(array > 0.2 * np.percentile(array, 98)))
    if not outline.any():
        raise BrainNotFound(reason="the images are empty")
    outline = np.stack([ndimage.binary_fill_holes(plane) for plane in outline])
    columns, rows, slices = image.GetSpacing()
    top = int(np.flatnonzero(outline.any(axis=(1, 2)))[-1])
    for index in range(top, -1, -1):  # the first slice with more than a tip of the head
        if outline[index].sum() * rows * columns > 2000:
            top = index
            break
    outline[: max(0, top - max(1, round(LOWER_MM / slices)))] = False
    _, row, column = ndimage.center_of_mass(outline)
    middle = (float(column), float(row), max(0.0, top - BELOW_VERTEX_MM / slices))
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle))


def _best_similarity(pair: _Pair) -> sitk.Similarity3DTransform:
    """The best of the starts that looked best, after a search each.

    Several threads search, each for itself; what one finds does not depend on how many there are.
    """
    middle = _guessed_middle(pair.image)
    starts = [_start(middle, *values) for values in STARTS]
    pairs = [pair.of_its_own() for _ in range(BEST_STARTS)]
    with ThreadPoolExecutor(BEST_STARTS, "search") as threads:
        shares = [starts[number::BEST_STARTS] for number in range(BEST_STARTS)]
        rated = list(threads.map(_rated, pairs, shares))
        ratings = {number + k * BEST_STARTS: one for number, share in enumerate(rated) for k, one in enumerate(share)}
        best = [starts[number] for number in sorted(range(len(starts)), key=ratings.__getitem__)[:BEST_STARTS]]
        ends = list(threads.map(_Pair.refine, pairs, best, [60] * BEST_STARTS))
    return best[int(np.argmin(ends))]


def _rated(pair: _Pair, starts: list[sitk.Similarity3DTransform]) -> list[float]:
    return [pair.unlikeness(start) for start in starts]


def _start(
    middle: NDArray[np.float64], up: float, back: float, degrees: float, size: float
) -> sitk.Similarity3DTransform:
    centre = template().centre
    start = sitk.Similarity3DTransform()
    start.SetCenter(centre.tolist())
    start.SetRotation([1.0, 0.0, 0.0], math.radians(degrees))
    start.SetScale(size)
    start.SetTranslation((middle + np.array([0.0, back, up]) - centre).tolist())
    return start
