from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pipelines.rules.preference import ranked, why_preferred
from pipelines.rules.routing import route
from pipelines.rules.study.attributes import SeriesAttributes
from tests.pipelines.rules.rule_files import roles, rules
from tests.pipelines.rules.studies import SAGITTAL, ct, mr, positions, study

BETTER: list[tuple[str, SeriesAttributes, SeriesAttributes]] = [
    ("the other is a localizer", mr(1, "t2", "AX T2"), mr(9, "t2", "scout T2", slices=40)),
    ("only serves the examination", mr(1, "t2", "AX T2"), mr(9, "t2", "Calibration", slices=40)),
    ("an original acquisition", mr(1, "t2"), mr(9, "t2", slices=40, ImageType=["DERIVED", "SECONDARY"])),
    (
        "a computed series, the other is a reformat",
        mr(1, "t2", ImageType=["DERIVED", "PRIMARY", "M"]),
        mr(9, "t2", slices=40, ImageType=["DERIVED", "SECONDARY", "MPR"]),
    ),
    ("a reformat or projection", mr(1, "t2"), mr(9, "t2", slices=40, ImageType=["ORIGINAL", "PRIMARY", "P"])),
    (
        "repeats its slices 4 times",
        ct(1, slices=30),
        replace(ct(9), instance_tags=positions(30, 5, volumes=4), images=120),
    ),
    ("axial or close slices", mr(1, "flair"), mr(9, "flair", slices=40, ImageOrientationPatient=SAGITTAL)),
    ("a soft kernel", ct(1, ConvolutionKernel="B30f"), ct(9, slices=90, ConvolutionKernel="B70f")),
    ("a soft kernel", ct(1, ConvolutionKernel="STANDARD"), ct(9, slices=90, ConvolutionKernel="BONE")),
    ("a soft kernel", ct(1, ConvolutionKernel="Br40d"), ct(9, slices=90, ConvolutionKernel=["Hr68h", "3"])),
    ("an unknown kernel", ct(1), ct(9, slices=90, ConvolutionKernel="LUNG")),
    ("contrast is known", ct(1, "portal venous"), ct(9, "Abdomen", slices=90)),
    ("more slices (40 against 24)", mr(1, "t2", slices=40), mr(9, "t2", slices=24)),
    ("closer slices (3 against 5 mm)", mr(1, "t2", spacing=3), mr(9, "t2", spacing=5)),
    ("finer pixels (0.4 against 0.8 mm)", mr(1, "t2", PixelSpacing=[0.4, 0.4]), mr(9, "t2")),
    ("acquired later", mr(9, "t2"), mr(1, "t2")),
    (
        "acquired later",
        mr(1, "t2", AcquisitionTime="110000"),
        mr(9, "t2", AcquisitionTime="101500"),
    ),
]


@pytest.mark.parametrize(("why", "better", "other"), BETTER, ids=[item[0] for item in BETTER])
def test_the_better_series_is_preferred_with_a_reason(
    why: str, better: SeriesAttributes, other: SeriesAttributes
) -> None:
    whole = study(better, other)

    assert ranked(whole, [other, better]) == [better, other]
    assert ranked(whole, [better, other]) == [better, other]
    assert why in why_preferred(whole, better, other)


def test_close_sagittal_slices_are_as_good_as_axial_ones() -> None:
    axial = mr(1, "flair", slices=24, spacing=5)
    sagittal = mr(2, "flair", slices=176, spacing=1, ImageOrientationPatient=SAGITTAL)
    sagittal = replace(sagittal, instance_tags=tuple({"ImagePositionPatient": [n, 0, 0]} for n in range(176)))

    assert ranked(study(axial, sagittal), [axial, sagittal])[0] is sagittal


def test_the_choice_does_not_depend_on_the_order_of_the_series() -> None:
    series = [mr(number, "t1", slices=20 + number % 3) for number in range(1, 9)]
    found = set()
    for seed in range(10):
        random.Random(seed).shuffle(series)
        found.add(tuple(sorted(roles(route(study(*series), rules("a: {sequence: t1}, b: {sequence: t1}"))).items())))

    assert len(found) == 1
