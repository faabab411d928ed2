"""`scanward check`: what a destination would refuse, rules that can never hold, folders without a model package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    Verification,
)
from typer.testing import Result

from daemon.commands import check as check_command

LIVER = """
rules:
  - name: liver
    pipeline: abdomen-ct
    series:
      ct: {Modality: CT}
    send_to: []
"""


@dataclass(frozen=True)
class WithoutNetworks:
    """As much of a pipeline as the command looks at."""

    name: str
    roles: tuple[str, ...]
    optional_roles: tuple[str, ...] = ()
    models: dict[str, str] = field(default_factory=dict)
    optional_models: dict[str, str] = field(default_factory=dict)


Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanward: Callable[..., Result]) -> Check:
    """`check("models: [mine]", rules=LIVER)`: exit code, and words."""

    def ask(configuration: str, rules: str = LIVER) -> tuple[int, str]:
        (tmp_path / "scanward.yaml").write_text(f"data_dir: data\nlistener: null\n{configuration}\n")
        (tmp_path / "rules.yaml").write_text(rules)
        run = scanward("check", "-c", tmp_path / "scanward.yaml")
        return run.exit_code, " ".join(run.stdout.split())

    pipelines = {"abdomen-ct": WithoutNetworks("abdomen-ct", ("ct",)), "brain-mr": WithoutNetworks("brain-mr", ("t1",))}
    monkeypatch.setattr(check_command, "PIPELINES", pipelines)
    monkeypatch.setattr(check_command, "ENOUGH_DISK", 0)
    monkeypatch.setenv("COLUMNS", "400")
    return ask


@contextmanager
def pacs(*takes: str) -> Iterator[str]:
    """A PACS that takes these; its place in a configuration."""
    entity = AE("PACS")
    for uid in (Verification, *takes):
        entity.add_supported_context(uid)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        yield f"ae_title: PACS, host: 127.0.0.1, port: {server.socket.getsockname()[1]}"
    finally:
        server.shutdown()


def test_what_a_pacs_would_refuse_is_said_before_it_refuses_it(check: Check) -> None:
    everything = (SegmentationStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
    with pacs(*everything) as place:
        code, said = check(f"destinations: {{pacs: {{{place}}}}}")
        assert code == 0
        assert "accepts Segmentation, Secondary Capture, Comprehensive 3D SR" in said
        code, said = check(f"destinations: {{pacs: {{{place}, segmentation: LABELMAP}}}}")
        assert code == 1
        assert "would refuse: Label Map Segmentation; jobs that send there will fail" in said
    with pacs(*everything[:2]) as place:
        code, said = check(f"destinations: {{pacs: {{{place}}}}}")
        assert code == 0
        assert "warning" in said
        assert "would refuse: Secondary Capture; set key_images: false" in said
        assert "would refuse" not in check(f"destinations: {{pacs: {{{place}, key_images: false}}}}")[1]
    with pacs() as place:
        code, said = check(f"destinations: {{pacs: {{{place}}}}}")
        assert code == 1
        assert "would refuse: Segmentation, Secondary Capture, Comprehensive 3D SR" in said


@pytest.mark.parametrize(
    ("conditions", "doubt"),
    [
        ("{Modality: ct}", "series.ct.Modality: 'ct' never comes: codes are in capitals; write CT"),
        ("{BodyPartExamined: {in: [LIVER, abdomen]}}", "'abdomen' never comes"),
        ("{Modality: {not: mr}}", "'mr' never comes"),
        ("{BodyPartExamined: ABDOMEN AND PELVIS}", "at most 16 characters"),
        ("{SeriesDescription: {in: [venous, late], matches: portal}}", "can never hold: nothing is one of"),
        ("{Modality: {equals: CT, not: CT}}", "can never hold"),
        ("{Modality: CT, sequence: t1}", "sequence: can never hold: it is known of MR only, and Modality is CT"),
        ("{Modality: MR, phase: portal}", "phase: can never hold: it is known of CT only, and Modality is MR"),
        ("{StudyDescription: Liver}", "StudyDescription: can never hold: Liver here, Brain under study"),
    ],
)
def test_rules_that_can_never_hold_are_warned_of(check: Check, conditions: str, doubt: str) -> None:
    rules = LIVER.replace("{Modality: CT}", conditions).replace(
        "    series:", "    study: {StudyDescription: Brain}\n    series:"
    )
    code, said = check("", rules)
    assert code == 0
    assert "rules warning" in said
    assert "rule liver: " in said
    assert doubt in said


def test_rules_that_may_hold_are_not(check: Check) -> None:
    fine = """{Modality: {in: [CT, ""]}, BodyPartExamined: {in: [LIVER, ""]}, ImageType: 'ORIGINAL\\PRIMARY\\AXIAL',
              SeriesDescription: {not: {matches: scout}}, phase: {in: [portal, delayed]}, images: {min: 20}}"""
    _, said = check("", LIVER.replace("{Modality: CT}", fine))
    assert "rules ok" in said, said
    shipped = Path(__file__).parents[3] / "deploy" / "rules.yaml"
    from pipelines.rules.file import load_rules
    from pipelines.rules.lint import lint_rules

    assert lint_rules(load_rules(shipped)) == []


def test_a_models_folder_that_holds_no_package_is_warned_of(check: Check, tmp_path: Path) -> None:
    (tmp_path / "mine" / "liver").mkdir(parents=True)
    (tmp_path / "mine" / "liver" / "model.onnx").touch()
    code, said = check("models: [mine]")
    assert code == 0
    assert "mine warning contains no model package: none of its folders has a model.yaml" in said
    code, said = check("models: [nowhere]")
    assert code == 1
    assert "nowhere error there is no such folder" in said
