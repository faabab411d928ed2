"""Rigid registration of two volumes of one patient, where frames of reference differ or the patient moved."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so

from dicomio.errors import RegistrationFailed
from dicomio.volumes.grid import to_sitk
from dicomio.volumes.volume import Volume

LEVELS_MM = (6.0, 3.0)  # voxel sizes of the two rounds; a third at 1.5 mm doubled the time and changed nothing
SAMPLES = 60_000  # points that a round compares, at most: bounds its time
ITERATIONS = 150
BINS = 32
RELAXATION = 0.8  # how much of its step the search keeps when it turns; at 0.5 it stopped 1.1 mm off, at 0.8 0.5 mm
LEAST_STEP_MM = 0.005
GLANCE_SAMPLES = 12_000  # for a first, quick registration
SEED = 20_000
MOST_ROTATION_DEG = 45.0  # larger than any real rotation: the search has failed
LEAST_OVERLAP = 0.25  # of the fixed volume's grid
COARSELY_MOVED_MM = 3.0  # what the coarse round alone may be off, on thick slices
MOVED_MM = 2.0  # less is within what registration of thick slices can tell


def register_rigid(moving: Volume, fixed: Volume) -> np.ndarray:
    """Find how `moving` has to be turned and shifted to lie on `fixed`.

    Mattes mutual information (Mattes et al. 2003), two rounds from coarse to fine, from the best of three starts: as
    the coordinates are, centre on centre, centre of mass on centre of mass. The same input gives the same result to the
    last bit: samples are drawn with a fixed seed, and one thread adds them up.

    Args:
        moving: The volume to align, of another sequence or time.
        fixed: The volume that stays where it is.

    Returns:
        (4, 4) float64, patient coordinates (LPS mm) of `fixed` -> those of `moving`, as `resample_onto` takes it.

    Raises:
        RegistrationFailed: They do not overlap, or the result cannot be true.
    """
    images = [sitk.Cast(to_sitk(volume), sitk.sitkFloat32) for volume in (fixed, moving)]
    try:
        with single_threaded_sitk():
            transform = _search(images[0], images[1])
    except RuntimeError as error:
        raise _failed(moving, fixed, str(error).strip().splitlines()[-1].strip()) from error
    return _plausible(matrix_of(transform), moving, fixed)


def detect_movement(moving: Volume, fixed: Volume) -> np.ndarray | None:
    """Whether a patient moved between two series that share a frame of reference, by more than `MOVED_MM`.

    A coarse look decides whether a closer one is worth its time; only what both say counts. Where they differ, or
    nothing can be said, the scanner's coordinates stand.

    Returns:
        None if the coordinates can be trusted, else the transform as `register_rigid` gives it.
    """
    try:
        coarse = _glance(moving, fixed)
        if displacement(coarse, np.eye(4), fixed) <= COARSELY_MOVED_MM:
            return None
        fine = register_rigid(moving, fixed)
    except RegistrationFailed:
        return None
    agree = displacement(fine, coarse, fixed) <= COARSELY_MOVED_MM
    return fine if agree and displacement(fine, np.eye(4), fixed) > MOVED_MM else None


def _glance(moving: Volume, fixed: Volume) -> np.ndarray:
    """The coarse round alone, from the coordinates as they are: quick, and good to a millimetre or two."""
    pair = [_coarse(sitk.Cast(to_sitk(volume), sitk.sitkFloat32), LEVELS_MM[0]) for volume in (fixed, moving)]
    try:
        with single_threaded_sitk():
            start = _as_they_are(pair[0])
            transform = _refined(pair[0], pair[1], start, LEVELS_MM[0], samples=GLANCE_SAMPLES, least_step_mm=0.2)
    except RuntimeError as error:
        raise _failed(moving, fixed, str(error).strip().splitlines()[-1].strip()) from error
    return matrix_of(transform)


def displacement(one: np.ndarray, other: np.ndarray, fixed: Volume) -> float:
    """Mean distance in mm of where two transforms (4, 4) put points in the inner half of a volume."""
    ends = [np.linspace(0.25, 0.75, 5) * (size - 1) for size in fixed.array.shape]
    points = fixed.to_patient(np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3))
    apart = points @ (one - other)[:3, :3].T + (one - other)[:3, 3]
    return float(np.linalg.norm(apart, axis=1).mean())


class _OneThread:
    """How many searches are under way, and how many threads SimpleITK had before the first of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.before = 0


_ONE_THREAD = _OneThread()


@contextmanager
def single_threaded_sitk() -> Iterator[None]:
    """Let SimpleITK use one thread: its metric adds up in the order in which threads finish.

    The number of threads can be set for the whole process only.

    Several threads may be within; the last one that leaves puts the former number back.
    """
    with _ONE_THREAD.lock:
        if _ONE_THREAD.inside == 0:
            _ONE_THREAD.before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        _ONE_THREAD.inside += 1
    try:
        yield
    finally:
        with _ONE_THREAD.lock:
            _ONE_THREAD.inside -= 1
            if _ONE_THREAD.inside == 0:
                sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(_ONE_THREAD.before)


def _search(fixed: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    transform: sitk.Euler3DTransform | None = None
    for voxel_mm in LEVELS_MM:
        coarse = _coarse(fixed, voxel_mm), _coarse(moving, voxel_mm)
        transform = _refined(*coarse, transform or _best_start(*coarse), voxel_mm)
    return transform


def _coarse(image: sitk.Image, voxel_mm: float) -> sitk.Image:
    """The image averaged to about this voxel size; axes that are coarser already stay as they are.

    Not with SimpleITK's Shrink: for even factors it takes its samples half a voxel beside where it says they are.
    """
    return sitk.BinShrink(image, [max(1, round(voxel_mm / spacing)) for spacing in image.GetSpacing()])


def _metric(fixed: sitk.Image, samples: int = SAMPLES) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(sitk.sitkLinear)
    # Drawn at random also where all voxels could be had: samples on the grid itself favour transforms that keep it.
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, samples / fixed.GetNumberOfPixels()), SEED)
    return method


def _best_start(fixed: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    """Of the three starts the one that makes the images most alike."""
    modes = (sitk.CenteredTransformInitializerFilter.GEOMETRY, sitk.CenteredTransformInitializerFilter.MOMENTS)
    centred = [sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), mode) for mode in modes]
    starts = [_as_they_are(fixed), *(sitk.Euler3DTransform(start) for start in centred)]
    return min(starts, key=lambda start: _unlikeness(fixed, moving, start))


def _as_they_are(fixed: sitk.Image) -> sitk.Euler3DTransform:
    """No movement, about the middle of the fixed image."""
    start = sitk.Euler3DTransform()
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([size / 2 for size in fixed.GetSize()]))
    return start


def _unlikeness(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> float:
    method = _metric(fixed)
    method.SetInitialTransform(start, inPlace=False)
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # no sample of one lies within the other
        return math.inf


def _refined(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Euler3DTransform,
    voxel_mm: float,
    *,
    samples: int = SAMPLES,
    least_step_mm: float = LEAST_STEP_MM,
) -> sitk.Euler3DTransform:
    method = _metric(fixed, samples)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=voxel_mm / 2,
        minStep=least_step_mm,
        numberOfIterations=ITERATIONS,
        relaxationFactor=RELAXATION,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return transform


def matrix_of(transform: sitk.Transform) -> np.ndarray:
    """The transform, which turns about its centre, as one (4, 4) matrix."""
    matrix = np.eye(4)
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix[:3, :3] = rotation
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - rotation @ centre
    return matrix


def _plausible(matrix: np.ndarray, moving: Volume, fixed: Volume) -> np.ndarray:
    angle = math.degrees(math.acos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)))
    if angle > MOST_ROTATION_DEG:
        raise _failed(moving, fixed, f"the rotation found is {angle:.0f}°")
    overlap = _overlap(matrix, moving, fixed)
    if overlap < LEAST_OVERLAP:
        raise _failed(moving, fixed, f"only {overlap:.0%} of the volume would be covered")
    return matrix


def _overlap(matrix: np.ndarray, moving: Volume, fixed: Volume) -> float:
    """Share of the fixed grid (at 10 points along each axis) that lies within the moving volume."""
    ends = [np.linspace(0, size - 1, 10) for size in fixed.array.shape]
    index = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    points = fixed.to_patient(index) @ matrix[:3, :3].T + matrix[:3, 3]
    there = (points - moving.affine[:3, 3]) @ np.linalg.inv(moving.affine[:3, :3]).T
    within = ((there >= -0.5) & (there <= np.array(moving.array.shape) - 0.5)).all(axis=1)
    return float(within.mean())


def _failed(moving: Volume, fixed: Volume, reason: str) -> RegistrationFailed:
    return RegistrationFailed(moving_uid=moving.series_instance_uid, fixed_uid=fixed.series_instance_uid, reason=reason)
