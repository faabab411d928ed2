"""The published systems as trainings with a name, and the two modern networks that we put against them.

A system is data, as a `Recipe` is; the difference is what it is trained on: what lies on disk, as the publication read
it, where a recipe is trained on what serving prepares. Nothing here knows torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter

from training.data.items import Item, SplitBy, fold_items, split_items
from training.data.yesno import Duplicated, View, load_yesno

Layout = Literal["yesno", "mr-slices", "lgg", "brats", "brains", "lits"]
Plane = Literal["axial", "coronal", "sagittal"]
NEIGHBOURS = (-2, 0, 2)
"""Which slices of a brain a network of slices sees beside each other, counted from the one that it answers for."""
BRATS = ("edema", "non-enhancing", "enhancing")
REGIONS = ("whole tumour", "tumour core", "enhancing")


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
class System:
    """One published system, or one of ours, as a training.

    Attributes:
        name: What the command line calls it; the package that it is exported to is named so too.
        row: The row of docs/systems.md: A to E as in the literature's table, or `ours`.
        task: `segmentation` or `classification`.
        data: The layout that is read.
        network: Key of `training.networks.registry.NETWORKS`.
        options: Further arguments of the network.
        size: (height, width), or (slices, height, width) of a patch.
        served_size: (slices, height, width) of what serving looks at in one pass; None where that is `size` too.
        channels: Names of the input channels.
        classes: Names of the outputs; with softmax the first one is the background.
        inputs: Key of `training.data.inputs.INPUTS`.
        loss: Name in `training.losses_volumetric.make_loss`.
        activation: What makes probabilities of logits.
        split: By patient unless told otherwise; `slice` is what the publications did.
        held_out: Share held out for validation, which chooses the checkpoint.
        test: Share held out beyond that, which chooses nothing.
        folds: For a cross-validation, how many parts; `fold` (from 0) is held out then, instead of a share. 0 for none.
        keep: Which weights: those with the best score on what is held out, or the last ones, which nothing chose.
        only_positive: Trained and measured on slices with tumour only.
        positive_share: Share of drawn images that show tumour; None draws all alike.
        per_epoch: Images per epoch; None for as many as there are.
        epochs: Most epochs; `patience` epochs without a better score end it sooner.
        least_tumour: Share of a patch's voxels that is tumour at least.
        duplicated: What becomes of duplicate pictures.
        view: Of a picture: the whole of it, whose layout tells too, or the head alone.
        solve: The encoder stays as ImageNet left it, and the last layer is solved for exactly (`weight_decay` is its
            ridge) on the pictures and their mirror images; nothing is drawn, varied or repeated.
        weight_decay: Of AdamW.
        ema: Share of the averaged weights that a step leaves as they were; the average is what is kept. 0 for none.
        prior: Share of the drawn pixels that are tumour, which an untrained network then says of every pixel; 0 leaves
            the last layer as it is drawn.
        planes: Of whole brains, which slices a training patch is made of, each as often as the others: a network of
            slices learns more from thirty brains that it sees from three sides. Only axial ones are asked for later.
            A patch is mirrored along its own columns, which in a sagittal slice run from foot to head.
        precision: `bf16` or `32`; widths that are no multiples of 16 crash oneDNN's bfloat16 on some processors.
    """

    name: str
    row: Literal["A", "B", "C", "D", "E", "ours"]
    task: Literal["segmentation", "classification"]
    data: Layout
    network: str
    size: tuple[int, ...]
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    inputs: str
    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    variation: Variation = field(default_factory=Variation)
    split: SplitBy = "patient"
    held_out: float = 0.2
    test: float = 0.0
    folds: int = 0
    fold: int = 0
    keep: Literal["best", "last"] = "best"
    only_positive: bool = False
    positive_share: float | None = None
    per_epoch: int | None = None
    epochs: int = 50
    patience: int = 15
    batch: int = 16
    learning_rate: float = 1e-3
    least_tumour: float = 0.05
    duplicated: Duplicated = "drop"
    view: View = "whole"
    solve: bool = False
    weight_decay: float = 1e-4
    ema: float = 0.0
    prior: float = 0.0
    served_size: tuple[int, ...] | None = None
    planes: tuple[Plane, ...] = ("axial",)
    precision: Literal["bf16", "32"] = "bf16"
    seed: int = 20261120

    @property
    def neighbours(self) -> tuple[int, ...]:
        """What a served network sees of a scan: these slices for each one; nothing where it takes what `size` says."""
        return NEIGHBOURS if self.network == "slices-unet" else ()

    def items(self, root: Path) -> list[Item]:
        """Reads the index of the data folder; images are read when they are wanted."""
        items = self._all_items(root)
        return [item for item in items if item.positive] if self.only_positive else items

    def _all_items(self, root: Path) -> list[Item]:
        plane = (self.size[-2], self.size[-1])
        match self.data:
            case "yesno":
                return load_yesno(root, plane, self.duplicated, self.view)
            case "mr-slices":
                from training.data.mr_slices import load_mr_slices

                return load_mr_slices(root, plane)
            case "lgg":
                from training.data.lgg_slices import load_lgg_slices

                return load_lgg_slices(root, plane)
            case "brats":
                from training.data.brats import load_brats

                return load_brats(root, self.classes)
            case "brains":
                from training.data.brains import load_brains

                return load_brains(root, self.classes)
            case "lits":
                from training.data.lits import load_lits

                return load_lits(root, plane)

    def parts(self, items: list[Item]) -> tuple[list[Item], list[Item], list[Item]]:
        """(training, validation, test): the published split where the data has one, else by patient or slice.

        Raises:
            ValueError: There is nothing to train on, or nothing to choose a checkpoint by.
        """
        if {item.stratum for item in items} == {"train", "val"}:
            return [i for i in items if i.stratum == "train"], [i for i in items if i.stratum == "val"], []
        if self.folds:
            return (*fold_items(items, self.fold, self.folds, self.seed, self.split), [])
        rest, held_out = split_items(items, self.held_out + self.test, self.seed, self.split)
        if not rest or not held_out:
            share, owners = self.held_out + self.test, len({item.group for item in items})
            raise ValueError(f"a share of {share:g} of {owners} patients holds nothing out, or everything")
        if not self.test:
            return rest, held_out, []
        validation, test = split_items(held_out, self.test / (self.held_out + self.test), self.seed, self.split)
        return rest, validation, test

    def changed(self, path: Path) -> System:
        """This system with the values of a YAML file.

        Raises:
            ValueError: A key that a system does not have, or that may not be changed.
        """
        values = yaml.safe_load(path.read_text()) or {}
        allowed = {each.name for each in fields(self)} - {"name", "row", "task", "data"}
        if not isinstance(values, dict) or not set(values) <= allowed:
            raise ValueError(f"{path}: expected keys among {sorted(allowed)}, received {values}")
        return System.of({**asdict(self), **values})

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> System:
        """A system from plain values, as a run's record or a package has them.

        Raises:
            pydantic.ValidationError: A value of the wrong type (a ValueError).
        """
        return TypeAdapter(cls).validate_python(dict(values))


_RGB = ("red", "green", "blue")
_LGG = ("t1", "flair", "t1ce")
_FLIPS = Variation(mirror=(0, 1), rotation=20.0, blur=0.15)
_LGG_MASK: dict[str, Any] = {
    "task": "segmentation",
    "data": "lgg",
    "size": (256, 256),
    "channels": _LGG,
    "classes": ("tumour",),
    "inputs": "unit-v1",
    "loss": "focal-tversky",
    "variation": _FLIPS,
}
_TUMOUR_SLICES: dict[str, Any] = {"only_positive": True, "prior": 0.03}  # the share of tumour on slices that show some
_BOTH_SLICES: dict[str, Any] = {"positive_share": 0.5, "prior": 0.015}
_LGG_CLASS = {**_LGG_MASK, "task": "classification", "loss": "bce", "positive_share": 0.5}
_MR: dict[str, Any] = {
    "task": "segmentation",
    "data": "brats",
    "channels": ("flair", "t1", "t1ce", "t2"),
    "inputs": "standardised-by-slice-v1",
    "batch": 2,
    "per_epoch": 200,
}
_BRAINS: dict[str, Any] = {
    **_MR,
    "row": "ours",
    "data": "brains",
    "classes": REGIONS,
    "inputs": "brain-volume-v1",
    "served_size": (160, 192, 160),
    "loss": "dice-bce",
    "variation": Variation(mirror=(2,), rotation=20.0, scale=0.15, gain=0.2, noise=0.2, thick=0.15, unenhanced=0.15),
    "per_epoch": 240,
    "epochs": 1000,
    "patience": 1000,
    "weight_decay": 1e-2,
    "ema": 0.995,
}
_STAGE = {"inputs": "standardised-v1", "held_out": 0.075, "test": 0.075}

_LITE: dict[str, Any] = {
    "row": "ours",
    "task": "classification",
    "network": "efficient-lite",
    "options": {"pretrained": True, "mirror": True},
    "size": (160, 160),
    "channels": _RGB,
    "classes": ("tumour",),
    "inputs": "imagenet-v1",
    "loss": "bce",
    "variation": Variation(mirror=(0, 1), rotation=20.0, scale=0.15, shift=0.08, blur=0.15),
    "positive_share": 0.5,
    "patience": 1000,
    "weight_decay": 1e-2,
    "ema": 0.98,
    "keep": "last",
}

SYSTEMS = {
    system.name: system
    for system in (
        System(
            name="yesno-cnn",
            row="A",
            task="classification",
            data="yesno",
            network="small-cnn",
            size=(150, 150),
            channels=_RGB,
            classes=("tumour",),
            inputs="unit-v1",
            loss="bce",
            variation=Variation(mirror=(0, 1), rotation=15.0),
            positive_share=1085 / (1085 + 979),
            per_epoch=round(0.8 * (1085 + 979)),
            epochs=30,
        ),
        System(
            name="mr-efficient-lite",
            data="mr-slices",
            **_LITE,
            held_out=0.05,
            per_epoch=800,
            epochs=6,
            batch=32,
            learning_rate=1e-3,
        ),
        System(name="yesno-efficient-lite", data="yesno", **_LITE, per_epoch=192, epochs=14, learning_rate=5e-4),
        System(
            name="yesno-frozen-lite",
            data="yesno",
            **{
                **_LITE,
                "options": {
                    "pretrained": True,
                    "mirror": True,
                    "pools": ("mean", "max"),
                    "sizes": (224, 288, 352, 416),
                },
                "size": (416, 416),
                "variation": Variation(mirror=(1,)),
                "positive_share": None,
                "weight_decay": 1e-3,
                "ema": 0.0,
            },
            solve=True,
        ),
        System(name="lgg-two-conv", row="B", network="two-convolutions", **_LGG_CLASS),
        System(name="lgg-xception", row="B", network="xception", precision="32", **_LGG_CLASS),
        System(name="lgg-unet", row="B", network="unet", **_TUMOUR_SLICES, **_LGG_MASK),
        System(name="lgg-residual-unet", row="B", network="residual-unet", **_BOTH_SLICES, **_LGG_MASK),
        System(
            name="lgg-efficient-unet",
            row="B",
            network="efficient-lite-unet",
            options={"pretrained": True},
            **_BOTH_SLICES,
            **{**_LGG_MASK, "inputs": "imagenet-v1"},
        ),
        System(name="lgg-double-unet", row="B", network="double-unet", batch=8, **_BOTH_SLICES, **_LGG_MASK),
        System(name="lgg-resnet50", row="C", network="resnet50", **{**_LGG_CLASS, **_STAGE}),
        System(
            name="lgg-classic-resunet",
            row="C",
            network="classic-resunet",
            **_TUMOUR_SLICES,
            **{**_LGG_MASK, **_STAGE},
        ),
        System(
            name="brats-unet3d",
            row="D",
            network="unet-3d",
            classes=BRATS,
            loss="soft-dice",
            size=(16, 160, 160),
            prior=0.02,
            **_MR,
        ),
        System(
            name="lits-munet",
            row="E",
            task="segmentation",
            data="lits",
            network="mu-net",
            size=(512, 512),
            channels=("ct",),
            classes=("background", "liver", "tumour"),
            inputs="hounsfield-1024-v1",
            loss="dice-ce",
            activation="softmax",
            variation=Variation(mirror=(0, 1), rotation=20.0, scale=0.2, shift=0.1, elastic=0.2),
            positive_share=0.5,
            per_epoch=2000,
            batch=4,
        ),
        System(
            name="lgg-dynunet",
            row="ours",
            network="dynunet",
            positive_share=0.5,
            **{**_LGG_MASK, "inputs": "standardised-v1", "loss": "dice-bce"},
        ),
        System(
            name="brats-segresnet",
            row="ours",
            network="segresnet",
            classes=REGIONS,
            loss="dice-bce",
            options={"width": 16},
            variation=Variation(mirror=(0, 1, 2)),
            size=(64, 128, 128),
            least_tumour=0.01,
            **_MR,
        ),
        System(name="brats-resunet3d", network="resunet-3d", size=(96, 112, 96), learning_rate=2e-3, **_BRAINS),
        System(
            name="brats-slices-unet",
            network="slices-unet",
            options={"pretrained": True},
            size=(8, 160, 160),
            learning_rate=1e-3,
            planes=("axial", "coronal", "sagittal"),
            keep="last",
            **{**_BRAINS, "batch": 4, "per_epoch": 1600},
        ),
    )
}
