"""The frames of a parsed file: position in the patient, stored form of the pixels, and their meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomio.files.parse_errors import parse_errors_of
from dicomio.files.part10 import PIXEL_DATA, Part10, PixelElement
from dicomio.files.values import Plain, integer, number, numbers, plain_value, text, texts
from dicomio.volumes.decoders import Encoded
from dicomio.volumes.functional_groups import PER_FRAME, PLACE, SHARED, group_values, items
from dicomio.volumes.gate import VARYING
from dicomio.volumes.geometry import Placement
from dicomio.volumes.pixels import PixelError, StoredPixels
from dicomio.volumes.refusals.content import NotHounsfield, UnreadableNumbers
from dicomio.volumes.refusals.images import (
    MissingTags,
    NoPixelData,
    UndecodablePixels,
    UnsupportedMultiframe,
    UnsupportedPixels,
)
from dicomio.volumes.units import HOUNSFIELD, units_of

_VECTORS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
_FORM = ("Rows", "Columns", "BitsAllocated", "PixelRepresentation", "PhotometricInterpretation")
_MEASURES = ("RescaleSlope", "RescaleIntercept", "GantryDetectorTilt")  # may be missing, but not invalid
_NAMES = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
_OTHERS = (
    "FrameOfReferenceUID",
    "GantryDetectorTilt",
    "HighBit",
    "BitsStored",
    "Modality",
    "NumberOfFrames",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "SamplesPerPixel",
    "SliceThickness",
    "SpacingBetweenSlices",
)
_WANTED = tuple(dict.fromkeys((*_VECTORS, *_FORM, *_NAMES, *_OTHERS, *VARYING)))
_ELSCINT = 0x07A1  # group of Elscint (later Philips) for pixels in a private compression
GREY = ("MONOCHROME1", "MONOCHROME2")

Values = Mapping[str, Plain | None]


@dataclass(frozen=True, slots=True)
class Frame:
    """One two-dimensional image that may become a slice.

    Attributes:
        pixels: Where its file keeps the pixels; shared by the frames of a file.
        index: Which frame of the file it is, from 0.
        multiframe: The file is an enhanced object, also if it has one frame.
        place: Where it lies.
        slope: Stored value -> value in the unit of the modality: times slope ...
        intercept: ... plus intercept.
        padding: Smallest and largest stored value that mean "no pixel here", None if there are none.
        inverted: MONOCHROME1: the smallest value is white.
    """

    pixels: StoredPixels
    index: int
    multiframe: bool
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    modality: str
    place: Placement
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    inverted: bool


def frames_of(file: Part10) -> list[Frame]:
    """All frames of a classic or enhanced image.

    Raises:
        NoPixelData: It is not an image.
        MissingTags: What places or measures an image is missing from it; the counts are of its frames.
        UnsupportedPixels: They are not single grey values.
        UnsupportedMultiframe: Its frames have no place.
        UndecodablePixels: They are not all there, or compressed in an unknown way.
        NotHounsfield: A CT in other units.
        UnreadableHeader: Anything else that keeps the header from being read.
    """
    with parse_errors_of(file.path):
        return _frames(file)


def stored_pixels(file: Part10) -> StoredPixels:
    """The pixels of a file with grey values, wherever these lie in space.

    Raises:
        NoPixelData, UnsupportedPixels, UndecodablePixels.
    """
    top = {keyword: plain_value(file.dataset, keyword) for keyword in _WANTED}
    series_uid = text(top["SeriesInstanceUID"])
    if file.pixels is None:
        raise _without_pixels(file, series_uid, text(top["SOPInstanceUID"]))
    if (samples := integer(plain_value(file.dataset, "SamplesPerPixel")) or 1) != 1:
        raise UnsupportedPixels(series_uid=series_uid, reason=f"{samples} samples per pixel")
    return _stored_pixels(file, file.pixels, top)


def _frames(file: Part10) -> list[Frame]:
    top = {keyword: plain_value(file.dataset, keyword) for keyword in _WANTED}
    series_uid = text(top["SeriesInstanceUID"])
    if file.pixels is None:
        raise _without_pixels(file, series_uid, text(top["SOPInstanceUID"]))
    per_frame = [{**top, **values} for values in _frame_values(file.dataset, top)]
    _check_tags(series_uid, per_frame)
    _check_kind(file, top)
    _check_units(series_uid, per_frame)
    pixels = _stored_pixels(file, file.pixels, top)
    enhanced = _is_enhanced(file.dataset)
    return [_frame(pixels, index, values, enhanced=enhanced) for index, values in enumerate(per_frame)]


def _without_pixels(file: Part10, series_uid: str, sop_uid: str) -> NoPixelData | UndecodablePixels:
    if "ELSCINT1" not in file.dataset.private_creators(_ELSCINT):
        return NoPixelData(series_uid=series_uid, without=1, total=1)
    reason = "its pixels are compressed in a private way of Elscint and Philips (ELSCINT1, PMSCT_RLE1)"
    return UndecodablePixels(series_uid=series_uid, sop_instance_uid=sop_uid, path=file.path, reason=reason)


def _is_enhanced(dataset: Dataset) -> bool:
    return SHARED in dataset or PER_FRAME in dataset


def _frame_values(dataset: Dataset, top: Values) -> Iterator[dict[str, Plain]]:
    """Values of each frame beyond the top level; one empty set for a classic image."""
    count = integer(top["NumberOfFrames"]) or 1
    series_uid = text(top["SeriesInstanceUID"])
    if not _is_enhanced(dataset):
        if count != 1:
            reason = f"{count} frames, and no functional groups that place them"
            raise UnsupportedMultiframe(series_uid=series_uid, reason=reason)
        yield {}
        return
    groups = items(dataset, PER_FRAME)
    if len(groups) != count:
        reason = f"{count} frames, but functional groups for {len(groups)}"
        raise UnsupportedMultiframe(series_uid=series_uid, reason=reason)
    shared = [group_values(group, PLACE) for group in items(dataset, SHARED)]
    for group in groups:
        yield {**(shared[0] if shared else {}), **group_values(group, PLACE)}


def _check_tags(series_uid: str, per_frame: list[dict[str, Plain | None]]) -> None:
    missing: dict[str, None] = {}
    without = 0
    for values in per_frame:
        lacking = [keyword for keyword, count in _VECTORS.items() if len(numbers(values[keyword])) != count]
        unreadable = [keyword for keyword in (*lacking, *_MEASURES) if _is_no_number(values[keyword])]
        if unreadable:
            _refuse_numbers(series_uid, unreadable, per_frame)
        lacking += [keyword for keyword in (*_FORM, *_NAMES) if not texts(values[keyword])]
        lacking += [keyword for keyword in ("Rows", "Columns") if number(values[keyword]) == 0]
        # Without it the values are no Hounsfield units, which cannot be seen in the image.
        lacking += ["RescaleIntercept"] * (values["Modality"] == "CT" and number(values["RescaleIntercept"]) is None)
        without += bool(lacking)
        missing.update(dict.fromkeys(lacking))
    if missing:
        raise MissingTags(series_uid=series_uid, keywords=tuple(missing), without=without, total=len(per_frame))


def _is_no_number(value: Plain | None) -> bool:
    return any(isinstance(part, str) for part in (value if isinstance(value, list) else [value]))


def _refuse_numbers(series_uid: str, keywords: list[str], per_frame: list[dict[str, Plain | None]]) -> NoReturn:
    bad = [values[keyword] for values in per_frame for keyword in keywords[:1] if _is_no_number(values[keyword])]
    raise UnreadableNumbers(
        series_uid=series_uid,
        keywords=tuple(keywords),
        without=len(bad),
        total=len(per_frame),
        example="\\".join(texts(bad[0]))[:64],
    )


def _check_units(series_uid: str, per_frame: list[dict[str, Plain | None]]) -> None:
    """Refuse CT in other units than Hounsfield: networks were trained on these."""
    for values in per_frame if per_frame[0]["Modality"] == "CT" else ():
        unit = units_of("CT", text(values["RescaleType"]), texts(values["ImageType"]))
        if unit.name != HOUNSFIELD:
            raise NotHounsfield(series_uid=series_uid, units=unit.name, meaning=unit.meaning, because=unit.because)


def _check_kind(file: Part10, top: Values) -> None:
    """Refuse what is not one grey value per pixel, linearly related to what it means."""
    kind = text(top["PhotometricInterpretation"])
    bits = integer(top["BitsAllocated"])
    reason = ""
    if file.pixels is None or file.pixels.tag != PIXEL_DATA:
        reason = "they are floating point numbers, computed from images"
    elif kind not in GREY or (integer(top["SamplesPerPixel"]) or 1) != 1:
        reason = f"they are in colour ({kind})"
    elif bits not in (8, 16, 32):
        reason = f"they have {bits} bits each"
    elif items(file.dataset, "ModalityLUTSequence"):
        reason = "their values go through a table (Modality LUT)"
    if reason:
        raise UnsupportedPixels(series_uid=text(top["SeriesInstanceUID"]), reason=reason)


def _stored_pixels(file: Part10, element: PixelElement, top: Values) -> StoredPixels:
    allocated = integer(top["BitsAllocated"]) or 16
    stored = min(integer(top["BitsStored"]) or allocated, allocated)
    encoded = Encoded(
        shape=(integer(top["Rows"]) or 0, integer(top["Columns"]) or 0),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=integer(top["PixelRepresentation"]) == 1,
        transfer_syntax=str(file.dataset.file_meta.get("TransferSyntaxUID") or _implied_syntax(file.dataset)),
    )
    frames = integer(top["NumberOfFrames"]) or 1
    high_bit = integer(top["HighBit"]) or stored - 1
    pixels = StoredPixels(file.path, element, file.inflated, encoded, high_bit, frames)
    try:
        pixels.check()
    except PixelError as error:
        series_uid, sop_uid = text(top["SeriesInstanceUID"]), text(top["SOPInstanceUID"])
        raise UndecodablePixels(
            series_uid=series_uid, sop_instance_uid=sop_uid, path=file.path, reason=str(error)
        ) from error
    return pixels


def _implied_syntax(dataset: FileDataset) -> str:
    """The transfer syntax that pydicom guessed from the first element, where the file does not name it."""
    implicit, little = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _frame(pixels: StoredPixels, index: int, values: Values, *, enhanced: bool) -> Frame:
    slope, intercept = number(values["RescaleSlope"]), number(values["RescaleIntercept"])
    return Frame(
        pixels=pixels,
        index=index,
        multiframe=enhanced,
        sop_class_uid=text(values["SOPClassUID"]),
        sop_instance_uid=text(values["SOPInstanceUID"]),
        series_uid=text(values["SeriesInstanceUID"]),
        modality=text(values["Modality"]),
        place=_placement(pixels, index, values, enhanced=enhanced),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        padding=_padding(values, pixels.encoded),
        inverted=values["PhotometricInterpretation"] == "MONOCHROME1",
    )


def _placement(pixels: StoredPixels, index: int, values: Values, *, enhanced: bool) -> Placement:
    name = text(values["InstanceNumber"]) or text(values["SOPInstanceUID"])
    return Placement(
        name=f"{name} frame {index + 1}" if enhanced else name,
        sop_instance_uid=text(values["SOPInstanceUID"]),
        frame_of_reference_uid=text(values["FrameOfReferenceUID"]),
        position=cast("tuple[float, float, float]", numbers(values["ImagePositionPatient"])),
        orientation=cast("tuple[float, float, float, float, float, float]", numbers(values["ImageOrientationPatient"])),
        spacing=cast("tuple[float, float]", numbers(values["PixelSpacing"])),
        shape=pixels.encoded.shape,
        thickness=number(values["SpacingBetweenSlices"]) or number(values["SliceThickness"]),
        tilt_deg=number(values["GantryDetectorTilt"]) or 0.0,
        image_type=texts(values["ImageType"]),
        varying={keyword: text(values[keyword]) for keyword in VARYING},
    )


def _padding(values: Values, encoded: Encoded) -> tuple[int, int] | None:
    """PixelPaddingValue and PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2), whatever sign their VR was written with."""
    first, last = integer(values["PixelPaddingValue"]), integer(values["PixelPaddingRangeLimit"])
    if first is None:
        return None
    ends = sorted(_as_stored(end, encoded) for end in (first, first if last is None else last))
    return ends[0], ends[1]


def _as_stored(value: int, encoded: Encoded) -> int:
    size = 1 << encoded.bits_allocated
    value %= size
    return value - size if encoded.signed and value >= size // 2 else value
