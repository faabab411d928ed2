from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.rules.derived.kinds import SequenceKind
from pipelines.rules.file import parse_rules

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "rules.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_what_the_guide_shows_is_right(text: str) -> None:
    assert len(parse_rules(text, known_destinations={"pacs", "archive"}))


def test_the_guide_has_examples_and_names_every_sequence() -> None:
    said = GUIDE.read_text(encoding="utf-8")

    assert len(EXAMPLES) == 2
    assert [kind for kind in SequenceKind if f"`{kind}`" not in said] == []
