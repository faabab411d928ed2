"""Brains for tests: a stand-in for the network of whole brains, heads around brains, and series on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from scipy import ndimage

from dicomio.results.uids import derived_uid
from dicomio.volumes.volume import Volume
from engines.plain_yaml import write_yaml
from pipelines.brain.regions import CLASSES, LABELS
from pipelines.brain.volume import CHANNELS, SHAPE

NAME = "brain-brats-slices-unet"


def stand_in(folder: Path, neighbours: tuple[int, ...] = ()) -> Path:
    """A package in the place of the one for whole brains: thresholds channels, finds a phantom's lesion.

    With `neighbours` it takes slices, and those beside each, which it pays no heed.
    """
    from onnx import TensorProto, helper, numpy_helper

    weight, bias = np.zeros((3, 4, 1, 1, 1), np.float32), np.array([-6, -9, -8], np.float32)
    weight[0, :, 0, 0, 0] = 3, 0, 0, 1.5
    weight[1, :, 0, 0, 0] = 1.5, -1, 3, 1
    weight[2, :, 0, 0, 0] = 0, 0, 4, 0
    image, logits = ["batch", 4, *SHAPE], ["batch", 3, *SHAPE]
    channels, preprocessing = list(CHANNELS), {"name": "brain-volume-v1", "spacing": [1.0, 1.0, 1.0]}
    if neighbours:
        own = weight[..., 0]
        weight = np.concatenate([own if offset == 0 else np.zeros_like(own) for offset in neighbours], axis=1)
        image, logits = ["batch", 4 * len(neighbours), *SHAPE[1:]], ["batch", 3, *SHAPE[1:]]
        channels = [f"{name}{offset}" for offset in neighbours for name in CHANNELS]
        preprocessing["neighbours"] = list(neighbours)
    nodes = [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content = model.SerializeToString()
    package = folder / NAME
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(content)
    (package / "MODEL_CARD.md").write_text("# A stand-in\n")
    manifest = {
        "name": NAME,
        "version": "0.0.1",
        "task": "segmentation",
        "sha256": hashlib.sha256(content).hexdigest(),
        "inputs": [{"name": "image", "shape": image, "channels": [{"name": name} for name in channels]}],
        "outputs": [{"name": "logits", "shape": logits, "activation": "sigmoid", "classes": list(CLASSES)}],
        "preprocessing": preprocessing,
        "labels": [dict(label) for label in LABELS],
        "thresholds": {"mask": 0.5, "min_volume_ml": 0.3},
        "training": {"data": [{"name": "none", "licence": "CC0-1.0"}]},
        "intended_use": "Tests.",
    }
    (package / "model.yaml").write_text(write_yaml(manifest))
    return folder


def head_around(brain: np.ndarray, mask: np.ndarray, affine: np.ndarray, seed: int = 0) -> Volume:
    """A whole head: dark fluid and bone, and a bright scalp, around a brain (slices, rows, columns) in cubes; noisy."""
    generator, voxel_mm = np.random.default_rng(seed), float(np.linalg.norm(affine[:3, 0]))
    usual, wide = float(np.median(brain[mask])), round(8 / voxel_mm)
    inner = (slice(wide, -wide),) * 3
    filled = ndimage.binary_closing(np.pad(mask, wide), iterations=round(6 / voxel_mm))[inner]
    away = ndimage.distance_transform_edt(~filled, sampling=voxel_mm)
    head = np.where(mask, brain, 0.25 * usual).astype(np.float32)
    head[(away > 2) & ~mask] = 0.08 * usual
    head[(away > 8) & ~mask] = 1.3 * usual
    head[(away > 14) & ~mask] = 0
    noisy = np.hypot(
        ndimage.gaussian_filter(head, 0.5 / voxel_mm) + generator.normal(0, 0.02 * usual, head.shape),
        generator.normal(0, 0.02 * usual, head.shape),
    )
    return Volume(noisy.astype(np.float32), affine, "1.2", "MR", "1.2.3", (), None)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


_TIMES = {"flair": (9000, 120, 2500), "t1": (500, 12, None), "t1ce": (500, 12, None), "t2": (4500, 100, None)}


def write_series(folder: Path, role: str, array: np.ndarray, affine: np.ndarray, frame: str = "frame") -> list[Path]:
    """A series of classic MR images (slices, rows, columns) at the place that an affine says (LPS mm)."""
    folder.mkdir(parents=True, exist_ok=True)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    paths = []
    for number, plane in enumerate(array):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, derived_uid("brain", role, str(number))
        ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid("brain"), derived_uid("brain", role)
        ds.FrameOfReferenceUID = derived_uid("brain", frame)
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Never^Shown", "P1", "", "O"
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260105", "101500", "1", "A1"
        ds.ReferringPhysicianName, ds.Manufacturer, ds.PositionReferenceIndicator = "", "Tests", ""
        ds.Modality, ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "MR", role.upper(), 1, number + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.ScanningSequence, ds.SequenceVariant = ["SE", "IR"] if role == "flair" else "SE", "SK"
        ds.ScanOptions, ds.MRAcquisitionType, ds.EchoTrainLength = "", "2D", 1
        ds.RepetitionTime, ds.EchoTime, inversion = _TIMES[role]
        if inversion:
            ds.InversionTime = inversion
        ds.ImagePositionPatient = [f"{value:.6f}" for value in (affine @ [number, 0, 0, 1])[:3]]
        ds.ImageOrientationPatient = [*(affine[:3, 2] / spacing[2]), *(affine[:3, 1] / spacing[1])]
        ds.PixelSpacing, ds.SliceThickness = [spacing[1], spacing[2]], spacing[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = plane.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.PixelData = plane.astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta = meta
        paths.append(folder / f"{(number * 7 + 3) % len(array):04d}-{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths
