"""The trainings that have a name: of the packages that ship, of published systems, and what we put against them."""

from __future__ import annotations

from typing import Any

from training.experiment import Augmentation, Experiment, Variation

BRATS = ("edema", "non-enhancing", "enhancing")
REGIONS = ("whole tumour", "tumour core", "enhancing")

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

_PREPARED: dict[str, Any] = {
    "epochs": None,
    "minutes": 45.0,
    "patience": 40,
    "learning_rate": 2e-3,
    "weight_decay": 1e-2,
    "ema": 0.995,
    "per_epoch": 4800,
    "positive_share": 0.5,
    "phantom_share": 0.2,
}
_LGG_PREPARED: dict[str, Any] = {
    **_PREPARED,
    "data": "lgg",
    "inputs": "brain-slices-v1",
    "channels": ("t1", "flair", "t1ce", "flair_below", "flair_above"),
    "classes": ("tumour",),
    "mirror": True,
    "augmentation": Augmentation(brain_channels=True),
}
_LIVER_PREPARED: dict[str, Any] = {
    **_PREPARED,
    "task": "segmentation",
    "data": "liver",
    "inputs": "ct-slices-v1",
    "channels": ("ct",),
    "classes": ("liver", "tumour"),
    "oversampled": 1,
    "per_epoch": 1440,
    "positive_share": 0.4,
    "made_up_lesions": 0.3,
    "augmentation": Augmentation(mirror=False, rotation=6.0, scale=0.12, shift=0.06, gain=0.1),
}

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            name="lgg-resunet",
            package="brain-lgg-resunet",
            task="segmentation",
            network="resunet",
            options={"widths": (32, 64, 128, 256)},
            more="brats",
            more_share=0.2,
            keep="last",
            zooms=(0.9, 1.0, 1.1),
            **_LGG_PREPARED,
        ),
        Experiment(
            name="lgg-lite-unet",
            package="brain-lgg-lite-unet",
            task="segmentation",
            network="lite-unet",
            options={"widths": (32, 64, 96, 128), "pretrained": True},
            more="brats",
            more_share=0.2,
            keep="last",
            **{**_LGG_PREPARED, "minutes": 75.0, "learning_rate": 1e-3, "phantom_share": 0.1},
        ),
        Experiment(
            name="lgg-classifier",
            package="brain-lgg-classifier",
            task="classification",
            network="slice-classifier",
            options={"widths": (32, 64, 128, 256)},
            **{**_LGG_PREPARED, "minutes": 10.0, "learning_rate": 5e-4},
        ),
        Experiment(
            name="liver-unet",
            package="abdomen-liver-unet",
            network="resunet",
            options={"widths": (32, 64, 128, 192, 256)},
            batch=8,
            **_LIVER_PREPARED,
        ),
        Experiment(
            name="liver-lite-unet",
            package="abdomen-liver-lite-unet",
            network="lite-unet",
            options={"widths": (32, 64, 96, 128), "pretrained": True},
            keep="last",
            **{**_LIVER_PREPARED, "minutes": 65.0, "learning_rate": 1e-3, "phantom_share": 0.15},
        ),
        Experiment(
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
        Experiment(
            name="mr-efficient-lite",
            data="mr-slices",
            **_LITE,
            held_out=0.05,
            per_epoch=800,
            epochs=6,
            batch=32,
            learning_rate=1e-3,
        ),
        Experiment(name="yesno-efficient-lite", data="yesno", **_LITE, per_epoch=192, epochs=14, learning_rate=5e-4),
        Experiment(
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
        Experiment(name="lgg-two-conv", row="B", network="two-convolutions", **_LGG_CLASS),
        Experiment(name="lgg-xception", row="B", network="xception", precision="32", **_LGG_CLASS),
        Experiment(name="lgg-unet", row="B", network="unet", **_TUMOUR_SLICES, **_LGG_MASK),
        Experiment(name="lgg-residual-unet", row="B", network="residual-unet", **_BOTH_SLICES, **_LGG_MASK),
        Experiment(
            name="lgg-efficient-unet",
            row="B",
            network="efficient-lite-unet",
            options={"pretrained": True},
            **_BOTH_SLICES,
            **{**_LGG_MASK, "inputs": "imagenet-v1"},
        ),
        Experiment(name="lgg-double-unet", row="B", network="double-unet", batch=8, **_BOTH_SLICES, **_LGG_MASK),
        Experiment(name="lgg-resnet50", row="C", network="resnet50", **{**_LGG_CLASS, **_STAGE}),
        Experiment(
            name="lgg-classic-resunet",
            row="C",
            network="classic-resunet",
            **_TUMOUR_SLICES,
            **{**_LGG_MASK, **_STAGE},
        ),
        Experiment(
            name="brats-unet3d",
            row="D",
            network="unet-3d",
            classes=BRATS,
            loss="soft-dice",
            size=(16, 160, 160),
            prior=0.02,
            **_MR,
        ),
        Experiment(
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
        Experiment(
            name="lgg-dynunet",
            row="ours",
            network="dynunet",
            positive_share=0.5,
            **{**_LGG_MASK, "inputs": "standardised-v1", "loss": "dice-bce"},
        ),
        Experiment(
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
        Experiment(
            name="brats-resunet3d",
            package="brain-brats-resunet3d",
            network="resunet-3d",
            size=(96, 112, 96),
            learning_rate=2e-3,
            **_BRAINS,
        ),
        Experiment(
            name="brats-slices-unet",
            package="brain-brats-slices-unet",
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
