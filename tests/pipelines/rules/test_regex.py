from __future__ import annotations

import time

import pytest

from pipelines.rules.regex import SEARCHED, compiled, search


def test_only_the_beginning_of_a_long_text_is_searched() -> None:
    assert search("end$", "x" * SEARCHED + "end") is None
    assert search("^x", "x" * 10**6)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", "(a*)*", "(.*a){12}", "(\\w+ ?)+x", "(a?){50}a", "a*a*a*a*a*b", "[", "(?P<a", "*"]
)
def test_expressions_that_could_hang_or_are_none_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"repe|regular expression"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", ["(?i)^(?!.*loc).*flair", "T[12].*(ax|tra)", "(?:ab)+c", "a*a*a*b", ".*a.*b.*c.*d"])
def test_expressions_that_are_accepted_end_soon(pattern: str) -> None:
    began = time.perf_counter()
    for hostile in ("a" * 4000, "ab" * 2000, "abc" * 2000, "abcT1" * 1000):
        search(pattern, hostile)
    assert time.perf_counter() - began < 2
