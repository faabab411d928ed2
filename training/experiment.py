"""What a training is, as data: which network learns what from which data set, how, and for how long.

The named ones are in `training.experiments`. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from pipelines.yaml_file import LocatedYaml, YamlFault
from training.data.items import SplitBy
from training.data.layouts.yesno import Duplicated, View

Layout = Literal["lgg", "liver", "yesno", "mr-slices", "brats", "brains", "lits"]
Plane = Literal["axial", "coronal", "sagittal"]
NEIGHBOURS = (-2, 0, 2)
"""Which slices of a brain a network of slices sees beside each other, counted from the one that it answers for."""
PREPARED = frozenset({"brain-slices-v1", "ct-slices-v1"})
"""Inputs that `pipelines.preprocess` makes: patients are prepared slice by slice, as serving prepares them."""


@dataclass(frozen=True)
class Variation:
    """How a training image is varied; every draw is per image, and image and mask move together.

    Attributes:
        mirror: Spatial axes, each of which is mirrored in half of the images.
        rotation: Largest angle in degrees, in the plane.
        scale: Largest share by which it is scaled up or down; what is scaled up is cropped.
        shift: Largest shift, as a share of the image.
        blur: Share of the images that are blurred.
        elastic: Share of the images that are deformed elastically.
        gain: Standard deviation of the contrast's logarithm and of the brightness, in 3D.
        noise: Largest standard deviation of added noise, in 3D.
        thick: Share of the sequences that are made to look like a scan in thick slices, in 3D.
        unenhanced: Share of the patches where nothing takes up contrast: the T1 stands in for the T1 with contrast.
    """

    mirror: tuple[int, ...] = ()
    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    blur: float = 0.0
    elastic: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    thick: float = 0.0
    unenhanced: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """How far a batch of prepared slices is varied; all draws are per sample.

    Attributes:
        rotation: Degrees, standard deviation.
        scale: Standard deviation of the logarithm of the scale.
        shift: Standard deviation, as a share of half the image.
        bend: Standard deviation of the elastic displacement, same unit.
        mirror: Whether columns are mirrored in half of the samples (brains are symmetric, livers are not).
        gain: Standard deviation of the contrast factor and, times two, of the brightness offset.
        noise: Largest standard deviation of added noise.
        blur: Share of the samples that are blurred.
        brain_channels: Whether the channels are those of `brain-slices-v1`, whose T1 and neighbours may be missing.
    """

    rotation: float = 8.0
    scale: float = 0.12
    shift: float = 0.05
    bend: float = 0.015
    mirror: bool = True
    gain: float = 0.12
    noise: float = 0.1
    blur: float = 0.15
    brain_channels: bool = False


@dataclass(frozen=True)
class Experiment:
    """One training under a name: ours, or a published system's.

    Two kinds of data feed it. *Prepared* (see `PREPARED`) are patients whose slices are made as serving makes them;
    all others are *published*: pictures, slices or scans as they lie on disk, mapped by `training.data.inputs`.

    Attributes:
        name: What the command line calls it; the run's folder is named so too.
        task: `segmentation` or `classification`.
        data: The layout that is read.
        network: Key of `training.networks.registry.NETWORKS`.
        channels: Names of the input channels.
        classes: Names of the outputs; with softmax the first one is the background.
        inputs: A preprocessing of `PREPARED`, or a key of `training.data.inputs.INPUTS`.
        row: The row of docs/lab/published-systems.md: A to E as in the literature's table, or `ours`.
        package: Name of the model package that it is exported to; its own name where this is empty.
        size: (height, width), or (slices, height, width) of a patch; empty where the preprocessing says it.
        served_size: (slices, height, width) of what serving looks at in one pass; None where that is `size` too.
        options: Further arguments of the network.
        loss: Name in `training.loop.losses.make_loss`.
        activation: What makes probabilities of logits.
        variation: Of published images.
        augmentation: Of prepared slices.
        split: By patient unless told otherwise; `slice` is what the publications did.
        held_out: Share held out for validation, which chooses the checkpoint; unused where the data has a split.
        test: Share held out beyond that, which chooses nothing.
        folds: For a cross-validation, how many parts; `fold` (from 0) is held out then, instead of a share. 0 for none.
        keep: Which weights: those with the best score on what is held out, or the last ones, which nothing chose.
        only_positive: Trained and measured on slices with tumour only.
        positive_share: Share of drawn images that show tumour (prepared: `oversampled`); None draws all alike.
        oversampled: Index of the class that `positive_share` speaks of.
        phantom_share: Share of drawn slices that are phantoms (never in the evaluation).
        more: Which further data set may be mixed in (`--more DIR`), and `more_share` its share of the drawn slices.
        made_up_lesions: Share of healthy livers that get a lesion drawn into them.
        per_epoch: Images per epoch; None for as many as there are.
        minutes: Budget by the clock; the learning rate follows the share of it that is used up.
        epochs: Most epochs; None for as many as the minutes hold.
        patience: Epochs without a better score that end a run early, where `keep` is `best`.
        batch: Images per step.
        learning_rate: Of AdamW, as is `weight_decay`.
        least_tumour: Share of a patch's voxels that is tumour at least.
        duplicated: What becomes of duplicate pictures.
        view: Of a picture: the whole of it, whose layout tells too, or the head alone.
        solve: The encoder stays as ImageNet left it, and the last layer is solved for exactly (`weight_decay` is its
            ridge) on the pictures and their mirror images; nothing is drawn, varied or repeated.
        ema: Share of the averaged weights that a step leaves as they were; the average is what is kept. 0 for none.
        prior: Share of the drawn pixels that are tumour, which an untrained network then says of every pixel; 0 leaves
            the last layer as it is drawn.
        planes: Of whole brains, which slices a training patch is made of, each as often as the others: a network of
            slices learns more from thirty brains that it sees from three sides. Only axial ones are asked for later.
            A patch is mirrored along its own columns, which in a sagittal slice run from foot to head.
        mirror: Export the mean over the image and its mirror image.
        zooms: Export the mean over the image at these sizes; masks only.
        precision: `bf16` or `32`; widths that are no multiples of 16 crash oneDNN's bfloat16 on some processors.
        seed: Of split, weights and draws.
        variant: Other first weights and other draws for each number; the split stays, so that answers can be averaged.
    """

    name: str
    task: Literal["segmentation", "classification"]
    data: Layout
    network: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    inputs: str
    row: Literal["A", "B", "C", "D", "E", "ours"] = "ours"
    package: str = ""
    size: tuple[int, ...] = ()
    served_size: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    loss: str = "slices"
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    variation: Variation = field(default_factory=Variation)
    augmentation: Augmentation = field(default_factory=Augmentation)
    split: SplitBy = "patient"
    held_out: float = 0.2
    test: float = 0.0
    folds: int = 0
    fold: int = 0
    keep: Literal["best", "last"] = "best"
    only_positive: bool = False
    positive_share: float | None = None
    oversampled: int = 0
    phantom_share: float = 0.0
    more: Literal["brats"] | None = None
    more_share: float = 0.0
    made_up_lesions: float = 0.0
    per_epoch: int | None = None
    minutes: float | None = None
    epochs: int | None = 50
    patience: int = 15
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    least_tumour: float = 0.05
    duplicated: Duplicated = "drop"
    view: View = "whole"
    solve: bool = False
    ema: float = 0.0
    prior: float = 0.0
    planes: tuple[Plane, ...] = ("axial",)
    mirror: bool = False
    zooms: tuple[float, ...] = (1.0,)
    precision: Literal["bf16", "32"] = "bf16"
    seed: int = 20261120
    variant: int = 0

    @property
    def prepared(self) -> bool:
        """Whether it is trained on slices as serving prepares them."""
        return self.inputs in PREPARED

    @property
    def package_name(self) -> str:
        """The name of the model package that it is exported to."""
        return self.package or self.name

    @property
    def neighbours(self) -> tuple[int, ...]:
        """What a served network sees of a scan: these slices for each one; nothing where it takes what `size` says."""
        return NEIGHBOURS if self.network == "slices-unet" else ()

    def changed(self, path: Path) -> Experiment:
        """This experiment with the values of a YAML file; of `variation` and `augmentation` what the file names.

        Raises:
            ValueError: The file is no YAML mapping, or a key is repeated, not known or not to be changed, or a value
                makes no sense.
        """
        values = _read_changes(path)
        allowed = PREPARED_MAY_CHANGE if self.prepared else {one.name for one in fields(self)} - IDENTITY
        if not set(values) <= allowed:
            raise ValueError(f"{path}: expected keys among {sorted(allowed)}, received {values}")
        before = asdict(self)
        for group in ("variation", "augmentation"):
            named = values.get(group)
            if isinstance(named, dict):
                if not set(named) <= set(before[group]):
                    raise ValueError(
                        f"{path}: expected keys of {group} among {sorted(before[group])}, received {named}"
                    )
                values[group] = {**before[group], **named}
        changed = Experiment.of({**before, **values})
        changed._check(path)
        return changed

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Experiment:
        """An experiment from plain values, as a run's record or a package has them.

        Raises:
            pydantic.ValidationError: A value of the wrong type (a ValueError).
        """
        return TypeAdapter(cls).validate_python(dict(values))

    def _check(self, path: Path) -> None:
        shares = (self.positive_share or 0.0, self.phantom_share, self.more_share, self.made_up_lesions)
        positive = (self.minutes, self.epochs, self.batch, self.per_epoch, self.learning_rate, self.patience)
        if min(shares) < 0 or shares[0] > 1 or self.phantom_share + self.more_share >= 1:
            raise ValueError(f"{path}: expected shares from 0 to 1, those of phantoms and more together under 1")
        if min(one for one in positive if one is not None) <= 0 or not 0 <= self.ema < 1 or self.weight_decay < 0:
            raise ValueError(
                f"{path}: expected minutes, epochs, batch, per_epoch, rate and patience over 0, ema from 0 to under 1"
            )


def _read_changes(path: Path) -> dict[str, Any]:
    try:
        document = LocatedYaml.read(path)
    except YamlFault as fault:
        raise ValueError(f"expected YAML: {fault}") from fault
    if document.repeated:
        raise ValueError("; ".join(fault.at(document.name) for fault in document.repeated))
    return document.data


IDENTITY = {"name", "row", "task", "data", "package"}
PREPARED_MAY_CHANGE = {
    "minutes",
    "batch",
    "per_epoch",
    "positive_share",
    "phantom_share",
    "more_share",
    "made_up_lesions",
    "learning_rate",
    "weight_decay",
    "ema",
    "keep",
    "patience",
    "precision",
    "augmentation",
}
"""How it is trained; what network is trained on what belongs to the packages that ship."""
