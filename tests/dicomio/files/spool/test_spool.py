from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pydicom
import pytest

from dicomio.errors import NotDicom
from dicomio.files.file_meta import encode_file_meta, read_file_meta
from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.spool import Spool
from dicomio.files.spool.writer import safe_name
from tests.dicomio.support.series import ct_image, write_series


@pytest.fixture(params=[0, 4], ids=["none ahead", "ahead"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", ahead=request.param)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_stored_bytes_appear_whole_and_private(spool: Spool) -> None:
    path = spool.store(b"contents", "1.2.3")
    assert spool.incoming() == [path]
    assert path.parent.name == "incoming"
    assert path.name.startswith("1.2.3.")
    assert path.suffix == ".dcm"
    assert path.read_bytes() == b"contents"
    assert mode(path) == 0o600
    assert {mode(folder) for folder in (spool.root, *spool.root.iterdir())} == {0o700}


def test_storing_twice_makes_two_files(spool: Spool) -> None:
    paths = [spool.store(content, "1.2.3") for content in (b"one", b"two", b"three")]
    assert len(set(paths)) == 3
    assert [path.read_bytes() for path in spool.incoming()] == [b"one", b"two", b"three"]


def test_a_file_is_copied_not_linked(spool: Spool, tmp_path: Path) -> None:
    source = tmp_path / "source.dcm"
    source.write_bytes(b"before" * 400_000)
    stored = spool.store(source)
    source.write_bytes(b"after")
    assert stored.read_bytes() == b"before" * 400_000


def test_a_function_may_write(spool: Spool) -> None:
    assert spool.store(lambda part: [part.write(b"ab"), part.write(memoryview(b"cd"))], "x").read_bytes() == b"abcd"


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", ".hidden", "/abs", "a\0b", "1.2\n3", "", "x" * 500, "ä/ö"])
def test_hostile_names_stay_in_the_folder(spool: Spool, name: str) -> None:
    path = spool.store(b"x", name)
    assert path.resolve().parent == spool.incoming_folder.resolve()
    assert not path.name.startswith(".")
    assert len(path.name) < 200
    assert safe_name(name) == safe_name(safe_name(name))


def test_nothing_is_visible_before_commit_and_nothing_left_without_it(spool: Spool) -> None:
    with spool.open_writer("1.2.3") as part:
        part.write(b"half")
        assert spool.incoming() == []
    spool.close()
    assert list(spool.tmp.iterdir()) == []
    assert spool.incoming() == []


def test_commit_is_durable_and_private_whatever_the_umask(spool: Spool) -> None:
    before = os.umask(0o777)
    try:
        path = spool.store(b"x", "1")
    finally:
        os.umask(before)
    assert mode(path) == 0o600


def test_below_the_reserve_nothing_is_taken(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", reserve=1 << 60)
    with pytest.raises(SpoolFull, match="spool's disk is full"):
        spool.store(b"x", "1")
    assert list(spool.tmp.iterdir()) == []


def test_a_full_disk_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """The limit on file size stands for the full disk: the write fails half-way, in a process of its own."""
    code = """
import resource, sys
from pathlib import Path
from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.spool import Spool
spool = Spool(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    spool.store(bytes(1_000_000), "1.2.3")
except SpoolFull:
    sys.exit(7)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == 7
    assert [path for folder in ("tmp", "incoming") for path in (tmp_path / folder).iterdir()] == []


def test_quarantine_keeps_the_file_and_the_reason(spool: Spool) -> None:
    path = spool.store(b"junk", "1.2.3")
    kept = spool.quarantine(path, "not DICOM", "/inbox/SOME/photo.jpg")
    assert kept.read_bytes() == b"junk"
    note = json.loads(kept.with_name(kept.name + ".reason.json").read_text())
    assert note["reason"] == "not DICOM"
    assert note["origin"] == "photo.jpg"
    assert note["time"].endswith("Z")
    assert mode(kept.with_name(kept.name + ".reason.json")) == 0o600
    assert spool.incoming() == []


def test_two_of_the_same_name_in_quarantine(spool: Spool) -> None:
    kept = {spool.quarantine(spool.store(b"junk", "same"), "no", "same") for _ in range(2)}
    assert len(kept) == 2


def test_association_records_are_written_whole(spool: Spool) -> None:
    spool.record_association("abc", {"association_id": "abc", "files": []})
    (path,) = spool.associations()
    assert path.name == "abc.json"
    assert json.loads(path.read_text()) == {"association_id": "abc", "files": []}


def test_sweep_spares_what_has_a_living_writer(spool: Spool) -> None:
    with spool.open_writer("1.2.3") as part:
        part.write(b"half")
        assert Spool(spool.root).sweep() == 0
        part.write(b"whole")
        assert part.commit().read_bytes() == b"halfwhole"


CRASHING_WRITER = """
import os, sys
from pathlib import Path
from dicomio.files.spool.spool import Spool
spool = Spool(Path(sys.argv[1]), ahead=3)
half = spool.open_writer("half")
half.write(b"half")
done = spool.open_writer("done")
done.write(b"whole")
os.link = lambda *names, **options: os.kill(os.getpid(), 9)
done.commit()
"""


def test_sweep_after_a_crash_keeps_what_was_finished_and_clears_the_rest(tmp_path: Path) -> None:
    """The writer is killed between flush and rename, the only moment when a finished file is not in incoming/."""
    ended = subprocess.run([sys.executable, "-c", CRASHING_WRITER, str(tmp_path)], check=False)
    assert ended.returncode == -9
    spool = Spool(tmp_path)
    assert len(list(spool.tmp.iterdir())) >= 1
    assert spool.incoming() == []
    assert spool.sweep() == 1
    assert [path.read_bytes() for path in spool.incoming()] == [b"whole"]
    assert list(spool.tmp.iterdir()) == []


def test_many_threads_share_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ahead=4)

    def write(letter: int) -> None:
        for number in range(20):
            spool.store(bytes([letter]) * 1000, str(number))

    threads = [threading.Thread(target=write, args=(letter,)) for letter in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spool.incoming()) == 100
    assert all(len(set(path.read_bytes())) == 1 for path in spool.incoming())


def test_importing_the_spool_costs_little() -> None:
    used = "{'pydicom', 'numpy', 'structlog', 'pynetdicom'}"
    code = f"import dicomio.files.spool.spool, sys; print({used} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_file_head_is_what_pydicom_reads(tmp_path: Path) -> None:
    image = ct_image()
    (path,) = write_series(tmp_path, 1)
    offset = read_file_meta(path).offset
    head = encode_file_meta(
        sop_class_uid=image.SOPClassUID,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        source_ae="SCANNER",
    )
    path.write_bytes(head + path.read_bytes()[offset:])
    read = pydicom.dcmread(path)
    assert read.file_meta.SourceApplicationEntityTitle == "SCANNER"
    assert read.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert read.file_meta.FileMetaInformationGroupLength == len(head) - 144
    assert read.PixelData == image.PixelData
    assert read_file_meta(path).offset == len(head)
    assert read_file_meta(path).sop_class_uid == image.SOPClassUID


def test_what_has_no_head_is_not_dicom(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(200))
    with pytest.raises(NotDicom):
        read_file_meta(path)
