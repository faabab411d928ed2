from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dicomio.results.codes import Code
from dicomio.results.uids import derived_uid


@given(parts=st.lists(st.text(), min_size=1, max_size=4))
def test_a_derived_uid_is_valid_and_always_the_same(parts: list[str]) -> None:
    uid = UID(derived_uid(*parts))
    assert uid.is_valid
    assert uid == derived_uid(*parts)


def test_a_derived_uid_does_not_change_between_releases() -> None:
    assert derived_uid("study", "model", "seg") == "2.25.77422195626273627944034701287702528171"


def test_the_borders_between_parts_count() -> None:
    assert len({derived_uid("ab", "c"), derived_uid("a", "bc"), derived_uid("abc"), derived_uid("abc", "")}) == 4


def test_nothing_has_no_uid() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        derived_uid()


def test_codes_are_what_they_are_not_what_they_are_called() -> None:
    assert Code("10200004", "SCT", "Liver") == Code("10200004", "SCT", "Hepar")
    assert Code("10200004", "SCT", "Liver") != Code("10200004", "99X", "Liver")
    assert len({Code("10200004", "SCT", "Liver"), Code("10200004", "SCT", "Hepar")}) == 1
    assert str(Code("10200004", "SCT", "Liver")) == "Liver (SCT 10200004)"
