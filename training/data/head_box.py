"""Where the head is on a picture from the web: without margins, captions, frames and scale bars.

The layout of a picture tells what it is of: in the yes/no set, width, height and margins alone tell tumour with an AUC
of 0.81 (random forest, five folds), the shape of the head's box with 0.56.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

Box = tuple[int, int, int, int]

_SIDE = 128  # of the copy that is looked at: captions are thinner than _STROKE there
_STROKE = 5
_DARK = 0.12  # of the brightest hundredth
_WHITE, _FRAME = 220, 0.85  # a row or column of which so much is white is a frame's
_SMALLEST = 0.1  # of the picture


def head_box(grey: Image.Image) -> Box:
    """(left, top, right, bottom) of the largest thing that is not dark; the whole picture where there is none.

    Args:
        grey: Of mode L.
    """
    width, height = grey.size
    scale = _SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(grey.resize(size, Image.Resampling.BOX), np.float32)
    bright = small > _DARK * np.percentile(small, 99)
    white = small > _WHITE
    bright[white.mean(axis=1) > _FRAME] = False
    bright[:, white.mean(axis=0) > _FRAME] = False
    parts, count = ndimage.label(ndimage.binary_opening(bright, np.ones((_STROKE, _STROKE))))
    if not count:
        return 0, 0, width, height
    rows, columns = ndimage.find_objects(parts)[int(np.argmax(np.bincount(parts.ravel())[1:]))]
    box = [round(each / scale) for each in (columns.start, rows.start, columns.stop, rows.stop)]
    left, top, right, bottom = box[0], box[1], min(box[2], width), min(box[3], height)
    if (right - left) * (bottom - top) < _SMALLEST * width * height:
        return 0, 0, width, height
    return left, top, right, bottom
