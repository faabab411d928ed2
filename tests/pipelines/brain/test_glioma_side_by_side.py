"""What is done side by side in a brain study fails as it would have failed in turn."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from dicomio.errors import RegistrationFailed
from engines.errors import DeviceLost, OutOfDeviceMemory
from pipelines.brain import alignment as brain_alignment
from pipelines.brain.alignment import align
from pipelines.brain.glioma import _in_background
from pipelines.errors import BrainNotFound


def raises(error: BaseException) -> Any:
    def ask() -> Any:
        raise error

    return ask


LOST = DeviceLost(package="classifier", backend="tensorrt", reason="unplugged")


def test_the_answer_comes_from_a_thread_that_ends() -> None:
    with _in_background(lambda: threading.current_thread().name) as answer:
        assert str(answer()).startswith("classifier")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("classifier")]


def test_what_the_classifier_raises_is_raised_where_its_answer_is_wanted() -> None:
    with (
        pytest.raises(OutOfDeviceMemory),
        _in_background(raises(OutOfDeviceMemory(package="a", backend="b", reason="c"))) as answer,
    ):
        answer()


def test_a_brain_that_is_not_found_is_told_whatever_the_classifier_says() -> None:
    for ask in (lambda: None, raises(ValueError("odd"))):
        with pytest.raises(BrainNotFound), _in_background(ask):
            raise BrainNotFound(reason="no head")


def test_a_lost_device_is_told_whatever_else_fails_for_only_that_replaces_the_worker() -> None:
    with pytest.raises(DeviceLost), _in_background(raises(LOST)):
        raise OutOfDeviceMemory(package="a", backend="b", reason="c")


def test_sequences_aligned_side_by_side_keep_their_order_and_fail_each_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Lying:
        frame_of_reference_uid = "1.2.3"

    moved, first = np.eye(4), threading.Event()

    def found(moving: Any, flair: Any) -> Any:
        if moving is images["t1"]:
            first.wait(30)  # the first one ends last
            return moved
        if moving is images["t1ce"]:
            return RegistrationFailed(moving_uid="1.2", fixed_uid="1.3", reason="nothing fits")
        first.set()
        return None

    images: dict[str, Any] = {role: Lying() for role in ("flair", "t1", "t1ce", "t2")}
    monkeypatch.setattr(brain_alignment, "_transform_of", found)
    alignment = align(images, images["flair"], ("t1", "t1ce", "t2"))
    assert list(alignment.transforms) == ["t1", "t2"]
    assert alignment.transforms["t1"] is moved
    assert alignment.transforms["t2"] is None
    assert list(alignment.failed) == ["t1ce"]
    assert alignment.notes == ("The patient moved between the FLAIR and T1, which was registered (rigid)",)
