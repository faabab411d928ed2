"""Coded concepts, and those that our results use: standard codes, or else our own, which reports declare."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.3 8.8): what it is called is for people, value and scheme are what it is.

    Attributes:
        value: Code Value, such as "108369006".
        scheme: Coding Scheme Designator, such as "SCT", "DCM" or "UCUM".
        meaning: Code Meaning, such as "Neoplasm"; not part of the identity of a concept, so two codes that differ
            only here compare equal.
    """

    value: str
    scheme: str
    meaning: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Code) and (self.value, self.scheme) == (other.value, other.scheme)

    def __hash__(self) -> int:
        return hash((self.value, self.scheme))

    def __str__(self) -> str:
        return f"{self.meaning} ({self.scheme} {self.value})"


PRIVATE_SCHEME = "99SCANWARD"

# Units of measurement
MILLILITRE = Code("mL", "UCUM", "mL")
MILLIMETRE = Code("mm", "UCUM", "mm")
PERCENT = Code("%", "UCUM", "%")
COUNT = Code("1", "UCUM", "no units")

# Measurements
VOLUME = Code("118565006", "SCT", "Volume")
LONG_AXIS = Code("103339001", "SCT", "Long axis")  # largest diameter on an axial slice, as in RECIST
CORONAL_DIAMETER = Code("DIAMETER-CORONAL", PRIVATE_SCHEME, "Largest diameter in a coronal plane")
SAGITTAL_DIAMETER = Code("DIAMETER-SAGITTAL", PRIVATE_SCHEME, "Largest diameter in a sagittal plane")
LESION_COUNT = Code("246206008", "SCT", "Number of lesions")
TUMOUR_BURDEN = Code("TUMOUR-BURDEN", PRIVATE_SCHEME, "Tumour volume as a share of the organ")
TUMOUR_VOLUME = Code("TUMOUR-VOLUME", PRIVATE_SCHEME, "Volume of all tumours")
TUMOUR_CORE_VOLUME = Code("TUMOUR-CORE-VOL", PRIVATE_SCHEME, "Volume of tumour without edema")
EDEMA_VOLUME = Code("EDEMA-VOLUME", PRIVATE_SCHEME, "Volume of edema around tumours")
NON_ENHANCING_VOLUME = Code("NON-ENHANC-VOL", PRIVATE_SCHEME, "Volume of tumour core that does not enhance")
ENHANCING_VOLUME = Code("ENHANCING-VOLUME", PRIVATE_SCHEME, "Volume of enhancing tumour")
PROBABILITY = Code("122157", "DCM", "Probability")

# Questions and answers
PRESENCE = Code("121052", "DCM", "Presence of property")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")
INDETERMINATE = Code("82334004", "SCT", "Indeterminate")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")

# What things are and where
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
BRAIN = Code("12738006", "SCT", "Brain")
LIVER = Code("10200004", "SCT", "Liver")

# Text in reports
SUMMARY = Code("121111", "DCM", "Summary")
COMMENT = Code("121106", "DCM", "Comment")

# The procedure that was reported (CID 100)
PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
}
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")

# Modalities as image libraries name them (CID 29)
MODALITIES = {
    "CT": Code("CT", "DCM", "Computed Tomography"),
    "MR": Code("MR", "DCM", "Magnetic Resonance"),
    "PT": Code("PT", "DCM", "Positron emission tomography"),
}
