"""Functional groups of enhanced multi-frame objects (PS3.3 C.7.6.16), under the keywords of classic objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomio.files.parse_errors import DamagedElement
from dicomio.files.values import Plain, plain_tags, plain_value, texts

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"

# macro -> its attributes, each with the keyword that a classic object has it under
PLACE: Mapping[str, Mapping[str, str]] = {
    "PixelMeasuresSequence": {
        "PixelSpacing": "PixelSpacing",
        "SliceThickness": "SliceThickness",
        "SpacingBetweenSlices": "SpacingBetweenSlices",
    },
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PixelValueTransformationSequence": {
        "RescaleSlope": "RescaleSlope",
        "RescaleIntercept": "RescaleIntercept",
        "RescaleType": "RescaleType",
    },
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "MRImageFrameTypeSequence": {"FrameType": "ImageType"},
    "PETFrameTypeSequence": {"FrameType": "ImageType"},
    "CTAcquisitionDetailsSequence": {"GantryDetectorTilt": "GantryDetectorTilt"},
    "FrameContentSequence": {
        "StackID": "StackID",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "FrameAcquisitionNumber": "AcquisitionNumber",
    },
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRDiffusionSequence": {"DiffusionBValue": "DiffusionBValue"},
    "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": "TriggerTime"},
}
ACQUISITION: Mapping[str, Mapping[str, str]] = {
    "MRTimingAndRelatedParametersSequence": {
        "RepetitionTime": "RepetitionTime",
        "FlipAngle": "FlipAngle",
        "EchoTrainLength": "EchoTrainLength",
    },
    "MRModifierSequence": {"InversionRecovery": "InversionRecovery", "InversionTimes": "InversionTime"},
    "MRFOVGeometrySequence": {"InPlanePhaseEncodingDirection": "InPlanePhaseEncodingDirection"},
    "CTXRayDetailsSequence": {"KVP": "KVP"},
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
}
_UNASSIGNED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
_ECHO_PULSES = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}


def items(dataset: Dataset, keyword: str) -> Collection[Dataset]:
    """The items of a sequence; none if it is missing or empty.

    Raises:
        DamagedElement: It is not a sequence, or cannot be parsed.
    """
    tag = tag_for_keyword(keyword) or 0
    try:
        found: object = dataset[tag].value if tag in dataset else None
    except Exception as error:
        raise DamagedElement(tag, f"its items cannot be taken apart ({type(error).__name__})") from error
    if found is None or (not isinstance(found, Sequence) and not found):
        return ()
    if not isinstance(found, Sequence):
        raise DamagedElement(tag, "it is no sequence")
    held: Collection[Dataset] = found
    return held


def group_values(group: Dataset, macros: Mapping[str, Mapping[str, str]]) -> dict[str, Plain]:
    """Values of one functional group item in the given macros, by classic keyword."""
    found: dict[str, Plain] = {}
    for macro, names in macros.items():
        for item in items(group, macro):
            for keyword, classic in names.items():
                value = plain_value(item, keyword)
                if value is not None:
                    found[classic] = value
    return found


def functional_group_tags(dataset: Dataset) -> dict[str, Plain]:
    """Tags of an enhanced object's first frame as a classic object would have them at its top level.

    Covers what routing asks for: orientation, position, spacing, thickness, timing, kernel, anatomy and contrast.
    """
    found: dict[str, Plain] = {}
    for groups in (items(dataset, SHARED), items(dataset, PER_FRAME)):
        for group in list(groups)[:1]:
            for keyword in _UNASSIGNED:
                for item in items(group, keyword):
                    found.update(plain_tags(item))
            found.update(group_values(group, PLACE))
            found.update(group_values(group, ACQUISITION))
            found.update(_anatomy(group))
    found.update(_top_level(dataset))
    if found.pop("InversionRecovery", None) == "YES":
        found["ScanningSequence"] = [*texts(found.get("ScanningSequence")), "IR"]
    return found


def _anatomy(group: Dataset) -> dict[str, Plain]:
    """Enhanced objects name the body part as a code; its meaning in capitals is the classic defined term."""
    for anatomy in items(group, "FrameAnatomySequence"):
        for region in items(anatomy, "AnatomicRegionSequence"):
            meaning = plain_value(region, "CodeMeaning")
            if meaning is not None:
                return {"BodyPartExamined": str(meaning).upper()}
    return {}


def _top_level(dataset: Dataset) -> dict[str, Plain]:
    """Top-level values of enhanced objects under other keywords than classic ones."""
    found: dict[str, Plain] = {}
    pulses = _ECHO_PULSES.get(str(plain_value(dataset, "EchoPulseSequence")))
    if pulses:
        found["ScanningSequence"] = list(pulses)
    name = plain_value(dataset, "PulseSequenceName")
    if name is not None:
        found["SequenceName"] = name
    for agent in items(dataset, "ContrastBolusAgentSequence"):
        found["ContrastBolusAgent"] = plain_value(agent, "CodeMeaning") or "contrast"
    return found
