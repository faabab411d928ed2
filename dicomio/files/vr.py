"""Groups of value representations (PS3.5, 6.2 and 7.1.2) as pydicom defines them, in plain strings."""

from __future__ import annotations

from pydicom import valuerep

IN_FILES = frozenset(str(vr).encode() for vr in valuerep.STANDARD_VR)
"""All VRs as they stand in a file."""
TEXT_WITH_BACKSLASH = frozenset(str(vr) for vr in valuerep.STR_VR & valuerep.ALLOW_BACKSLASH)
"""Text of one value, in which a backslash is a character and separates nothing."""
NUMERIC_TEXT = frozenset({"DS", "IS"})
TEXT = frozenset(str(vr) for vr in valuerep.STR_VR) - TEXT_WITH_BACKSLASH - NUMERIC_TEXT - {"PN"}
"""Text of one or more values, without names of persons."""
ANY_CHARACTER_SET = frozenset(str(vr) for vr in valuerep.CUSTOMIZABLE_CHARSET_VR)
"""Text in the character set that (0008,0005) names."""
BINARY_NUMBERS = frozenset(valuerep.VALUE_LENGTH)
NUMBERS = BINARY_NUMBERS | NUMERIC_TEXT
NOT_SCALAR = frozenset(str(vr) for vr in valuerep.BYTES_VR | valuerep.LIST_VR)
"""Bulk data and sequences."""
NOT_TOLD = frozenset({"UN"} | {vr.value for vr in valuerep.AMBIGUOUS_VR})
"""What Implicit VR leaves open, also of private elements."""
LONGEST: dict[str, int] = dict(valuerep.MAX_VALUE_LEN)
"""Characters of one value."""
