"""`scanward rules explain`, against what the daemon makes of the same images."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from typer.testing import Result

from daemon.commands import check as check_command
from daemon.intake.reader import SpoolReader
from daemon.intake.study_folder import read_folder
from daemon.jobs.assembly import routing_facts
from db import tags
from db.database import Database
from dicomio.files.personal import PERSONAL_ATTRIBUTES
from dicomio.files.spool.spool import Spool
from pipelines.rules.study.grouping import OF_STUDY

Command = Callable[..., Result]
RULE = "{{name: {name}, pipeline: abdomen-ct, series: {{ct: {{{conditions}}}}}, send_to: [{to}]}}"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    store = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
    store.upgrade()
    yield store
    store.close()


@pytest.fixture
def study(tmp_path: Path, images: list[Path]) -> Path:
    """A folder with one series of a person of whom much is said, and whose images differ."""
    folder = tmp_path / "study"
    folder.mkdir()
    for number, path in enumerate(images):
        dataset = pydicom.dcmread(path)
        dataset.PatientBirthDate, dataset.PatientComments = "19600102", "said too much"
        dataset.EthnicGroup, dataset.OperatorsName = "none", "Doe^Jane"
        dataset.RequestedProcedureDescription = "CT abdomen" if number == 2 else ""
        dataset.AcquisitionTime, dataset.KVP = f"1200{number:02}", str(100 + number)
        dataset.save_as(folder / path.name)
    return folder


def rule_file(tmp_path: Path, *rules: str) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n" + "".join(f"- {rule}\n" for rule in rules))
    return path


def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "scanward.yaml"
    path.write_text(f"data_dir: {tmp_path}\ndestinations: {{pacs: {{ae_title: PACS, host: localhost}}}}\n")
    return path


def test_a_folder_and_the_database_say_the_same_of_a_study(tmp_path: Path, study: Path, database: Database) -> None:
    spool = Spool(tmp_path / "spool", reserve=0)
    paths = sorted(study.iterdir())
    random.Random(5).shuffle(paths)
    for path in paths:  # in no order, and in batches of one
        spool.store(path)
        SpoolReader(spool, database).step()
    (row,) = database.jobs.find()

    (found,) = read_folder(study).studies

    assert routing_facts(database.studies.contents(row.study.study_instance_uid)) == found.facts
    assert found.facts.series[0].tags["KVP"] == 100
    assert found.facts.tags["RequestedProcedureDescription"] == "CT abdomen"
    assert not PERSONAL_ATTRIBUTES & (found.facts.tags.keys() | found.facts.series[0].tags.keys())


def test_both_layers_keep_the_same_tags() -> None:
    assert tags.PERSONAL_ATTRIBUTES == PERSONAL_ATTRIBUTES
    assert tags.OF_STUDY == OF_STUDY


def test_a_tag_that_is_not_kept_is_refused_and_not_taken_as_missing(
    scanward: Command, tmp_path: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = rule_file(tmp_path, RULE.format(name="a", conditions="PatientBirthDate: {exists: true}", to=""))
    config = tmp_path / "other.yaml"
    config.write_text(f"data_dir: {tmp_path}\nrules: {rules}\n")

    monkeypatch.setattr(check_command, "PIPELINES", {})  # to open no networks
    for command in (["rules", "explain", study, "--rules", rules], ["check", "-c", config]):
        run = scanward(*command)
        assert run.exit_code != 0
        assert "PatientAge" in str(run.exception) + run.output


def test_destinations_are_checked_where_a_configuration_is_known(
    scanward: Command, tmp_path: Path, study: Path
) -> None:
    rules = rule_file(tmp_path, RULE.format(name="a", conditions="Modality: CT", to="pacs, archiv"))

    run = scanward("rules", "explain", study, "--rules", rules, "-c", configuration(tmp_path))

    assert "there is no destination archiv" in str(run.exception)


def test_json_is_all_that_is_printed_and_says_that_one_job_is_made(
    scanward: Command, tmp_path: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = RULE.format(name="one", conditions="Modality: CT, source_ae: CT_TRAUMA", to="pacs")
    rules = rule_file(tmp_path, one, RULE.format(name="other", conditions="Modality: CT", to="archive"))

    run = scanward("rules", "explain", study, "--rules", rules, "--json", "--source-ae", "CT_TRAUMA")

    (explained,) = json.loads(run.stdout)
    (job,) = explained["jobs"]
    assert (job["rules"], job["send_to"]) == (["one", "other"], ["pacs", "archive"])
    assert "not checked" in run.stderr


def test_the_sender_of_a_study_that_was_received_is_known(scanward: Command, tmp_path: Path) -> None:
    rule_file(tmp_path, RULE.format(name="a", conditions="Modality: CT", to="pacs"))
    run = scanward("rules", "explain", "1.2.3", "--source-ae", "CT1", "-c", configuration(tmp_path))

    assert "--source-ae is for folders only" in str(run.exception)


def test_no_rules_are_said_by_explain_and_check(
    scanward: Command, tmp_path: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_command, "PIPELINES", {})  # to open no networks
    (tmp_path / "rules.yaml").write_text("rules: []\n")
    config = configuration(tmp_path)

    assert "There are no rules" in scanward("rules", "explain", study, "-c", config).stdout
    said = scanward("check", "-c", config).stdout
    assert "there are no rules" in " ".join(said.split())
