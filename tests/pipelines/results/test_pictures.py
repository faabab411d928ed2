"""Pictures: outlines as the legend names them, the patient's sides, which series and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dicomio.results.codes import Code
from dicomio.volumes.volume import SourceImage, Volume
from pipelines.findings import Findings, Label, Region
from pipelines.phantoms.dicom import write_phantom
from pipelines.results import pictures as overlay
from pipelines.results.pictures import _draw_outlines, _font, _outlined_text, _position, _sides, draw_slice, key_slices

CODE = Code("108369006", "SCT", "Neoplasm")
EDEMA = Label(1, "edema", CODE, CODE, (96, 200, 96))
CORE = Label(2, "non-enhancing core", CODE, CODE, (64, 128, 255))
ENHANCING = Label(3, "enhancing", CODE, CODE, (230, 48, 48))
SIDE = 128

AXIAL = np.array([[0, 0, 0.9, -58], [0, 0.9, 0, -58], [5.0, 0, 0, -30], [0, 0, 0, 1]])
MIRRORED = AXIAL * [1, 1, -1, 1]
CORONAL = np.array([[0, 0, 0.9, -58], [-5.0, 0, 0, 80], [0, -0.9, 0, 58], [0, 0, 0, 1]])


def disc(radius: float, row: float = 64, column: float = 64) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - row, columns - column) < radius


def findings(
    segmentation: np.ndarray, *regions: Region, affine: np.ndarray = AXIAL, path: Path = Path("/nowhere")
) -> Findings:
    sources = (SourceImage("1.2", "1.3", path, None),) * len(segmentation)
    volume = Volume(np.full(segmentation.shape, 10, np.int16), affine, "1.4", "MR", "1.5", sources)
    labels = (EDEMA, CORE, ENHANCING)
    return Findings(volume, segmentation, np.zeros(segmentation.shape, np.uint16), labels, regions)


def ring() -> np.ndarray:
    """An enhancing ring round a core that does not enhance, in edema."""
    segmentation = np.zeros((3, SIDE, SIDE), np.uint8)
    for label, radius in ((EDEMA, 50), (ENHANCING, 36), (CORE, 20)):
        segmentation[1][disc(radius)] = label.number
    return segmentation


def canvas_of(found: Findings, index: int = 1) -> tuple[np.ndarray, list[Label]]:
    canvas = np.zeros((4 * SIDE, 4 * SIDE, 3), np.uint8)
    return canvas, _draw_outlines(canvas, found, index)


def drawn_at(canvas: np.ndarray, label: Label) -> np.ndarray:
    """Distances from the centre, in voxels, at which a label's colour is."""
    rows, columns = np.nonzero((canvas == label.colour).all(axis=2))
    return np.hypot(rows - canvas.shape[0] / 2, columns - canvas.shape[1] / 2) / 4


@pytest.mark.parametrize(("label", "radius"), [(EDEMA, 50), (ENHANCING, 36), (CORE, 20)])
def test_each_segment_is_drawn_in_its_colour_where_it_is(label, radius):
    """Not the core's outline round the ring that encloses it, under the ring's own."""
    canvas, named = canvas_of(findings(ring()))
    distances = drawn_at(canvas, label)
    assert distances.size
    assert np.abs(distances - radius).max() < 1.5
    assert named == [EDEMA, CORE, ENHANCING]


def test_the_legend_names_what_is_seen_and_nothing_else():
    segmentation = ring()
    segmentation[1][disc(20)] = ENHANCING.number
    _, named = canvas_of(findings(segmentation))
    assert named == [EDEMA, ENHANCING]
    _, named = canvas_of(findings(segmentation), 0)
    assert named == []


def test_an_outline_that_another_one_covers_is_not_named():
    segmentation = np.zeros((3, SIDE, SIDE), np.uint8)
    segmentation[1][disc(20)] = ENHANCING.number
    organ = Region(EDEMA, "Organ", 1.0, (0, 0, 0), (1, 1, 1), holds=(ENHANCING.number,))  # holds it, and no more
    canvas, named = canvas_of(findings(segmentation, organ))
    colours = {tuple(colour) for colour in canvas.reshape(-1, 3)} - {(0, 0, 0)}
    assert colours == {label.colour for label in named}
    assert len(named) == 1


def test_an_organ_goes_round_what_it_holds_at_its_border():
    segmentation = np.zeros((3, SIDE, SIDE), np.uint8)
    segmentation[1][disc(40)] = EDEMA.number
    segmentation[1][disc(10, column=26) & disc(40)] = ENHANCING.number
    organ = Region(EDEMA, "Organ", 1.0, (0, 0, 0), (1, 1, 1), holds=(ENHANCING.number,))
    canvas, _ = canvas_of(findings(segmentation, organ))
    assert np.abs(drawn_at(canvas, EDEMA) - 40).max() < 1.5


@pytest.mark.parametrize(
    ("affine", "left_to_right", "top_to_bottom"),
    [(AXIAL, ("R", "L"), ("A", "P")), (MIRRORED, ("L", "R"), ("A", "P")), (CORONAL, ("R", "L"), ("H", "F"))],
)
def test_the_patients_sides_are_named_by_geometry(affine, left_to_right, top_to_bottom):
    assert _sides(affine[:3, 2]) == left_to_right
    assert _sides(affine[:3, 1]) == top_to_bottom


@pytest.mark.parametrize(("affine", "left", "right"), [(AXIAL, "R", "L"), (MIRRORED, "L", "R")])
def test_they_stand_at_their_edges(affine, left, right):
    picture = draw_slice(findings(np.zeros((3, SIDE, SIDE), np.uint8), affine=affine), 1, [], (10, 400))
    wanted = Image.fromarray(np.zeros_like(picture))
    font = _font(512 // 24)
    _outlined_text(ImageDraw.Draw(wanted), (8, 256), left, overlay.WHITE, font, anchor="lm")
    _outlined_text(ImageDraw.Draw(wanted), (504, 256), right, overlay.WHITE, font, anchor="rm")
    np.testing.assert_array_equal(picture[200:312], np.asarray(wanted)[200:312])


def test_a_slice_has_number_and_place():
    found = findings(np.zeros((24, SIDE, SIDE), np.uint8))
    assert _position(found.volume, 11) == "Slice 12 of 24, z 25.0 mm"
    assert _position(findings(np.zeros((24, SIDE, SIDE), np.uint8), affine=CORONAL).volume, 0) == (
        "Slice 1 of 24, y 80.0 mm"
    )


def test_the_series_is_named_by_its_number_and_not_by_what_somebody_typed(tmp_path, monkeypatch):
    write_phantom("brain-mr", tmp_path / "dicom", slices=12, matrix=64)
    image = next((tmp_path / "dicom").rglob("*.dcm"))
    said: list[list[str]] = []
    monkeypatch.setattr(overlay, "_write_words", lambda shown, captions, drawn: said.append(captions))
    key_slices(findings(ring(), path=image))
    key_slices(findings(ring()))
    assert said[0][1].startswith("MR series ")
    assert said[0][1].removeprefix("MR series ").isdigit()
    assert said[1][1] == "MR"
