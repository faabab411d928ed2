"""JSON Schema of the rule file, for editors that check and complete it while it is typed."""

from __future__ import annotations

from typing import Any

from pipelines.rules.derived.kinds import Phase, SequenceKind
from pipelines.rules.derived.plane import AnatomicalPlane
from pipelines.rules.model import Conditions, Role, RuleSet
from pipelines.rules.study.keywords import keyword_named

_COMMON = (
    *("Modality", "StudyDescription", "SeriesDescription", "ProtocolName", "BodyPartExamined", "Manufacturer"),
    *("ManufacturerModelName", "StationName", "InstitutionName", "ImageType", "SOPClassUID", "ScanningSequence"),
    *("SliceThickness", "SpacingBetweenSlices", "ContrastBolusAgent", "ConvolutionKernel", "KVP", "SeriesNumber"),
    *("MagneticFieldStrength", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "MRAcquisitionType"),
    *("Rows", "Columns", "PatientAge", "PatientID", "AccessionNumber"),
)
"""Keywords that an editor offers; every other DICOM keyword is allowed too."""

_TEXT = {"type": ["string", "number", "boolean"]}


def _condition(value: dict[str, Any], description: str, *tests: str) -> dict[str, Any]:
    """Schema of a condition on one kind of value: the bare value, or a mapping of tests."""
    number = {"type": "number"}
    explained: dict[str, dict[str, Any]] = {
        "equals": {**value, "description": "The value itself; what a bare value stands for."},
        "in": {"type": "array", "minItems": 1, "items": value, "description": 'One of these; "" for a missing value.'},
        "matches": {"type": "string", "minLength": 1, "description": "Regular expression, found anywhere."},
        "min": {**number, "description": "This or more."},
        "max": {**number, "description": "This or less."},
        "exists": {"type": "boolean", "description": "Whether it must be there and not empty."},
        "not": {"$ref": "#/$defs/Condition", "description": "Must not hold; the value must be there."},
    }
    kept = {test: explained[test] for test in ("equals", "in", *tests, "exists", "not")}
    mapping = {"type": "object", "additionalProperties": False, "minProperties": 1, "properties": kept}
    return {"description": description, "anyOf": [value, mapping]}


def _choice(values: type[AnatomicalPlane | SequenceKind | Phase]) -> dict[str, Any]:
    return {"enum": [*map(str, values), ""]}


_ON_BOTH = {
    "images": _condition({"type": "number"}, "Number of images.", "min", "max"),
    "source_ae": _condition(_TEXT, "Application Entity that sent the images.", "matches"),
}
_ON_SERIES = {
    "plane": _condition(_choice(AnatomicalPlane), "Plane of the slices, from their direction cosines."),
    "sequence": _condition(_choice(SequenceKind), "Kind of MR sequence, from its timing."),
    "contrast": _condition({"enum": [True, False, ""]}, "Whether a contrast agent had been given."),
    "phase": _condition(_choice(Phase), "Contrast phase, from words, contrast tags and acquisition times."),
    "localizer": _condition({"enum": [True, False, ""]}, "Whether the series only plans the others."),
    "units": _condition(_TEXT, "What the pixel values are numbers of: HU, MGML, ...", "matches"),
    **_ON_BOTH,
}


def conditions_schema(description: str, *, of_study: bool) -> dict[str, Any]:
    """Schema of `study`, or of one role under `series`."""
    properties: dict[str, Any] = dict(_ON_BOTH if of_study else _ON_SERIES)
    if not of_study:
        properties["optional"] = {"type": "boolean", "default": False, "description": "The pipeline can do without."}
    for keyword in _COMMON:
        numeric = keyword_named(keyword).kind in ("number", "moment")
        properties[keyword] = {"$ref": "#/$defs/" + ("NumberCondition" if numeric else "TextCondition")}
    return {
        "type": "object",
        "description": " ".join(description.split()),
        "properties": properties,
        "patternProperties": {"^[A-Z][A-Za-z0-9]+$": {"$ref": "#/$defs/Condition"}},
        "additionalProperties": False,
    }


DEFINITIONS = {
    "Condition": _condition(_TEXT, "A condition on a DICOM keyword.", "matches", "min", "max"),
    "TextCondition": _condition(_TEXT, "A condition on text.", "matches"),
    "NumberCondition": _condition(_TEXT, "A condition on a number, a date or a time.", "matches", "min", "max"),
}
"""What `conditions_schema` refers to."""


def rule_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `rules.yaml`; published as deploy/rules.schema.json."""
    schema = RuleSet.model_json_schema()
    schema["$defs"] |= DEFINITIONS | {
        "Conditions": conditions_schema(Conditions.__doc__ or "", of_study=True),
        "Role": conditions_schema(Role.__doc__ or "", of_study=False),
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Scanward routing rules"}
    return head | {key: value for key, value in schema.items() if key not in head}
