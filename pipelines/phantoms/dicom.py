"""Phantoms as DICOM studies: classic MR and CT Image Storage, one file per slice, with the truth beside."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from dicomio.results.uids import derived_uid
from pipelines.phantoms.phantom import Phantom, PhantomOptions, make_phantom

DEFAULTS = {
    "brain-mr": PhantomOptions(slices=24, matrix=256, lesions=1, lesion_diameters_mm=(40.0,), seed=1, glioma=True),
    "abdomen-ct": PhantomOptions(slices=60, matrix=512, lesions=2, lesion_diameters_mm=(34.0, 24.0), seed=1),
}
WHEN = "20260105"  # fixed: the same options give the same bytes
UNITS = {"brain-mr": "PHANTOM^BRAIN", "abdomen-ct": "PHANTOM^ABDOMEN"}


@dataclass(frozen=True, eq=False)
class PhantomTruth:
    """What is truly there.

    Attributes:
        kind: `brain-mr` or `abdomen-ct`.
        study_instance_uid: The study.
        series_instance_uid: The series whose grid the masks have (the FLAIR, the CT).
        images: Number of DICOM files, all series.
        spacing: (slice, row, column) in mm.
        lesion_volumes_ml: Volume of each lesion, in the order in which they are numbered.
        masks: `lesion`, and `liver` (with its lesions) or the parts of a glioma; bool, (slices, rows, columns), slices
            upwards.
    """

    kind: str
    study_instance_uid: str
    series_instance_uid: str
    images: int
    spacing: tuple[float, float, float]
    lesion_volumes_ml: tuple[float, ...]
    masks: dict[str, NDArray[np.bool_]]

    def save(self, folder: Path) -> None:
        """Writes `truth.json` and `truth.npz` (the masks, packed to bits along the columns)."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        plain = asdict(replace(self, masks={}))
        plain["masks"] = {name: list(mask.shape) for name, mask in self.masks.items()}
        _private(folder / "truth.json", json.dumps(plain, indent=1).encode())
        packed = {name: np.packbits(mask, axis=-1) for name, mask in self.masks.items()}
        np.savez_compressed(folder / "truth.npz", allow_pickle=False, **packed)
        (folder / "truth.npz").chmod(0o600)

    @classmethod
    def load(cls, folder: Path) -> PhantomTruth:
        """Reads what `save` wrote."""
        plain = json.loads((folder / "truth.json").read_text())
        with np.load(folder / "truth.npz", allow_pickle=False) as packed:
            masks = {
                name: np.unpackbits(packed[name], axis=-1, count=shape[-1]).astype(bool)
                for name, shape in plain["masks"].items()
            }
        plain.update(masks=masks, spacing=tuple(plain["spacing"]), lesion_volumes_ml=tuple(plain["lesion_volumes_ml"]))
        return cls(**plain)


def write_phantom(
    kind: str,
    out: Path,
    *,
    slices: int | None = None,
    matrix: int | None = None,
    slice_mm: float | None = None,
    pixel_mm: float | None = None,
    lesions: int | None = None,
    lesion_diameters_mm: tuple[float, ...] | None = None,
    seed: int = 1,
    glioma: bool | None = None,
) -> PhantomTruth:
    """Writes a study into `out` (a folder per series) and its truth into the sibling folder `truth`.

    Args:
        kind: `brain-mr` (FLAIR, T1, T1 with contrast, T2) or `abdomen-ct` (portal-venous phase).
        out: Folder for the DICOM files.
        slices: See `PhantomOptions`, as the following; by default a study that takes a second or two.
        matrix: Rows and columns.
        slice_mm: Distance of slices.
        pixel_mm: Pixel spacing.
        lesions: Number of lesions.
        lesion_diameters_mm: Their diameters, repeated as needed; empty: drawn at random.
        seed: The same options and seed give the same UIDs and the same pixels.
        glioma: See `PhantomOptions`; False leaves the T2 out, and the parts of the lesions.

    Raises:
        ValueError: Unknown kind.
    """
    if kind not in DEFAULTS:
        raise ValueError(f"expected one of {sorted(DEFAULTS)}, received {kind!r}")
    given: dict[str, Any] = {
        "slices": slices,
        "matrix": matrix,
        "slice_mm": slice_mm,
        "pixel_mm": pixel_mm,
        "lesions": lesions,
        "lesion_diameters_mm": lesion_diameters_mm,
        "glioma": glioma,
    }
    options = replace(DEFAULTS[kind], seed=seed, **{key: value for key, value in given.items() if value is not None})
    study = _Study(make_phantom(kind, options))
    truth = study.write(out)
    truth.save(out.parent / "truth")
    return truth


class _Study:
    """Writes one phantom, slice by slice, so that memory holds the masks but never the images."""

    def __init__(self, phantom: Phantom) -> None:
        self._phantom = phantom
        self._key = ("phantom", phantom.kind, repr(phantom.options))
        self._series = {name: n for n, name in enumerate(phantom.images, 1)} if phantom.images else {"ct": 2}
        self._study = self._study_attributes()

    def write(self, out: Path) -> PhantomTruth:
        """Writes the files, and returns the truth."""
        phantom, matrix = self._phantom, self._phantom.options.matrix
        masks: dict[str, NDArray[np.bool_]] = {}
        voxels = np.zeros(len(phantom.lesions) + 1, np.int64)
        for name in self._series:
            (out / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for index in range(len(phantom)):
            plane = phantom[index]
            voxels += np.bincount(plane.lesions.ravel(), minlength=len(voxels))
            for name, mask in plane.masks.items():
                masks.setdefault(name, np.zeros((len(phantom), matrix, matrix), bool))[index] = mask
            for name, image in plane.images.items():
                _save(self._instance(name, index, image), out / name / f"{name}-{index + 1:04d}.dcm")
        return PhantomTruth(
            kind=phantom.kind,
            study_instance_uid=self._uid("study"),
            series_instance_uid=self._uid(next(iter(self._series))),
            images=len(phantom) * len(self._series),
            spacing=phantom.spacing,
            lesion_volumes_ml=tuple(float(count) * phantom.voxel_ml for count in voxels[1:] if count),
            masks=masks,
        )

    def _uid(self, *parts: str) -> str:
        return derived_uid(*self._key, *parts)

    def _study_attributes(self) -> Dataset:
        kind, seed = self._phantom.kind, self._phantom.options.seed
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName, ds.PatientID = UNITS[kind], f"PHANTOM-{kind.upper()}-{seed}"
        ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = self._uid("study"), self._uid("frame")
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = WHEN
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
        ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = f"PH{seed:06d}", "1", ""
        ds.StudyDescription = "MR BRAIN TUMOR" if kind == "brain-mr" else "CT ABDOMEN PORTAL VENOUS"
        ds.Manufacturer, ds.ManufacturerModelName = "Scanward", "Phantom"
        ds.DeviceSerialNumber, ds.SoftwareVersions = "0", "1"
        ds.PatientPosition, ds.PositionReferenceIndicator = "HFS", ""
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows = ds.Columns = self._phantom.options.matrix
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.PixelSpacing = [_decimal(self._phantom.spacing[1]), _decimal(self._phantom.spacing[2])]
        ds.SliceThickness = _decimal(self._phantom.spacing[0])
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        return ds

    def _instance(self, name: str, index: int, image: NDArray[np.int16]) -> Dataset:
        ds = Dataset()
        ds.update(self._study)
        ds.SeriesInstanceUID, ds.SOPInstanceUID = self._uid(name), self._uid(name, str(index))
        ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = self._series[name], index + 1, 1
        x, y, z = self._phantom.origin
        ds.ImagePositionPatient = [_decimal(x), _decimal(y), _decimal(z + index * self._phantom.spacing[0])]
        ds.SliceLocation = ds.ImagePositionPatient[2]
        (_describe_ct if name == "ct" else _describe_mr)(ds, name)
        stored = image + 1024 if name == "ct" else image
        ds.PixelData = stored.astype("<u2").tobytes()
        return ds


def _describe_ct(ds: Dataset, _: str) -> None:
    ds.SOPClassUID, ds.Modality = CTImageStorage, "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesDescription, ds.BodyPartExamined, ds.ProtocolName = "Abdomen portal venous 3.0", "ABDOMEN", "Abdomen"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.KVP, ds.XRayTubeCurrent, ds.ConvolutionKernel = 120, 200, "B30f"
    ds.ContrastBolusAgent, ds.ContrastBolusRoute = "Phantom agent", "IV"
    ds.WindowCenter, ds.WindowWidth = 60, 360


def _describe_mr(ds: Dataset, name: str) -> None:
    ds.SOPClassUID, ds.Modality = MRImageStorage, "MR"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.BodyPartExamined, ds.MagneticFieldStrength, ds.MRAcquisitionType = "BRAIN", 1.5, "2D"
    ds.SeriesDescription = {"flair": "AX FLAIR", "t1": "AX T1 SE", "t1ce": "AX T1 SE GD", "t2": "AX T2 TSE"}[name]
    ds.ProtocolName, ds.SequenceName = ds.SeriesDescription, "tir2d" if name == "flair" else "se2d"
    ds.ScanningSequence, ds.SequenceVariant = ["SE", "IR"] if name == "flair" else "SE", "SK"
    ds.ScanOptions = ""
    ds.RepetitionTime, ds.EchoTime = {"flair": (9000, 120), "t2": (4500, 100)}.get(name, (500, 12))
    ds.EchoTrainLength = 16 if name in {"flair", "t2"} else 1
    if name == "flair":
        ds.InversionTime = 2500
    if name == "t1ce":
        ds.ContrastBolusAgent, ds.ContrastBolusRoute = "Phantom agent", "IV"
    ds.WindowCenter, ds.WindowWidth = 250, 500


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _save(ds: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), ds, file_meta=meta, preamble=b"\0" * 128)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        file.save_as(stream, enforce_file_format=True)


def _private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
