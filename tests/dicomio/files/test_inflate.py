"""Deflated data sets: read as any other, however far they could inflate."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicomio.errors import TooLarge, TruncatedFile
from dicomio.files.file_meta import read_file_meta
from dicomio.files.headers import read_header
from dicomio.files.inflate import LARGEST_HEADER, Inflated
from dicomio.results.attributes import read_source_header
from dicomio.volumes.volume import load_volume
from tests.dicomio.support.images import classic, stack, write

ZEROS = bytes(1 << 20)


def bomb(path: Path, megabytes: int, element: bytes = b"\xe0\x7f\x10\x00OW\x00\x00") -> Path:
    """A deflated image whose last element has that many megabytes of zeros."""
    ds = classic(1, (0, 0, 0))
    del ds.PixelData
    head = write(ds, path).read_bytes()
    begin = read_file_meta(path).offset
    ds.PixelData = b"\0\0"
    write(ds, path, DeflatedExplicitVRLittleEndian)
    meta = path.read_bytes()[: read_file_meta(path).offset]
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    with path.open("wb") as file:
        file.write(meta + packer.compress(head[begin:] + element + (megabytes << 20).to_bytes(4, "little")))
        for _ in range(megabytes):
            file.write(packer.compress(ZEROS))
        file.write(packer.flush())
    return path


def test_what_inflates_beyond_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.dcm", 300)
    assert path.stat().st_size < 2 << 20
    with pytest.raises(TooLarge) as caught:
        read_header(path, largest=200 << 20)
    assert caught.value.limit == 200 << 20
    assert read_header(path, largest=400 << 20).has_pixels


@pytest.mark.parametrize("element", [b"\xe0\x7f\x10\x00OW\x00\x00", b"\x09\x00\x01\x10OB\x00\x00"])
def test_a_bomb_costs_no_memory(tmp_path: Path, element: bytes) -> None:
    path = bomb(tmp_path / "bomb.dcm", 1100, element)
    program = (
        "import sys; from pathlib import Path; from dicomio.files.headers import read_header;"
        "from dicomio.errors import TooLarge\n"
        "try: read_header(Path(sys.argv[1]), largest=1 << 30); print('read')\n"
        "except TooLarge: print('refused')\n"
        "status = Path('/proc/self/status').read_text()\n"  # getrusage would tell the test's own memory, before exec
        "print(status.split('VmHWM:')[1].split()[0])"
    )
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    said, kilobytes = run.stdout.split()
    assert said == "refused"
    assert int(kilobytes) < (LARGEST_HEADER >> 10) * 3 + 150_000


def test_deflated_images_are_read_as_others(tmp_path: Path) -> None:
    (tmp_path / "deflated").mkdir()
    (tmp_path / "plain").mkdir()
    deflated = load_volume(stack(tmp_path / "deflated", syntax=DeflatedExplicitVRLittleEndian))
    plain = load_volume(stack(tmp_path / "plain"))
    assert (deflated.array == plain.array).all()
    assert read_source_header(deflated.sources[0].path).PatientID == "P1"


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_deflated_file_that_is_cut_off_says_so(tmp_path: Path, cut: int) -> None:
    path = write(classic(1, (0, 0, 0)), tmp_path / "x.dcm", DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[: -cut - 1])
    with pytest.raises(TruncatedFile):
        read_header(path)


@pytest.mark.parametrize("size", [0, 1, 5_000_000, 20_000_000])
def test_the_stream_reads_as_a_file_does(tmp_path: Path, size: int) -> None:
    content = os.urandom(1000) * (size // 1000) + b"x" * (size % 1000)
    packer = zlib.compressobj(wbits=-15)
    packed = tmp_path / "packed"
    packed.write_bytes(packer.compress(content) + packer.flush() + b"\0")
    (tmp_path / "plain").write_bytes(content)
    steps: list[Callable[..., object]] = [
        lambda stream: stream.read(12),
        lambda stream: stream.seek(-4, os.SEEK_CUR) if size > 12 else 0,
        lambda stream: stream.read(3_000_000),
        lambda stream: stream.seek(100, os.SEEK_CUR),
        lambda stream: stream.tell(),
        lambda stream: stream.readinto(bytearray(1_500_000)),
        lambda stream: stream.seek(0, os.SEEK_END),
        lambda stream: stream.read(),
    ]
    with (tmp_path / "plain").open("rb") as plain, Inflated(packed, packed.open("rb"), 1 << 40) as stream:
        assert [step(stream) for step in steps] == [step(plain) for step in steps]
