"""Patient and study attributes that are allowed only beside others (PS3.3 C.7.1.1, C.7.1.3, C.7.2.1, C.7.2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.tag import Tag

_OTHER_DATES = ("PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar")
_BESIDE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ResponsiblePerson", ("ResponsiblePersonRole",)),
    ("ResponsiblePersonRole", ("ResponsiblePerson",)),
    ("PatientAlternativeCalendar", _OTHER_DATES),
    ("PatientBirthDateInAlternativeCalendar", ("PatientAlternativeCalendar",)),
    ("PatientDeathDateInAlternativeCalendar", ("PatientAlternativeCalendar",)),
    ("LongitudinalTemporalOffsetFromEvent", ("LongitudinalTemporalEventType",)),
    ("LongitudinalTemporalEventType", ("LongitudinalTemporalOffsetFromEvent",)),
    ("ClinicalTrialProtocolEthicsCommitteeName", ("ClinicalTrialProtocolEthicsCommitteeApprovalNumber",)),
    ("ClinicalTrialProtocolEthicsCommitteeApprovalNumber", ("ClinicalTrialProtocolEthicsCommitteeName",)),
)
"""What may stand only beside (one of) something else."""


class _Kind(NamedTuple):
    """Attributes that go together.

    Attributes:
        all_of: What must be there.
        any_of: Of which one must be there.
        members: What goes with them.
        empty: What must be there too, if only empty.
    """

    all_of: tuple[str, ...]
    any_of: tuple[str, ...]
    members: tuple[str, ...]
    empty: tuple[str, ...]


_KINDS = (
    _Kind(
        all_of=("ClinicalTrialSponsorName", "ClinicalTrialProtocolID"),
        any_of=("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
        members=("ClinicalTrial", "IssuerOfClinicalTrial", "OtherClinicalTrial", "Longitudinal", "ConsentForClinical"),
        empty=("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName"),
    ),
    _Kind(
        all_of=(),
        any_of=("PatientSpeciesDescription", "PatientSpeciesCodeSequence"),
        members=("PatientSpecies", "PatientBreed", "BreedRegistration", "Strain", "Genetic", "PatientSexNeutered"),
        empty=(
            "PatientBreedDescription",
            "PatientBreedCodeSequence",
            "BreedRegistrationSequence",
            "PatientSexNeutered",
            "ResponsiblePerson",
            "ResponsibleOrganization",
        ),
    ),
)
"""Subjects of trials, and animals."""
_HOW_REMOVED = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")


def drop_unaccompanied(clean: Dataset) -> Iterator[str]:
    """Take out what cannot stand alone, add what may be empty, and yield the keywords of what went."""
    for keyword, others in _BESIDE:
        if keyword in clean and not any(clean.get(other) for other in others):
            del clean[Tag(keyword)]
            yield keyword
    for kind in _KINDS:
        yield from _complete_kind(clean, kind)
    if clean.get("PatientIdentityRemoved") == "YES" and not any(clean.get(keyword) for keyword in _HOW_REMOVED):
        clean.DeidentificationMethod = "Not stated"
        yield "DeidentificationMethod"


def _complete_kind(clean: Dataset, kind: _Kind) -> Iterator[str]:
    members = [keyword for keyword in clean.dir() if keyword.startswith(kind.members)]
    needed = all(clean.get(keyword) for keyword in kind.all_of)
    if members and needed and any(clean.get(keyword) for keyword in kind.any_of):
        for keyword in kind.empty:
            if keyword not in clean:
                setattr(clean, keyword, [] if keyword.endswith("Sequence") else "")
        return
    for keyword in members:
        del clean[Tag(keyword)]
        yield keyword
