"""Rule files for tests: the example of the design, and short ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.errors import RuleProblem, RulesInvalid
from pipelines.rules.file import parse_rules
from pipelines.rules.model import RuleSet
from pipelines.rules.routing import Route, Unmatched

DESIGN = """
rules:
  - name: glioma
    pipeline: brain-mr
    study:  {StudyDescription: {matches: "(?i)brain|head|glioma"}}
    series:                                    # roles the pipeline asks for
      flair: {Modality: MR, SeriesDescription: {matches: "(?i)flair"}, plane: axial, images: {min: 12}}
      t1:    {Modality: MR, sequence: t1, contrast: false, optional: true}
      t1ce:  {Modality: MR, sequence: t1, contrast: true,  optional: true}
    priority: routine                          # stat | routine | low
    send_to: [pacs]
  - name: liver
    pipeline: abdomen-ct
    series:
      ct: {Modality: CT, plane: axial, images: {min: 20}, SliceThickness: {max: 5}, BodyPartExamined: {in: [ABDOMEN, LIVER, ""]}}
    send_to: [pacs]
"""  # noqa: E501 - as it stands in the design


PIPELINES: Any = {
    "brain-mr": SimpleNamespace(roles=("flair",), optional_roles=("t1", "t1ce", "t2")),
    "abdomen-ct": SimpleNamespace(roles=("ct",), optional_roles=()),
}


def problems(text: str, **known: Any) -> list[RuleProblem]:
    with pytest.raises(RulesInvalid) as caught:
        parse_rules(text, Path("rules.yaml"), **known)
    return list(caught.value.problems)


def role(conditions: str) -> str:
    """A file with one rule whose only role has these conditions; they stand in line 5, from column 9 on."""
    return f"rules:\n- name: a\n  pipeline: p\n  series:\n    r: {{{conditions}}}\n  send_to: []\n"


def rules(*texts: str) -> RuleSet:
    """Rules `name: role: {conditions}, ...` for one pipeline each."""
    parts = []
    for number, text in enumerate(texts):
        parts.append(f"- name: rule{number}\n  pipeline: pipeline{number}\n  series: {{{text}}}\n  send_to: [pacs]\n")
    return parse_rules("rules:\n" + "".join(parts))


def roles(found: list[Route] | Unmatched) -> dict[str, str]:
    assert isinstance(found, list), found
    assert len(found) == 1
    return dict(found[0].roles)
