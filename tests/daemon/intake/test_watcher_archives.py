"""The watched folder and what holds many images: DICOMDIR media and ZIP archives."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from daemon.intake.folder import FolderImporter
from dicomio.files.spool.spool import Spool
from tests.daemon.support.waiting import until
from tests.daemon.support.watched_folder import SETTLE, contents, quarantined

pytestmark = pytest.mark.usefixtures("as_many_scans_as_asked_for")


@pytest.mark.parametrize("keep", [False, True])
def test_a_dicomdir_tree(inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, keep: bool) -> None:
    source = Path(str(get_testdata_file("dicomdirtests/TINY_ALPHA/DICOMDIR", download=False))).parent
    shutil.copytree(source, folder / "CD")
    images = [path for path in source.rglob("IM*") if path.is_file()]
    assert len(images) == 50
    one = inbox(keep=keep)
    one.step()
    one.step()
    assert contents(spool.incoming()) == contents(images)
    assert set(quarantined(spool)) == {"README"}
    assert list(spool.tmp.iterdir()) == []
    assert len(list(folder.rglob("DICOMDIR"))) == keep


def test_dicomdirs_of_many_makers_and_what_else_lies_on_a_disc(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool
) -> None:
    source = Path(str(get_testdata_file("dicomdirtests/DICOMDIR", download=False))).parent
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("TINY_ALPHA"))
    shutil.rmtree(folder / "TINY_ALPHA", ignore_errors=True)
    images = [path for path in folder.glob("[0-9]*/*/*") if path.is_file()]
    one = inbox()
    one.step()
    assert len(spool.incoming()) == len(images) > 20
    assert set(quarantined(spool)) == {"README.txt"}


def test_a_zip_file_among_other_files(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path]
) -> None:
    with zipfile.ZipFile(folder / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in images:
            archive.write(path, f"STUDY/SERIES/{path.name}")
    shutil.copy(images[0], folder)
    inbox().step()
    assert contents(spool.incoming()) == contents([*images, images[0]])
    assert list(folder.iterdir()) == []


def test_a_zip_file_that_is_still_copied_is_waited_for(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(images[0], "a.dcm")
    data = (tmp_path / "study.zip").read_bytes()
    (folder / "study.zip").write_bytes(data[:-40])
    (folder / "cut.zip").write_bytes(data[:-40])
    one = inbox(settle=SETTLE)
    began = time.monotonic()
    until(lambda: one.step() or time.monotonic() > began + 3 * SETTLE)
    assert spool.incoming() == []
    assert quarantined(spool) == {}
    with (folder / "study.zip").open("ab") as stream:
        stream.write(data[-40:])
    until(lambda: one.step() or (spool.incoming() and quarantined(spool)))
    assert set(quarantined(spool)) == {"cut.zip"}
