"""What each pipeline asks for and gives, as plain data: nothing here imports the code that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicomio.results.codes import Code
from pipelines.rules.derived.kinds import Phase


@dataclass(frozen=True)
class VolumeInput:
    """What a network of volumes must take: all slices of a grid at once, or some neighbours of each.

    Attributes:
        organ: What the grid holds, for messages.
        sequences: How many sequences are its channels, in words, for messages.
        channels: The same as a number.
        shape: Voxels of the grid (slices, rows, columns).
    """

    organ: str
    sequences: str
    channels: int
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Pipeline:
    """One way to read a study.

    Attributes:
        module: Where its code is: a module with `run(volumes by role, networks by slot, progress)` -> Findings.
        roles: Series that it asks for; the first is the one that the masks lie on.
        optional_roles: Series that help when they are there.
        models: Slot (what a network is for) -> name of the model package that fills it by default.
        optional_models: The same for networks that the pipeline can do without.
        volume_inputs: Slot -> what a package must take to fill it; for networks of volumes.
        body_part: Body Part Examined of the key images.
        series_number: Series Number of the first result series; results of a pipeline always carry the same ones.
        phase: The contrast phase of the images that its networks learnt from; None where it does not matter.
        rule: Its rule (YAML, an item of `rules`) for when there is no rule file.
        rule_when_named: The same for when a person has said that the study is one for this pipeline.
    """

    name: str
    title: str
    module: str
    roles: tuple[str, ...]
    optional_roles: tuple[str, ...]
    models: Mapping[str, str]
    site: Code
    finding: Code
    body_part: str
    series_number: int
    rule: str
    rule_when_named: str
    optional_models: Mapping[str, str] = field(default_factory=dict)
    volume_inputs: Mapping[str, VolumeInput] = field(default_factory=dict)
    phase: Phase | None = None

    @property
    def all_models(self) -> dict[str, str]:
        """Slot -> package, of `models` and `optional_models`."""
        return {**self.models, **self.optional_models}


BRAIN_MR = Pipeline(
    name="brain-mr",
    title="Brain tumour on MR",
    module="pipelines.brain.glioma",
    roles=("flair",),
    optional_roles=("t1", "t1ce", "t2"),
    models={"classifier": "brain-lgg-classifier", "segmenter": "brain-lgg-resunet"},
    optional_models={"volume_segmenter": "brain-brats-slices-unet"},
    volume_inputs={"volume_segmenter": VolumeInput("brain", "four sequences", channels=4, shape=(160, 192, 160))},
    site=Code("12738006", "SCT", "Brain"),
    finding=Code("108369006", "SCT", "Neoplasm"),
    body_part="BRAIN",
    series_number=9100,
    rule="""\
  - name: brain
    pipeline: brain-mr
    series:
      flair: {Modality: MR, sequence: flair, localizer: false, images: {min: 12}}
      t1:    {Modality: MR, sequence: t1, contrast: false, images: {min: 12}, optional: true}
      t1ce:  {Modality: MR, sequence: t1, contrast: true,  images: {min: 12}, optional: true}
      t2:    {Modality: MR, sequence: t2, images: {min: 12}, optional: true}
    send_to: []
""",
    rule_when_named="""\
  - name: asked for
    pipeline: brain-mr
    series:
      flair: {Modality: MR, sequence: flair}
      t1:    {Modality: MR, sequence: t1, contrast: false, optional: true}
      t1ce:  {Modality: MR, sequence: t1, contrast: true, optional: true}
      t2:    {Modality: MR, sequence: t2, optional: true}
    send_to: []
""",
)

ABDOMEN_CT = Pipeline(
    name="abdomen-ct",
    title="Liver and liver tumours on CT",
    module="pipelines.abdomen.liver",
    roles=("ct",),
    optional_roles=(),
    models={"segmenter": "abdomen-liver-unet"},
    phase=Phase.PORTAL,
    site=Code("10200004", "SCT", "Liver"),
    finding=Code("108369006", "SCT", "Neoplasm"),
    body_part="LIVER",
    series_number=9200,
    rule="""\
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
""",
    rule_when_named="""\
  - name: asked for
    pipeline: abdomen-ct
    series:
      ct: {Modality: CT}
    send_to: []
""",
)
