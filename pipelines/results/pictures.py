"""Pictures of what was found: key slices with outlines, for people and for PACS viewers that cannot show a SEG."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from dicomio.errors import BadInput
from dicomio.files.headers import read_header
from dicomio.volumes.masks import extents

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dicomio.volumes.volume import Volume
    from pipelines.findings import Findings, Label, Region

CT_WINDOW = (40.0, 400.0)
"""Level and width in HU of the usual abdominal soft tissue window."""

SMALLEST_SIDE = 512
"""Height or width in pixels of a picture, whichever is less: outlines stay thin and the legend readable."""

TILE = 384
"""The same for a picture in the overview."""

WHITE = (255, 255, 255)

VISIBLE = 8
"""Pixels of an outline that must be left of it for the legend to name it."""

NOTICE = "Scanward - research use only, not for diagnosis"


@dataclass(frozen=True, eq=False)
class KeySlice:
    """One picture: `rgb` (rows, columns, 3) uint8 of the source slice `index`, and what it shows."""

    index: int
    rgb: NDArray[np.uint8]
    caption: str


def key_slices(findings: Findings, *, most: int = 6) -> tuple[KeySlice, ...]:
    """The slices worth showing: the largest section of each large lesion and each organ; else the middle one."""
    window, series = grey_window(findings.volume), series_shown(findings.volume)
    wanted: dict[int, list[str]] = {}
    parts_of_lesions = any(not lesion.outlined for lesion in findings.lesions)
    organs = [region for region in findings.regions if region.component is None and not parts_of_lesions]
    for region in (*findings.lesions[:most], *organs):
        wanted.setdefault(region.slices[1], []).append(_caption(region))
    if not wanted:
        wanted[findings.volume.array.shape[0] // 2] = ["No lesion found"]
    return tuple(
        KeySlice(index, draw_slice(findings, index, [series, *captions], window), "; ".join(captions))
        for index, captions in sorted(wanted.items())
    )


def _caption(region: Region) -> str:
    if region.diameters is None:
        return f"{region.tracking_id}: {region.volume_ml:.1f} ml"
    return f"{region.tracking_id}: {region.volume_ml:.1f} ml, {region.diameters.axial_mm:.0f} mm"


def grey_window(volume: Volume) -> tuple[float, float]:
    """Lowest and highest value to show: the soft tissue window for CT, percentiles of the tissue for MR."""
    if volume.modality == "CT":
        level, width = CT_WINDOW
        return level - width / 2, level + width / 2
    sample = volume.array[:: max(1, volume.array.shape[0] // 16), ::2, ::2].astype(np.float32)
    tissue = sample[sample > np.percentile(sample, 50)]
    if tissue.size == 0:
        return float(sample.min()), float(sample.max()) + 1.0
    return float(sample.min()), float(np.percentile(tissue, 99.5)) + 1e-6


def series_shown(volume: Volume) -> str:
    """Which series a picture is of, as a workstation lists it: nothing that somebody typed, which may be a name."""
    try:
        number = read_header(volume.sources[0].path).tags.get("SeriesNumber")
    except (BadInput, OSError, IndexError):
        number = None
    return f"{volume.modality} series {number}" if number not in {None, ""} else volume.modality


def draw_slice(
    findings: Findings, index: int, captions: list[str], window: tuple[float, float], *, side: int = SMALLEST_SIDE
) -> NDArray[np.uint8]:
    """Grey image of a source slice with outlines, what they are, where the slice lies, its sides, and the notice."""
    volume = findings.volume
    low, high = window
    grey = np.clip((volume.array[index].astype(np.float32) - low) / (high - low), 0.0, 1.0)
    size = _shown_size(grey.shape, volume.spacing[1:], side)
    picture = Image.fromarray((grey * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    canvas = np.asarray(picture).copy()
    drawn = _draw_outlines(canvas, findings, index)
    shown = Image.fromarray(canvas)
    _write_words(shown, [f"{_position(volume, index)}", *captions], drawn)
    _write_sides(shown, volume.affine)
    return np.asarray(shown)


def _draw_outlines(canvas: NDArray[np.uint8], findings: Findings, index: int) -> list[Label]:
    """Draws round each segment and what it holds, the larger ones first; returns those of which something is seen."""
    size = (canvas.shape[1], canvas.shape[0])
    shapes = [(label, _filled(findings, index, label)) for label in findings.labels]
    owner = np.zeros(canvas.shape[:2], np.uint8)
    for label, mask in sorted(shapes, key=lambda shape: int(shape[1].sum()), reverse=True):
        outline = _outline(mask, size)
        canvas[outline], owner[outline] = label.colour, label.number
    seen = np.bincount(owner.ravel(), minlength=256)
    return [label for label in findings.labels if seen[label.number] >= VISIBLE]


def _filled(findings: Findings, index: int, label: Label) -> NDArray[np.bool_]:
    """A segment with what it holds, and without holes: a ring is drawn once, and what lies in it by its own outline."""
    holds = {number for region in findings.regions if region.label == label for number in region.holds}
    mask: NDArray[np.bool_] = np.isin(findings.segmentation[index], [label.number, *holds])
    touched = _window(mask)
    mask[touched] = ndimage.binary_fill_holes(mask[touched])
    return mask


def _shown_size(shape: tuple[int, ...], spacing: tuple[float, float], side: int) -> tuple[int, int]:
    """Width and height in pixels such that pixels are square and the smaller side is `side`."""
    height, width = shape[0] * spacing[0], shape[1] * spacing[1]
    scale = side / min(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _outline(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    if not mask.any():
        return np.zeros((size[1], size[0]), dtype=bool)
    soft = Image.fromarray((mask * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    outline = np.asarray(soft) > 127
    window = _window(outline)
    outline[window] &= ~ndimage.binary_erosion(outline[window], iterations=2)
    return outline


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns that a mask touches (all where it is empty): what is done in there comes out as on the whole."""
    return extents(mask[None])[1:] if mask.any() else (slice(None), slice(None))


def _position(volume: Volume, index: int) -> str:
    """Number of a slice, and where its centre lies along the patient's axis that the slices follow most, LPS in mm."""
    slices, rows, columns = volume.array.shape
    axis = int(np.argmax(np.abs(volume.affine[:3, 0])))
    centre = volume.to_patient(np.array([[index, (rows - 1) / 2, (columns - 1) / 2]]))[0]
    return f"Slice {index + 1} of {slices}, {'xyz'[axis]} {centre[axis]:.1f} mm"


def _write_words(shown: Image.Image, captions: list[str], drawn: list[Label]) -> None:
    """Captions above; below, each outline's meaning in the colour that it has, and the notice."""
    draw = ImageDraw.Draw(shown)
    size = max(12, shown.height // 42)
    font = _font(size)
    line = int(size * 1.25)
    for number, text in enumerate(captions):
        _outlined_text(draw, (8, 6 + number * line), text, WHITE, font)
    for number, label in enumerate(drawn):
        _outlined_text(draw, (8, shown.height - (len(drawn) + 1 - number) * line - 6), label.name, label.colour, font)
    _outlined_text(draw, (8, shown.height - line - 6), NOTICE, (255, 215, 0), font)


def _write_sides(shown: Image.Image, affine: NDArray[np.float64]) -> None:
    """What lies at each edge, as Patient Orientation (0020,0020) calls it: R and L of an axial slice, A and P."""
    draw = ImageDraw.Draw(shown)
    font = _font(max(16, shown.height // 24))
    (left, right), (top, bottom) = (_sides(affine[:3, axis]) for axis in (2, 1))
    width, height = shown.size
    for letter, at, anchor in (
        (left, (8, height // 2), "lm"),
        (right, (width - 8, height // 2), "rm"),
        (top, (width // 2, 8), "ma"),
        (bottom, (width // 2, height - 2 * max(12, height // 42)), "md"),  # above the notice
    ):
        _outlined_text(draw, at, letter, WHITE, font, anchor=anchor)


def _sides(direction: NDArray[np.float64]) -> tuple[str, str]:
    """What lies where an axis of the picture begins and where it ends: the patient's axis that it follows most."""
    axis = int(np.argmax(np.abs(direction)))
    towards, away = ("LR", "PA", "HF")[axis]  # LPS: x grows to the left, y to the back, z to the head
    return (away, towards) if direction[axis] > 0 else (towards, away)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; it unpacks the file anew each time it is asked."""
    return ImageFont.load_default(size=size)


def _outlined_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    colour: tuple[int, ...],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    *,
    anchor: str = "la",
) -> None:
    draw.text(at, text, fill=colour, font=font, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def overview(findings: Findings, *, columns: int = 3, tiles: int = 9) -> NDArray[np.uint8]:
    """Montage (rows, columns, 3) of evenly spread slices, or of those through the lesions where there are some."""
    window, series = grey_window(findings.volume), series_shown(findings.volume)
    box = findings.occupied
    touched = box[0].start + np.flatnonzero(findings.segmentation[box].any(axis=(1, 2)))
    span = touched if touched.size else np.arange(findings.volume.array.shape[0])
    chosen = np.unique(span[np.linspace(0, span.size - 1, min(tiles, span.size)).astype(int)])
    pictures = [Image.fromarray(draw_slice(findings, int(k), [series], window, side=TILE)) for k in chosen]
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, ((number % columns) * width, (number // columns) * height))
    return np.asarray(sheet)


def save_pictures(findings: Findings, keys: tuple[KeySlice, ...], folder: Path) -> tuple[Path, ...]:
    """Writes `overview.png` and `slice-NNN.png` for each key slice; returns their paths."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pictures = {"overview.png": overview(findings)} | {f"slice-{key.index + 1:03d}.png": key.rgb for key in keys}
    paths = []
    for name, rgb in pictures.items():
        path = folder / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # one that lay there keeps its mode
            Image.fromarray(rgb).save(file, "PNG", compress_level=1)  # a fifth less time than 3 for a tenth more size
        paths.append(path)
    return tuple(paths)
