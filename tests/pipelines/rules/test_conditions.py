from __future__ import annotations

from typing import Any

import pytest

from pipelines.rules.conditions import Condition


def condition(raw: object) -> Condition:
    return Condition.model_validate(raw)


@pytest.mark.parametrize(
    ("raw", "values", "holds"),
    [
        ("MR", ("MR",), True),
        ("MR", ("mr",), False),  # capitals count
        ("MR", ("CT", "MR"), True),  # one of several values
        (" MR ", ("MR",), True),
        (5, ("5.0",), True),
        (5, (5.0,), True),
        ("5", (5.0,), True),
        ("5", ("5.0",), False),  # text is compared as text
        (True, (True,), True),
        (False, (True,), False),
        (True, (1,), False),
        ("", (), True),
        ("", ("x",), False),
        ({"in": ["A", "B"]}, ("B",), True),
        ({"in": ["A", "B"]}, ("C",), False),
        ({"in": ["A", ""]}, (), True),
        ({"in": ["A"]}, (), False),
        ({"matches": "(?i)flair"}, ("Ax T2 FLAIR",), True),
        ({"matches": "^flair$"}, ("Ax FLAIR",), False),
        ({"matches": ".*"}, (), False),
        ({"matches": "^5"}, (5.0,), True),
        ({"min": 12}, (12,), True),
        ({"min": 12}, ("11.9",), False),
        ({"max": 5}, ("4.99",), True),
        ({"min": 2, "max": 5}, (1, 7), False),  # one value must fit all
        ({"min": 2, "max": 5}, (1, 3, 7), True),
        ({"max": 5}, ("thin",), False),
        ({"max": 5}, (), False),
        ({"exists": True}, ("x",), True),
        ({"exists": True}, (), False),
        ({"exists": False}, (), True),
        ({"exists": False}, ("x",), False),
        ({"not": "CHEST"}, ("HEAD",), True),
        ({"not": "CHEST"}, ("CHEST",), False),
        ({"not": "CHEST"}, (), False),  # a missing tag matches nothing
        ({"not": {"matches": "MIP"}}, ("ORIGINAL", "MIP"), False),  # none of several may match
        ({"not": {"exists": True}}, (), True),
        ({"not": {"exists": False}}, ("x",), True),
        ({"not": {"in": ["A", "B"]}, "matches": "^[A-D]$"}, ("C",), True),
        ({"not": {"in": ["A", "B"]}, "matches": "^[A-D]$"}, ("E",), False),
        ({"in": [False, ""]}, (), True),
        ({"in": [False, ""]}, (False,), True),
        ({"in": [False, ""]}, (True,), False),
        ({"equals": "MR"}, ("MR",), True),
        ("ORIGINAL\\PRIMARY\\AXIAL", ("ORIGINAL", "PRIMARY", "AXIAL"), True),  # several values, as DICOM writes them
        ("ORIGINAL\\PRIMARY", ("ORIGINAL", "PRIMARY", "AXIAL"), True),
        ("ORIGINAL\\PRIMARY\\LOCALIZER", ("ORIGINAL", "PRIMARY", "AXIAL"), False),
        ("PRIMARY\\ORIGINAL", ("ORIGINAL", "PRIMARY"), False),
        ("0.8\\0.8", (0.8,), True),
        ("\\", ("ORIGINAL",), False),
        ("ORIGINAL\\PRIMARY", (), False),
        ({"in": ["DERIVED\\SECONDARY", "ORIGINAL\\PRIMARY"]}, ("ORIGINAL", "PRIMARY", "AXIAL"), True),
        ({"not": "DERIVED\\SECONDARY"}, ("DERIVED", "SECONDARY", "MPR"), False),
        ({"equals": "ORIGINAL\\PRIMARY", "not": {"in": ["MIP"]}}, ("ORIGINAL", "PRIMARY", "MIP"), False),
        ({"equals": "ORIGINAL\\PRIMARY", "matches": "^AX"}, ("ORIGINAL", "PRIMARY", "SAGITTAL"), False),
    ],
)
def test_conditions(raw: object, values: tuple[Any, ...], holds: bool) -> None:
    assert condition(raw).holds(values) is holds


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("MR", "MR"),
        (False, "false"),
        ("", "empty"),
        ({"in": ["ABDOMEN", ""]}, "one of ABDOMEN, empty"),
        ({"matches": "(?i)flair"}, "matching (?i)flair"),
        ({"min": 12}, "at least 12"),
        ({"max": 5.5}, "at most 5.5"),
        ({"min": 1, "max": 5}, "from 1 to 5"),
        ({"exists": False}, "missing"),
        ({"not": {"matches": "MIP"}, "exists": True}, "present and not matching MIP"),
    ],
)
def test_conditions_in_words(raw: object, words: str) -> None:
    assert condition(raw).words() == words
