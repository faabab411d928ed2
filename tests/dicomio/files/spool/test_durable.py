from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomio.files.file_meta import encode_file_meta, read_file_meta
from dicomio.files.spool.durable import add_name, move, remove_copies
from dicomio.files.spool.spool import Spool


def image(source_ae: str = "CT1", data: bytes = b"data set") -> bytes:
    uids = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "transfer_syntax_uid": "1.2.840.10008.1.2"}
    return encode_file_meta(**uids, source_ae=source_ae) + data


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "real" / "image.dcm"
    path.parent.mkdir()
    path.write_bytes(image())
    return path


def test_a_copy_goes_when_another_file_holds_the_same_data_set(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(image(source_ae="SOMEBODY_ELSE"))
    assert remove_copies([(copy, file)]) == []
    assert not copy.exists()
    assert file.exists()


def test_another_name_of_the_same_file_goes(file: Path, tmp_path: Path) -> None:
    os.link(file, tmp_path / "name.dcm")
    assert remove_copies([(tmp_path / "name.dcm", file)]) == []
    assert file.read_bytes() == image()


def spelled_otherwise(file: Path, tmp_path: Path) -> Path:
    (tmp_path / "link").symlink_to(file.parent)
    return tmp_path / "link" / file.name


def linked_elsewhere(file: Path, tmp_path: Path) -> Path:
    os.link(file, tmp_path / "backup.dcm")  # as `cp -al` makes it: two names do not make these two paths two names
    return spelled_otherwise(file, tmp_path)


def symbolic_link(file: Path, tmp_path: Path) -> Path:
    (tmp_path / "name.dcm").symlink_to(file)
    return tmp_path / "name.dcm"


def other_content(file: Path, tmp_path: Path) -> Path:
    (tmp_path / "other.dcm").write_bytes(image(data=b"another"))
    return tmp_path / "other.dcm"


def nothing(file: Path, tmp_path: Path) -> Path:
    return tmp_path / "nothing.dcm"


@pytest.mark.parametrize(
    "kept", [spelled_otherwise, linked_elsewhere, symbolic_link, other_content, nothing, lambda file, tmp_path: file]
)
def test_the_last_copy_stays_whatever_is_said_to_be_another(kept, file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (refused,) = remove_copies([(file, kept(file, tmp_path))])
    assert refused.path == file
    assert str(file) not in str(refused)
    assert file.read_bytes() == image()


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_name_is_never_given_over_a_file(
    links: bool, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "taken.dcm").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        add_name(file, tmp_path / "taken.dcm")
    with pytest.raises(FileExistsError):
        move(file, tmp_path / "taken.dcm")
    assert (tmp_path / "taken.dcm").read_bytes() == b"somebody's"
    before = file.stat().st_mtime_ns
    move(file, tmp_path / "free.dcm")
    assert not file.exists()
    assert (tmp_path / "free.dcm").read_bytes() == image()
    assert (tmp_path / "free.dcm").stat().st_mtime_ns == before, "when it came"
    assert sorted(tmp_path.rglob("*.dcm")) == [tmp_path / "free.dcm", tmp_path / "taken.dcm"]


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")  # as vfat and many network shares answer


KILLED = """
import os, sys
from pathlib import Path
from dicomio.files.file_meta import encode_file_meta
from dicomio.files.spool.spool import Spool
spool = Spool(Path(sys.argv[1]), ahead=2)
part = spool.open_writer("1.2.3", "0123456789abcdef-7")
uids = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "transfer_syntax_uid": "1.2.840.10008.1.2"}
part.write(encode_file_meta(**uids, source_ae="CT1", receipt="0123456789abcdef-7") + b"data set")
setattr(os, sys.argv[2], lambda *names, **options: os.kill(os.getpid(), 9))
part.commit()
"""


@pytest.mark.parametrize("point", ["link", "unlink"])
def test_what_a_killed_listener_had_finished_keeps_its_receipt(point: str, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), point], check=False)
    assert ended.returncode == -9
    spool = Spool(tmp_path)
    spool.sweep()
    (path,) = spool.incoming()
    assert path.name == "1.2.3.0123456789abcdef-7.dcm"
    assert path.stat().st_nlink == 1
    assert path.read_bytes().endswith(b"data set")
    assert read_file_meta(path).receipt == "0123456789abcdef-7"
    assert list(spool.tmp.iterdir()) == []
