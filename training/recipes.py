"""The trainings that have a name. A recipe is data: it says what is trained, on what, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from training.changes import read_changes
from training.data.case import Case
from training.data.layouts.lgg import load_lgg
from training.data.layouts.liver import load_liver

Loader = Callable[[Path], list[Case]]


@dataclass(frozen=True)
class Augmentation:
    """How far a batch is varied; all draws are per sample.

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
class Recipe:
    """One named training.

    Attributes:
        name: What the command line calls it; the run's folder is named so too.
        package: Name of the model package that it is exported to.
        task: `segmentation` (pixel logits) or `classification` (slice logits).
        data: Which loader reads the data folder: `lgg` or `liver`.
        preprocessing: Name in `pipelines.preprocess.PREPROCESSINGS`.
        channels: Input channels.
        classes: Names of the outputs, in order; the first one decides which checkpoint is best.
        network: `resunet`, or `lite-unet`: EfficientNet-lite0 as encoder, which starts from ImageNet.
        widths: Channels of the network's levels (of the decoder's, finest first, for `lite-unet`).
        minutes: Wall-clock budget; the learning rate follows the share of it that is used up.
        samples_per_epoch: Slices drawn between two looks at the held-out patients.
        positive_share: Share of drawn slices that show the class `oversampled`.
        phantom_share: Share of drawn slices that are phantoms (never in the evaluation).
        made_up_lesions: Share of healthy livers that get a lesion drawn into them.
        mirror: Export the mean over the image and its mirror image.
        zooms: Export the mean over the image at these sizes; masks only.
        more: Which further data set may be mixed in (`--more DIR`), and `more_share` its share of the drawn slices.
        held_out: Share of patients held out, where the data has no published split.
        split: By patient; `slice` is what publications did, for comparison, and never exported.
        variant: Other first weights and other draws for each number; the split stays, so that answers can be averaged.
        keep: Which weights: those that score best on the held-out patients, or the last ones, which nothing chose.
        patience: Epochs without a better score that end a run early, where `keep` is `best`.
        precision: What a processor computes in.
    """

    name: str
    package: str
    task: Literal["segmentation", "classification"]
    data: Literal["lgg", "liver"]
    preprocessing: str
    channels: int
    classes: tuple[str, ...]
    oversampled: int = 0
    network: Literal["resunet", "lite-unet"] = "resunet"
    widths: tuple[int, ...] = (32, 64, 128, 256)
    minutes: float = 45.0
    batch: int = 16
    samples_per_epoch: int = 4800
    positive_share: float = 0.5
    phantom_share: float = 0.2
    more: Literal["brats"] | None = None
    more_share: float = 0.0
    held_out: float = 0.2
    split: Literal["patient", "slice"] = "patient"
    keep: Literal["best", "last"] = "best"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema: float = 0.995
    patience: int = 40
    precision: Literal["bf16", "32"] = "bf16"
    seed: int = 20261120
    variant: int = 0
    mirror: bool = False
    zooms: tuple[float, ...] = (1.0,)
    made_up_lesions: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def changed(self, path: Path) -> Recipe:
        """This recipe with the values of a YAML file: how it is trained, not what network is trained on what.

        Of `augmentation` only what the file names changes.

        Raises:
            ValueError: A key that may not be changed, or a value of the wrong type.
        """
        values = read_changes(path)
        if not set(values) <= CHANGEABLE:
            raise ValueError(f"{path}: expected keys among {sorted(CHANGEABLE)}, received {values}")
        before = asdict(self)
        if isinstance(values.get("augmentation"), dict):
            known, named = before["augmentation"], values["augmentation"]
            if not set(named) <= set(known):
                raise ValueError(f"{path}: expected keys of augmentation among {sorted(known)}, received {named}")
            values["augmentation"] = {**known, **named}
        changed = TypeAdapter(Recipe).validate_python({**before, **values})
        changed._check(path)
        return changed

    def _check(self, path: Path) -> None:
        shares = (self.positive_share, self.phantom_share, self.more_share, self.made_up_lesions)
        positive = (self.minutes, self.batch, self.samples_per_epoch, self.learning_rate, self.patience)
        if min(shares) < 0 or self.positive_share > 1 or self.phantom_share + self.more_share >= 1:
            raise ValueError(f"{path}: expected shares from 0 to 1, those of phantoms and more together under 1")
        if min(positive) <= 0 or not 0 <= self.ema < 1 or self.weight_decay < 0:
            raise ValueError(
                f"{path}: expected minutes, batch, samples, rate and patience over 0, ema from 0 to under 1"
            )

    @property
    def loader(self) -> Loader:
        """Reads the recipe's data folder."""
        return {"lgg": load_lgg, "liver": load_liver}[self.data]


CHANGEABLE = {
    "minutes",
    "batch",
    "samples_per_epoch",
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

_LGG: dict[str, Any] = {
    "data": "lgg",
    "preprocessing": "brain-slices-v1",
    "channels": 5,
    "classes": ("tumour",),
    "mirror": True,
    "augmentation": Augmentation(brain_channels=True),
}
_LIVER: dict[str, Any] = {
    "task": "segmentation",
    "data": "liver",
    "preprocessing": "ct-slices-v1",
    "channels": 1,
    "classes": ("liver", "tumour"),
    "oversampled": 1,
    "samples_per_epoch": 1440,
    "positive_share": 0.4,
    "made_up_lesions": 0.3,
    "augmentation": Augmentation(mirror=False, rotation=6.0, scale=0.12, shift=0.06, gain=0.1),
}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="lgg-resunet",
            package="brain-lgg-resunet",
            task="segmentation",
            more="brats",
            more_share=0.2,
            keep="last",
            zooms=(0.9, 1.0, 1.1),
            **_LGG,
        ),
        Recipe(
            name="lgg-lite-unet",
            package="brain-lgg-lite-unet",
            task="segmentation",
            network="lite-unet",
            widths=(32, 64, 96, 128),
            minutes=75.0,
            learning_rate=1e-3,
            phantom_share=0.1,
            more="brats",
            more_share=0.2,
            keep="last",
            **_LGG,
        ),
        Recipe(
            name="lgg-classifier",
            package="brain-lgg-classifier",
            task="classification",
            minutes=10.0,
            learning_rate=5e-4,
            **_LGG,
        ),
        Recipe(
            name="liver-unet",
            package="abdomen-liver-unet",
            widths=(32, 64, 128, 192, 256),
            minutes=45.0,
            batch=8,
            **_LIVER,
        ),
        Recipe(
            name="liver-lite-unet",
            package="abdomen-liver-lite-unet",
            network="lite-unet",
            widths=(32, 64, 96, 128),
            minutes=65.0,
            learning_rate=1e-3,
            phantom_share=0.15,
            keep="last",
            **_LIVER,
        ),
    )
}
