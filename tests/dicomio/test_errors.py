from __future__ import annotations

import inspect
import pickle
import string
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from dicomio import errors
from dicomio.errors import BadInput, DicomError, GeometryRefused, PeerRefused
from dicomio.volumes import refusals

SAMPLES: dict[str, Any] = {
    "path": Path("/spool/x.dcm"),
    "besides": (),
    "keywords": ("Rows",),
    "series_uids": ("1.2", "1.3"),
    "frames_of_reference": ("1.2", "1.3"),
    "orientations": ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0),),
    "matrices": ((512, 512, 0.5, 0.5),),
    "gaps": ((10.0, "3", "4"),),
    "spacings_mm": (1.0, 2.0),
}


def kinds(module: Any) -> list[type[DicomError]]:
    found = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, DicomError)]
    return [kind for kind in found if kind.__module__ == module.__name__]


def example(kind: type[DicomError]) -> DicomError:
    def value(name: str, annotation: str) -> Any:
        return SAMPLES[name] if name in SAMPLES else {"str": "text", "int": 7, "float": 2.5}[annotation]

    return kind(**{field.name: value(field.name, str(field.type)) for field in fields(kind)})


@pytest.mark.parametrize("kind", kinds(errors) + kinds(refusals), ids=lambda kind: kind.__name__)
def test_every_error_says_its_data_and_travels(kind: type[DicomError]) -> None:
    error = example(kind)
    assert not set("{}") & set(str(error))
    assert "Attributes" not in str(error)
    assert str(error).endswith(".")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


@pytest.mark.parametrize("kind", kinds(refusals), ids=lambda kind: kind.__name__)
def test_every_refusal_says_what_to_do(kind: type[DicomError]) -> None:
    assert issubclass(kind, GeometryRefused)
    assert issubclass(kind, BadInput)
    verb = str(example(kind)).split(". ")[-1].split()[0]
    assert verb in {"Send", "Export", "Reconstruct", "Load"}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for module in (errors, refusals):
        drawn = {word.strip(string.punctuation) for word in (module.__doc__ or "").split()}
        assert {kind.__name__ for kind in kinds(module)} <= drawn


def test_data_with_braces_is_not_a_format() -> None:
    assert str(PeerRefused(peer="PACS {x}", reason="{reason}")) == "PACS {x} refused: {reason}."
