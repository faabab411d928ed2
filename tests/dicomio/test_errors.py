from __future__ import annotations

import inspect
from typing import Any

import pytest

from dicomio import errors
from dicomio.errors import BadInput, DicomError, GeometryRefused, PeerRefused
from dicomio.volumes.refusals import content, geometry, images
from tests.error_examples import example


def kinds(module: Any) -> list[type[DicomError]]:
    found = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, DicomError)]
    return [kind for kind in found if kind.__module__ == module.__name__]


@pytest.mark.parametrize(
    "kind", kinds(errors) + kinds(geometry) + kinds(images) + kinds(content), ids=lambda kind: kind.__name__
)
def test_every_message_is_a_sentence(kind: type[DicomError]) -> None:
    assert "Attributes" not in str(example(kind))
    assert str(example(kind)).endswith(".")


@pytest.mark.parametrize("kind", kinds(geometry) + kinds(images), ids=lambda kind: kind.__name__)
def test_every_refusal_says_what_to_do(kind: type[DicomError]) -> None:
    assert issubclass(kind, GeometryRefused)
    assert issubclass(kind, BadInput)
    verb = str(example(kind)).split(". ")[-1].split()[0]
    assert verb in {"Send", "Export", "Reconstruct", "Load"}


def test_data_with_braces_is_not_a_format() -> None:
    assert str(PeerRefused(peer="PACS {x}", reason="{reason}")) == "PACS {x} refused: {reason}."
