from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.intake.archives import LIMITS, SINGLE_FAULTS, ZipLimits, unpack
from daemon.intake.import_file import FileChanged, Imported, SourceFile, UnusableFile
from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.spool import Spool
from pipelines.phantoms.dicom import write_phantom


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    out = tmp_path_factory.mktemp("phantom") / "dicom"
    write_phantom("abdomen-ct", out, slices=3, matrix=48)
    return [path.read_bytes() for path in sorted(out.rglob("*.dcm"))]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", reserve=0)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def take(spool: Spool) -> Callable[..., Imported]:
    """`take(data)` unpacks a zip file that is named study.zip."""

    def unpacked(data: bytes, limits: ZipLimits = LIMITS, check: Callable[[], None] = lambda: None) -> Imported:
        return unpack(SourceFile(io.BytesIO(data), "study.zip"), spool, check, limits)

    return unpacked


def arrived(spool: Spool) -> list[bytes]:
    return sorted(path.read_bytes() for path in spool.incoming())


def quarantined(spool: Spool) -> dict[str, str]:
    notes = (json.loads(path.read_text()) for path in spool.quarantine_folder.glob("*.reason.json"))
    return {note["origin"]: note["reason"] for note in notes}


def test_hostile_and_ordinary_names(take: Callable[..., Imported], spool: Spool, images: list[bytes]) -> None:
    names = ["a/b/IM1", "../../../etc/IM2.dcm", "/abs/IM3", "C:\\CD\\IM4.dcm", "IM5\x00.exe", "ä/ö.dcm", "x" * 300]
    data = zipped(dict.fromkeys(names, images[0]) | {"empty/": b"", "win\\": b"", ".DS_Store": b"x"})
    assert take(data) == Imported(images=len(names))
    assert arrived(spool) == [images[0]] * len(names)
    assert {path.parent for path in spool.incoming()} == {spool.incoming_folder}
    assert quarantined(spool) == {}


def test_what_is_no_image_goes_to_quarantine_alone(
    take: Callable[..., Imported], spool: Spool, images: list[bytes]
) -> None:
    members = {
        "DICOM/IM1": images[0],
        "AUTORUN.INF": b"[autorun]",
        "DICOM/IM2": images[1][:-50],
        "__MACOSX/DICOM/._IM1": b"mac",
        "inner.zip": zipped({"IM3": images[2]}),
    }
    assert take(zipped(members)) == Imported(images=1, quarantined=3)
    reasons = quarantined(spool)
    assert set(reasons) == {"AUTORUN.INF", "IM2", "inner.zip"}
    assert all(reason.endswith("It came in study.zip.") for reason in reasons.values())
    assert "cut off" in reasons["IM2"]
    assert "a zip file inside a zip file" in reasons["inner.zip"]
    assert images[1][:-50] in [path.read_bytes() for path in spool.quarantine_folder.iterdir()]


@pytest.mark.parametrize("members", [{}, {"a.txt": b"text", "b.txt": b"more"}, {"sub/": b""}])
def test_a_zip_without_images_is_quarantined_as_a_whole(
    take: Callable[..., Imported], spool: Spool, members: dict[str, bytes]
) -> None:
    assert take(zipped(members)) == Imported(quarantined=1)
    assert set(quarantined(spool)) == {"study.zip"}


def test_of_many_faults_the_zip_is_quarantined_once(
    take: Callable[..., Imported], spool: Spool, images: list[bytes]
) -> None:
    texts = {f"{number}.txt": b"text" for number in range(SINGLE_FAULTS + 1)}
    assert take(zipped({"IM1": images[0]} | texts)) == Imported(images=1, quarantined=1)
    assert quarantined(spool)["study.zip"].startswith(
        "1 images of study.zip were imported, 21 of its members were not. 0.t"
    )
    assert quarantined(spool)["study.zip"].endswith("And 11 more.")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_costs_only_itself(
    take: Callable[..., Imported], spool: Spool, images: list[bytes], method: int
) -> None:
    data = bytearray(zipped({f"IM{number}": image for number, image in enumerate(images)}, method))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        second = archive.infolist()[1]
    data[second.header_offset + 40 + second.compress_size // 2] ^= 0x55
    assert take(bytes(data)) == Imported(images=2, quarantined=1)
    assert arrived(spool) == sorted([images[0], images[2]])
    assert "IM1 is damaged" in quarantined(spool)["study.zip"]
    (kept,) = spool.quarantine_folder.glob("taken.*.zip")
    assert kept.read_bytes() == data


def with_flags(data: bytes, name: bytes, flags: int) -> bytes:
    """The zip file with these general purpose bits set for one member, in both of its headers."""
    changed = bytearray(data)
    for at in range(len(data) - 4):
        length, start = {b"PK\x03\x04": (26, 30), b"PK\x01\x02": (28, 46)}.get(data[at : at + 4], (0, 0))
        if start and data[at + start : at + start + struct.unpack_from("<H", data, at + length)[0]] == name:
            changed[at + (6 if start == 30 else 8)] |= flags
    return bytes(changed)


def test_an_encrypted_member(take: Callable[..., Imported], spool: Spool, images: list[bytes]) -> None:
    data = with_flags(zipped({"IM1": images[0], "IM2": images[1]}), b"IM2", 0x1)
    assert take(data) == Imported(images=1, quarantined=1)
    assert "IM2 is encrypted." in quarantined(spool)["study.zip"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_has_no_bound_is_not_unpacked(
    take: Callable[..., Imported], spool: Spool, images: list[bytes], method: int
) -> None:
    assert take(zipped({"IM1": images[0]}, method)) == Imported(quarantined=1)
    assert "in another way than deflate" in quarantined(spool)["study.zip"]


def test_a_bomb_is_not_unpacked(take: Callable[..., Imported], spool: Spool, images: list[bytes]) -> None:
    data = zipped({"IM1": images[0], "zeros": bytes(20 << 20)})
    with pytest.raises(UnusableFile, match="which no study does") as caught:
        take(data, ZipLimits(ratio_from=1 << 20))
    assert not caught.value.incomplete
    with pytest.raises(UnusableFile, match="which no study does"):
        take(data, ZipLimits(total_bytes=1 << 20))
    assert spool.incoming() == []
    assert take(data, ZipLimits(ratio_from=30 << 20)) == Imported(images=1, quarantined=1)


def test_a_member_that_declares_less_than_it_holds_is_cut_there(
    take: Callable[..., Imported], spool: Spool, images: list[bytes]
) -> None:
    data = zipped({"IM1": images[0], "zeros": bytes(30 << 20)})
    lie = data.replace(struct.pack("<L", 30 << 20), struct.pack("<L", 1000))
    assert lie != data
    assert take(lie, ZipLimits(total_bytes=1 << 20)) == Imported(images=1, quarantined=1)
    assert sum(path.stat().st_size for path in spool.quarantine_folder.iterdir()) < 1 << 20


def test_too_many_members_and_too_long_a_table(take: Callable[..., Imported], images: list[bytes]) -> None:
    data = zipped({f"IM{number}": b"" for number in range(300)} | {"IM": images[0]})
    with pytest.raises(UnusableFile, match="301 members, more than 300"):
        take(data, ZipLimits(members=300))
    with pytest.raises(UnusableFile, match="table of contents is too large"):
        take(data, ZipLimits(directory_bytes=10_000))


def test_overlapping_members_count_as_often_as_they_are_listed(take: Callable[..., Imported]) -> None:
    """The kind of bomb whose members share their data (Fifield, A better zip bomb)."""
    kernel = zipped({"IM": bytes(1 << 20)})
    end = kernel.index(b"PK\x01\x02")
    entry = kernel[end : kernel.index(b"PK\x05\x06")]
    count = 2000
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entry) * count, end, 0)
    with pytest.raises(UnusableFile, match="which no study does"):
        take(kernel[:end] + entry * count + tail)


@pytest.mark.parametrize("cut", [1, 30, 500])
def test_a_zip_that_is_cut_off_may_still_be_growing(
    take: Callable[..., Imported], images: list[bytes], cut: int
) -> None:
    with pytest.raises(UnusableFile, match=r"study\.zip cannot be unpacked") as caught:
        take(zipped({"IM1": images[0]})[:-cut])
    assert caught.value.incomplete


def test_a_full_disk_is_known_before_anything_is_unpacked(
    take: Callable[..., Imported], spool: Spool, images: list[bytes]
) -> None:
    data = zipped({"IM1": images[0], "IM2": bytes(50 << 20)})
    spool.reserve = spool.free_bytes() - (40 << 20)
    with pytest.raises(SpoolFull):
        take(data)
    assert spool.incoming() == []


def test_a_change_meanwhile_ends_it(take: Callable[..., Imported], spool: Spool, images: list[bytes]) -> None:
    answers = iter([None, FileChanged()])

    def check() -> None:
        if (answer := next(answers)) is not None:
            raise answer

    with pytest.raises(FileChanged):
        take(zipped({"IM1": images[0], "IM2": images[1]}), check=check)
    assert len(spool.incoming()) == 1
    assert list(spool.tmp.iterdir()) == []


def test_arbitrary_damage_has_a_defined_outcome(
    take: Callable[..., Imported], spool: Spool, images: list[bytes]
) -> None:
    chance = random.Random(20261120)
    members = {f"IM{number}": zlib.compress(image)[:300] for number, image in enumerate(images)} | {"IM": images[0]}
    whole = zipped(members, zipfile.ZIP_STORED)
    directory = whole.index(b"PK\x01\x02")
    for trial in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            start = directory if trial % 2 else 0
            data[chance.randrange(start, len(data))] = chance.randrange(256)
        try:
            take(bytes(data), ZipLimits(total_bytes=1 << 24))
        except UnusableFile:
            continue
        except SpoolFull:
            pytest.fail("a lie about sizes is no full disk")
    assert list(spool.tmp.iterdir()) == []
    assert all(data == images[0] for data in arrived(spool))
