"""What is printed for people, and the one function that makes a text from outside fit to be printed or logged.

AE titles, file names and tags are written by others. On a terminal an escape sequence may move the cursor, rename the
window or hide what follows; in a log a line break forges a line; to Rich `[red]` is a colour and `[/x]` an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff"  # marks that turn, hide or break a text
    "\ud800-\udfff]"  # bytes of a file name that are no UTF-8
)

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def escaped(text: str, *, lines: bool = False) -> str:
    r"""The text with every character that would act instead of being shown written as `\x1b`, `\u202e`.

    Args:
        text: From anywhere.
        lines: Whether line breaks and tabulators may stay.
    """
    return _CONTROLS.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _written(found[0]), text)


def _written(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class Terminal(Console):
    """A console to which every string is plain text: no markup, no emoji codes, no control characters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything printed comes by here, as pieces of text that have their style beside them."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escaped(segment.text, lines=True))

    def print_as_json(self, value: Any) -> None:
        """Prints plain values as JSON, all that is not ASCII escaped: whoever reads it gets every character back."""
        self.file.write(json.dumps(value, indent=2) + "\n")
