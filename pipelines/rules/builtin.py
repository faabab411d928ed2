"""Rules for when there is no rule file: `scanward process`, and the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.registry import pipeline_named
from pipelines.rules.published import parse_rules

if TYPE_CHECKING:
    from pipelines.rules.published import RuleSet

BUILTIN_RULES = """\
# Scanward's built-in rules: careful ones, that read what the images are and not what the hospital calls them.
# They are those of deploy/rules.yaml, but for where the results go.
rules:
  - name: brain
    pipeline: brain-mr
    series:
      flair: {Modality: MR, sequence: flair, localizer: false, images: {min: 12}}
      t1:    {Modality: MR, sequence: t1, contrast: false, images: {min: 12}, optional: true}
      t1ce:  {Modality: MR, sequence: t1, contrast: true,  images: {min: 12}, optional: true}
      t2:    {Modality: MR, sequence: t2, images: {min: 12}, optional: true}
    send_to: []
  - name: liver
    pipeline: abdomen-ct
    series:
      ct:
        Modality: CT
        plane: axial
        units: HU
        localizer: false
        phase: {in: [portal, ""]}
        images: {min: 20}
        SliceThickness: {max: 5}
        BodyPartExamined:
          in: [ABDOMEN, ABDOMENPELVIS, LIVER, CHESTABDOMEN, CHESTABDPELVIS, CHEST, TRUNK, WHOLEBODY, ""]
    send_to: []
"""

_WHEN_NAMED = {
    "brain-mr": """\
rules:
  - name: asked for
    pipeline: brain-mr
    series:
      flair: {Modality: MR, sequence: flair}
      t1:    {Modality: MR, sequence: t1, contrast: false, optional: true}
      t1ce:  {Modality: MR, sequence: t1, contrast: true, optional: true}
      t2:    {Modality: MR, sequence: t2, optional: true}
    send_to: []
""",
    "abdomen-ct": """\
rules:
  - name: asked for
    pipeline: abdomen-ct
    series:
      ct: {Modality: CT}
    send_to: []
""",
}
"""With --pipeline the person has said what the study is; only the roles are left to find."""


def builtin_rules(pipeline: str | None = None) -> RuleSet:
    """The built-in rules; with the name of a pipeline, one rule that sends to it whatever could fill its roles.

    Raises:
        UnknownPipeline: There is none of that name.
    """
    if pipeline is None:
        return parse_rules(BUILTIN_RULES, "built-in rules")
    return parse_rules(_WHEN_NAMED[pipeline_named(pipeline).name], "built-in rules")
