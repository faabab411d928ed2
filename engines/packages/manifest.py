"""The schema of `model.yaml`: what a model package says about its network."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Dtype = Literal["float32", "float16", "int64", "int32", "uint8"]
Byte = Annotated[int, Field(ge=0, le=255)]
Share = Annotated[float, Field(ge=0, le=1)]


class _ManifestModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _FreePart(BaseModel):
    """Named fields are checked; others are kept, for whoever reads them (`model_extra`)."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Channel(_ManifestModel):
    """One channel of an input; `fallback` names the channel that replaces this one when it was not acquired."""

    name: str
    fallback: str | None = None


class _Tensor(_ManifestModel):
    """Dimension 0 is the batch; a name instead of a number is a dimension that may differ from call to call."""

    name: str
    dtype: Dtype = "float32"
    shape: tuple[Annotated[int, Field(gt=0)] | str, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _batch_comes_first(self) -> Self:
        if self.shape[0] not in ("batch", 1) or "batch" in self.shape[1:]:
            raise ValueError(
                "shape: dimension 0, and no other, must be 'batch' (or 1, if the network takes one at a time)"
            )
        return self


class InputSpec(_Tensor):
    """One input (batch, channels, ...)."""

    channels: tuple[Channel, ...] = ()

    @property
    def volumetric(self) -> bool:
        """Whether a sample is a volume (channels, depth, height, width), not a slice or a row of figures."""
        return len(self.shape) == 5

    @model_validator(mode="after")
    def _channels_fit(self) -> Self:
        names = [channel.name for channel in self.channels]
        if len(set(names)) != len(names):
            raise ValueError(f"channels: a name appears twice in {names}")
        if names and isinstance(self.shape[1], int) and len(names) != self.shape[1]:
            raise ValueError(f"channels: {len(names)} are named, but shape says {self.shape[1]}")
        strangers = {c.fallback for c in self.channels if c.fallback} - set(names)
        if strangers:
            raise ValueError(f"channels: fallback {sorted(strangers)} is no channel")
        return self


class OutputSpec(_Tensor):
    """One output (batch, classes, ...). The network gives logits; `activation` is what serving applies to them.

    `classes` names the entries along axis 1. With softmax one of them is usually `background`.
    """

    activation: Literal["sigmoid", "softmax", "none"] = "none"
    classes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        if self.classes and isinstance(self.shape[1], int) and len(self.classes) != self.shape[1]:
            raise ValueError(f"classes: {len(self.classes)} are named, but shape says {self.shape[1]}")
        if self.activation == "softmax" and self.shape[1] == 1:
            raise ValueError("activation: softmax over one class is always 1; use sigmoid")
        return self


class CodedConcept(_ManifestModel):
    """A code from a coding scheme (SNOMED CT is `SCT`), with its meaning in words."""

    value: str
    scheme: str
    meaning: str


class LabelSpec(_ManifestModel):
    """A segment that the network outlines.

    Attributes:
        name: What readers see; also the class of the output that it comes from, unless `of` names another.
        of: The class that it comes from, where that is a region which holds further segments (BraTS: whole tumour).
        without: The class that is taken away from it: nested regions become segments that exclude each other.
    """

    number: Annotated[int, Field(ge=1, le=255)]
    name: str
    category: CodedConcept
    type: CodedConcept
    colour: tuple[Byte, Byte, Byte]
    anatomic_region: CodedConcept | None = None
    of: str | None = None
    without: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the output that it is made from."""
        return tuple(name for name in (self.of or self.name, self.without) if name)


class Preprocessing(_FreePart):
    """How the volume becomes the input: `name` is looked up in pipelines/preprocess.py, the rest are its parameters."""

    name: str
    spacing: tuple[float, ...] | None = None

    @property
    def neighbours(self) -> tuple[int, ...]:
        """Slices that a network of slices sees beside each other, counted from its own; none where it takes volumes."""
        return tuple((self.model_extra or {}).get("neighbours", ()))

    @model_validator(mode="after")
    def _neighbours_are_whole_numbers(self) -> Self:
        # a parameter like others, and no field: a field would be in the digest of every package's use
        given = (self.model_extra or {}).get("neighbours", [])
        if not isinstance(given, list | tuple) or not all(type(one) is int for one in given):
            raise ValueError(f"neighbours: expected whole numbers such as [-2, 0, 2], received {given!r}")
        return self


class Thresholds(_ManifestModel):
    """From probability to answer: voxels from `mask` up belong; smaller lesions than `min_volume_ml` are dropped."""

    mask: Share = 0.5
    probability: Share = 0.5
    min_volume_ml: Annotated[float, Field(ge=0)] = 0.0


class TrainingData(_FreePart):
    """A data set that the weights were made from."""

    name: str
    licence: str
    citation: str = ""
    patients: int | None = None


class TrainingRecord(_FreePart):
    """How the weights came about."""

    data: tuple[TrainingData, ...]
    split: Any = None


class Accuracy(_ManifestModel):
    """A measured figure, never an estimated one; `n` counts what it is the mean over (patients, slices)."""

    metric: str
    value: float
    dataset: str
    n: int
    ci95: tuple[float, float] | None = None


class Tolerance(_ManifestModel):
    """How far an engine may be from ONNX Runtime FP32 on the reference inputs (engines/gate.py).

    Attributes:
        dice: Least Dice of each class's mask, pooled over the reference inputs.
        probability: Largest difference of a probability.
        outliers: Share of probabilities that may differ more: voxels on the border of a mask in 16 bit precision.
            A classifier's few probabilities are far from reaching one in a thousand, so none of them may.
    """

    dice: Share = 0.995
    probability: Share = 0.02
    outliers: Share = 0.001


class Variant(_ManifestModel):
    """The same network in another precision, as a file of its own.

    Attributes:
        file: In the package's folder.
        sha256: Of the file.
        format: `onnx`, or `openvino` for OpenVINO's own form, a zip of model.xml and model.bin that no other engine
            reads. OpenVINO 2026.4 answers wrongly for some networks that are quantised in ONNX (docs/engines.md).
    """

    file: str
    sha256: Sha256
    format: Literal["onnx", "openvino"] = "onnx"

    def suits(self, backend: str) -> bool:
        """Whether a backend can read it."""
        return self.format in {"onnx", backend}


class Calibration(_ManifestModel):
    """The file that an engine needs which makes an INT8 network of the FP32 one itself, see `ModelPackage.largest`."""

    file: str
    sha256: Sha256


class CalibrationFile(_ManifestModel):
    """Content of that file.

    Attributes:
        network: sha256 of the model.onnx that it belongs to.
        tool: What found the values.
        inputs: On how many inputs.
        largest: By the name of a tensor, its largest absolute value on them.
    """

    network: Sha256
    tool: str
    inputs: Annotated[int, Field(ge=1)]
    largest: Annotated[dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]


class Manifest(_ManifestModel):
    """The whole of model.yaml."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+\S*$")]
    task: Literal["classification", "segmentation"]
    sha256: Sha256
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    labels: tuple[LabelSpec, ...] = ()
    thresholds: Thresholds = Thresholds()
    training: TrainingRecord
    accuracy: tuple[Accuracy, ...] = ()
    intended_use: Annotated[str, Field(min_length=1)]
    description: str = ""
    licence: str = ""
    reference_inputs: str | None = None
    tolerance: Tolerance = Tolerance()
    variants: dict[Literal["fp16", "int8"], Variant] = {}
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _own_forms_are_of_use(self) -> Self:
        if any(name != "int8" and variant.format == "openvino" for name, variant in self.variants.items()):
            raise ValueError("variants: expected fp16 as onnx, received openvino, which would be for nobody")
        return self

    @model_validator(mode="after")
    def _tensors_are_distinct(self) -> Self:
        for key, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [tensor.name for tensor in tensors]
            if len(set(names)) != len(names):
                raise ValueError(f"{key}: a name appears twice in {names}")
        return self

    @model_validator(mode="after")
    def _neighbours_fit_the_input(self) -> Self:
        beside, shape = len(self.preprocessing.neighbours), self.inputs[0].shape
        if beside and (len(shape) != 4 or not isinstance(shape[1], int) or shape[1] % beside):
            raise ValueError(
                f"preprocessing: neighbours: {beside} slices beside each other need an input "
                f"[batch, {beside} x channels, height, width], not {list(shape)}"
            )
        return self

    @model_validator(mode="after")
    def _output_dimensions_are_known(self) -> Self:
        known = {"batch"} | {size for tensor in self.inputs for size in tensor.shape if isinstance(size, str)}
        for output in self.outputs:
            unknown = [size for size in output.shape[1:] if isinstance(size, str) and size not in known]
            if unknown:
                raise ValueError(f"outputs: {output.name}: no input has a dimension {unknown}")
        return self

    @model_validator(mode="after")
    def _labels_match_classes(self) -> Self:
        numbers = [label.number for label in self.labels]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"labels: a number appears twice in {numbers}")
        if self.task == "segmentation" and not self.labels:
            raise ValueError("labels: a segmentation needs at least one")
        classes = {name for output in self.outputs for name in output.classes}
        if self.task == "classification" and not classes:
            raise ValueError("outputs: a classification needs classes")
        made_from = [name for label in self.labels for name in label.classes]
        strangers = [name for name in made_from if self.task == "segmentation" and name not in classes]
        if strangers:
            raise ValueError(f"labels: {strangers} are no classes of an output, which are {sorted(classes)}")
        return self


def shape_fits(shape: tuple[int, ...], spec: tuple[int | str, ...]) -> bool:
    """Whether an array's shape suits a declared one; dimension 0, the batch, is always free."""
    return len(shape) == len(spec) and all(
        isinstance(want, str) or have == want for have, want in zip(shape[1:], spec[1:], strict=True)
    )
