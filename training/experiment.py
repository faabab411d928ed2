"""What a published system, or one of ours, is as a training: data, which nothing here needs torch for.

A `Recipe` (recipes.py) is the same for what serving prepares; a system is trained on what lies on disk, as the
publication read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from training.changes import read_changes
from training.data.items import Item, SplitBy, fold_items, split_items
from training.data.layouts.yesno import Duplicated, View, load_yesno

Layout = Literal["yesno", "mr-slices", "lgg", "brats", "brains", "lits"]
Plane = Literal["axial", "coronal", "sagittal"]
NEIGHBOURS = (-2, 0, 2)
"""Which slices of a brain a network of slices sees beside each other, counted from the one that it answers for."""


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
        loss: Name in `training.loop.losses_volumetric.make_loss`.
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
                from training.data.layouts.mr_slices import load_mr_slices

                return load_mr_slices(root, plane)
            case "lgg":
                from training.data.layouts.lgg_slices import load_lgg_slices

                return load_lgg_slices(root, plane)
            case "brats":
                from training.data.layouts.brats import load_brats

                return load_brats(root, self.classes)
            case "brains":
                from training.data.layouts.brains import load_brains

                return load_brains(root, self.classes)
            case "lits":
                from training.data.layouts.lits import load_lits

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
        values = read_changes(path)
        allowed = {each.name for each in fields(self)} - {"name", "row", "task", "data"}
        if not set(values) <= allowed:
            raise ValueError(f"{path}: expected keys among {sorted(allowed)}, received {values}")
        return System.of({**asdict(self), **values})

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> System:
        """A system from plain values, as a run's record or a package has them.

        Raises:
            pydantic.ValidationError: A value of the wrong type (a ValueError).
        """
        return TypeAdapter(cls).validate_python(dict(values))
