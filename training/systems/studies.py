"""A published liver system on whole CTs, slice by slice at its own size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomio.volume import Volume
from training.evaluate.predict import Predict, masks, predict_item
from training.evaluate.studies import Mask, Segment
from training.experiment import System


def by_slices(system: System, predict: Predict, threshold: float = 0.5) -> Segment:
    """Liver with tumours, and tumours, as the system outlines them; classes background, liver, tumour as in LiTS.

    The volume must be axial, rows to the back and columns to the patient's left, as LiTS and CHAOS are read.
    """

    def segment(volume: Volume) -> tuple[Mask, Mask]:
        liver, tumour = np.zeros(volume.array.shape, bool), np.zeros(volume.array.shape, bool)
        for index, plane in enumerate(volume.array):
            found = masks(system, predict_item(system, predict, _fitted(plane, system.size)[None]), threshold)
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
