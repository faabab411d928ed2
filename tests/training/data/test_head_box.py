"""Where the head is on a picture, and that what surrounds it makes no other picture of it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training.data.duplicates import find_duplicates
from training.data.head_box import head_box

LEFT, TOP, RIGHT, BOTTOM = 60, 40, 160, 170


def picture():
    """An oval with something in it, on black, 220 x 200."""
    image = Image.new("L", (220, 200))
    draw = ImageDraw.Draw(image)
    draw.ellipse((LEFT, TOP, RIGHT - 1, BOTTOM - 1), fill=120)
    draw.ellipse((90, 70, 110, 120), fill=40)
    draw.ellipse((120, 110, 140, 140), fill=230)
    return image


def captioned(image):
    copy = image.copy()
    ImageDraw.Draw(copy).text((150, 3), "SCAN 12 A", fill=255)
    return copy


def framed(image):
    copy = image.copy()
    ImageDraw.Draw(copy).rectangle((0, 0, copy.width - 1, copy.height - 1), outline=255, width=4)
    return copy


def barred(image):
    copy = Image.new("L", (image.width + 120, image.height), 255)
    copy.paste(image, (60, 0))
    return copy


@pytest.mark.parametrize(("change", "shift"), [(picture, 0), (captioned, 0), (framed, 0), (barred, 60)])
def test_the_head_is_found_whatever_surrounds_it(change, shift):
    image = change(picture()) if change is not picture else picture()
    expected = (LEFT + shift, TOP, RIGHT + shift, BOTTOM)
    assert np.abs(np.subtract(head_box(image), expected)).max() <= 4


def test_a_picture_of_nothing_is_taken_whole():
    assert head_box(Image.new("L", (50, 30))) == (0, 0, 50, 30)
    speck = Image.new("L", (200, 200))
    speck.paste(255, (10, 10, 30, 30))
    assert head_box(speck) == (0, 0, 200, 200)


def test_a_caption_makes_no_other_picture(tmp_path):
    other = picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    for name, image in (("one", picture()), ("two", captioned(picture())), ("three", other)):
        image.save(tmp_path / f"{name}.png")
    one, two, three = find_duplicates([tmp_path / f"{name}.png" for name in ("one", "two", "three")]).groups
    assert one == two != three
