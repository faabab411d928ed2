"""Key slices with the result drawn in, as Secondary Capture, for the many viewers that show no segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from dicomio.results.attributes import base_attributes, inherit_from_source, local_time, lossy_compression
from dicomio.results.valid_values import study_uid_of, valid_text, valid_uid, valid_value

if TYPE_CHECKING:
    from dicomio.volumes.volume import SourceImage, Volume

_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))  # towards smaller and larger x, y, z (LPS)


@dataclass(frozen=True, eq=False)
class KeyImage:
    """One picture.

    Attributes:
        pixels: Red, green, blue (rows, columns, 3), uint8, findings drawn in; no patient's name.
        sop_instance_uid: Its own UID; derive it.
        sources: The images (or frames) that it shows.
        patient_orientation: Where columns and rows run to, such as ("L", "P"); None if it is not a slice.
        comment: Image Comments, shown by many viewers.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    sop_instance_uid: str
    sources: tuple[SourceImage, ...]
    patient_orientation: tuple[str, str] | None = None
    comment: str = ""


def patient_orientation(volume: Volume) -> tuple[str, str]:
    """Patient Orientation of a volume's slices: the main direction of increasing columns, then of increasing rows."""
    return _letter(volume.affine[:3, 2]), _letter(volume.affine[:3, 1])


def _letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.abs(direction).argmax())
    return _LETTERS[axis][int(direction[axis] > 0)]


def encode_key_images(
    images: Sequence[KeyImage],
    *,
    header: Dataset,
    series_instance_uid: str,
    series_number: int,
    series_description: str,
    created: datetime,
    body_part: str,
) -> list[Dataset]:
    """Encodes a series of single-frame, lossless colour Secondary Capture images. Same inputs, same bytes.

    Args:
        images: In reading order.
        header: Any image of the source series, without pixels.
        series_instance_uid: Of the new series.
        series_number: Series Number; fixed.
        series_description: At most 64 characters.
        created: Date and time of the content.
        body_part: Body Part Examined ("BRAIN", "LIVER"); scanners leave it empty, and without it Laterality is missed.
    """
    attributes = base_attributes(series_number, series_description, created)
    captures = []
    for number, image in enumerate(images, start=1):
        capture = _capture(image, number, header, series_instance_uid, attributes)
        _describe(capture, image, header, created)
        capture.BodyPartExamined = body_part
        captures.append(inherit_from_source(capture, header, created))
    return captures


def _capture(image: KeyImage, number: int, header: Dataset, series_uid: str, attributes: dict[str, Any]) -> SCImage:
    capture = SCImage(
        pixel_array=np.ascontiguousarray(image.pixels),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=image.patient_orientation or ("L", "P"),
        study_instance_uid=study_uid_of(header),
        series_instance_uid=series_uid,
        sop_instance_uid=image.sop_instance_uid,
        instance_number=number,
        **attributes,
    )
    if image.patient_orientation is None:
        capture.PatientOrientation = None
    return capture


def _describe(capture: Dataset, image: KeyImage, header: Dataset, created: datetime) -> None:
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.ConversionType = "WSD"  # made on a workstation
    created = local_time(created)
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = DA(created.date()), TM(created.time())
    capture.DerivationDescription = "Result of an algorithm drawn on the image"
    # Whether the picture names the patient: we add no name, but the source may have one.
    capture.BurnedInAnnotation = valid_value(header, "BurnedInAnnotation") or "NO"
    for keyword, value in lossy_compression(header):
        setattr(capture, keyword, value)
    if image.comment:
        capture.ImageComments = valid_text(image.comment)
    capture.SourceImageSequence = [_reference(source) for source in image.sources]


def _reference(source: SourceImage) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = valid_uid(source.sop_class_uid)
    item.ReferencedSOPInstanceUID = valid_uid(source.sop_instance_uid)
    if source.frame is not None:
        item.ReferencedFrameNumber = source.frame
    return item
