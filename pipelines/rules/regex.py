"""Regular expressions out of a rule file: checked when the file is read, so that none can stop the daemon later."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

SEARCHED = 128
"""Only so many characters of a value are searched; descriptions have 64 (VR LO)."""
MOST_REPEATS = 4
"""Unbounded repetitions one after the other; the time of a search grows with SEARCHED to this power."""

_UNBOUNDED = 16  # a repetition with room for this many counts as unbounded
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT)


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """The compiled pattern.

    Raises:
        ValueError: It is no regular expression, or one that may need forever on some text: a repetition within a
            repetition, such as `(a+)+`, or too many in a row. The message says so.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # `[[`: the library may come to read it otherwise
            tree = parser.parse(pattern)
            found = re.compile(pattern)
    except FutureWarning as warning:
        raise ValueError(f"{pattern!r} has two readings ({warning}); write \\[ for a bracket") from warning
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if _nested(tree):
        raise ValueError(
            f"{pattern!r} repeats something that can itself match in several ways, and may need forever on some texts; "
            "write it without a repetition or a choice inside a repetition"
        )
    if _in_a_row(tree) > MOST_REPEATS:
        raise ValueError(f"{pattern!r} has more than {MOST_REPEATS} repetitions (* or +) in a row; use fewer")
    return found


def search(pattern: str, text: str) -> re.Match[str] | None:
    """The first place where the pattern fits within the first SEARCHED characters."""
    return compiled(pattern).search(text, 0, SEARCHED)


def _nested(tree: Any) -> bool:
    """Whether a repetition holds another one, or alternatives: then matching can take time exponential in the text."""
    for code, argument in tree:
        inner = _parts(code, argument)
        if code in _REPEATS and argument[1] >= 2:
            if any(_in_a_row(part) for part in inner):
                return True
            if argument[1] >= _UNBOUNDED and any(_chooses(part) for part in inner):
                return True
        if any(_nested(part) for part in inner):
            return True
    return False


def _chooses(tree: Any) -> bool:
    return any(
        code is codes.BRANCH
        or (code in _REPEATS and argument[0] != argument[1])
        or any(_chooses(part) for part in _parts(code, argument))
        for code, argument in tree
    )


def _in_a_row(tree: Any) -> int:
    """How many unbounded repetitions one match goes through at most."""
    total = 0
    for code, argument in tree:
        here = 1 if code in _REPEATS and argument[1] >= _UNBOUNDED else 0
        inside = [_in_a_row(part) for part in _parts(code, argument)]
        total += here + max(inside, default=0)
    return total


def _parts(code: Any, argument: Any) -> list[Any]:
    """The patterns inside one."""
    if code in _REPEATS:
        return [argument[2]]
    if code is codes.BRANCH:
        return list(argument[1])
    if code is codes.SUBPATTERN:
        return [argument[3]]
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [argument[1]]
    if code is codes.GROUPREF_EXISTS:
        return [part for part in argument[1:] if part is not None]
    return [argument] if code is codes.ATOMIC_GROUP else []
