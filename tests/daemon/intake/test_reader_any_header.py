"""Whatever a header does, its file goes to quarantine with the reason and the others are imported, by every input.

SCANWARD_EXAMPLES=20000 looks at as many mutated files instead of the few that the tests always look at.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daemon.intake.folder
from daemon.intake.folder import FolderImporter, WatchedFolder
from daemon.intake.reader import SpoolReader
from daemon.intake.study_folder import read_folder
from db.database import Database
from db.records import JobFilter
from dicomio.errors import BadInput, UnreadableHeader
from dicomio.files.headers import read_header
from dicomio.files.spool.spool import Spool
from dicomio.volumes.volume import load_volume
from tests.dicomio.files.test_inflate import bomb
from tests.dicomio.support.images import classic, write
from tests.dicomio.support.mutated import good_files, mutations

BATCH = 25
EXAMPLES = max(1, int(os.environ.get("SCANWARD_EXAMPLES", "300")) // BATCH)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in the daemon, warnings about damaged values are no errors."""
    monkeypatch.setattr(daemon.intake.folder, "_SCAN_SHARE", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def functional_groups_that_are_text(path: Path) -> Path:
    """(5200,9229) as LO, in front of the pixels."""
    data = write(classic(1, (0, 0, 0)), path).read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(data[:at] + b"\x00\x52\x29\x92LO\x04\x00TEXT" + data[at:])
    return path


def test_the_element_at_fault_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableHeader) as caught:
        read_header(functional_groups_that_are_text(tmp_path / "x.dcm"))
    assert caught.value.tag == "(5200,9229)"
    assert "at (5200,9229): it is no sequence" in str(caught.value)


def test_one_image_that_trips_its_reader_stops_nobody_else(tmp_path: Path) -> None:
    bad = functional_groups_that_are_text(tmp_path / "x.dcm")
    taken, reasons = through_intake(tmp_path / "intake", [bad.read_bytes()])
    assert taken == 1
    assert "(5200,9229)" in reasons[0]
    left, reasons = through_watcher(tmp_path / "watcher", [bad.read_bytes()])
    assert left == []
    assert "(5200,9229)" in reasons[0]
    (tmp_path / "folder").mkdir()
    shutil.move(bad, tmp_path / "folder" / "bad.dcm")
    write(classic(2, (0, 0, 0)), tmp_path / "folder" / "good.dcm")
    contents = read_folder(tmp_path / "folder")
    assert len(contents.studies) == 1
    assert sum(contents.unusable.values()) == 1


def test_a_deflated_bomb_stops_nobody_else(tmp_path: Path) -> None:
    bad = bomb(tmp_path / "bomb.dcm", 5).read_bytes()
    taken, (reason,) = through_intake(tmp_path / "intake", [bad], largest=4 << 20)
    assert taken == 1
    assert "inflates to more than 4194304 bytes, which is the limit" in reason
    left, (reason,) = through_watcher(tmp_path / "watcher", [bad], largest=4 << 20)
    assert left == []
    assert "inflates to more than 4194304 bytes, which is the limit" in reason


@pytest.mark.timeout(300 + 10 * EXAMPLES)
@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck), print_blob=False
)
@given(data=st.data())
def test_every_door(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("door")
    files = data.draw(st.lists(mutations(good_files(root)), min_size=BATCH, max_size=BATCH))
    taken, reasons = through_intake(root / "intake", files)
    assert taken >= 1
    assert all(reasons)
    left, reasons = through_watcher(root / "watcher", files)
    assert left == []
    assert all(reasons)
    folder = root / "folder"
    folder.mkdir()
    for number, content in enumerate(files):
        (folder / f"{number}.dcm").write_bytes(content)
    write(classic(2, (0, 0, 0)), folder / "good.dcm")
    contents = read_folder(folder)
    for study in contents.studies:
        for paths in study.files.values():
            for path in paths:
                with suppress(BadInput):  # and nothing else
                    load_volume([path])
    shutil.rmtree(root)


def through_intake(root: Path, files: list[bytes], **limits: int) -> tuple[int, list[str]]:
    """How many of the good image (one is put behind the others) are in the database, and the reasons in quarantine."""
    spool = Spool(root / "spool", reserve=0, **limits)
    database = Database(f"sqlite:///{root / 'db.sqlite'}")
    database.upgrade()
    try:
        for content in files:
            spool.store(content, "1.2.3")
        good = write(classic(2, (0, 0, 0)), root / "good.dcm")
        spool.store(good)
        intake = SpoolReader(spool, database)
        intake.reconcile()
        while intake.step():
            pass
        assert spool.incoming() == []
        uid = str(pydicom.dcmread(good, stop_before_pixels=True).SOPInstanceUID)
        found = 0
        for row in database.jobs.find(JobFilter(limit=1000)):
            series = database.studies.contents(row.study.study_instance_uid).series
            found += sum(one.sop_instance_uid == uid for each in series for one in each.instances)
        return found, reasons_in(spool)
    finally:
        database.close()


def through_watcher(root: Path, files: list[bytes], **limits: int) -> tuple[list[Path], list[str]]:
    """What is left in the watched folder, and the reasons in quarantine."""
    spool, folder = Spool(root / "spool", reserve=0, **limits), root / "inbox"
    folder.mkdir()
    for number, content in enumerate(files):
        (folder / f"{number}.dcm").write_bytes(content)
    inbox = FolderImporter(
        WatchedFolder(folder, 0.0), spool, lambda event: None, rescan=0.0, stopping=threading.Event()
    )
    while inbox.step():
        pass
    return list(folder.iterdir()), reasons_in(spool)


def reasons_in(spool: Spool) -> list[str]:
    return [json.loads(note.read_text())["reason"] for note in spool.quarantine_folder.glob("*.reason.json")]
