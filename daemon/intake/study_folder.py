"""A folder of studies, read for `process` and `rules explain`: no database, no PACS."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from daemon.errors import WrongUsage
from daemon.intake.archives import BAD_ZIP, unpack
from daemon.intake.import_file import SourceFile, UnusableFile, header_in, store
from daemon.intake.settling import walk
from db.digests import inputs_digest
from db.tags import bounded, storable
from dicomio.errors import BadInput
from dicomio.files.digest import content_digest
from dicomio.files.headers import Header, read_header
from dicomio.files.identity import Identity, identity_of
from dicomio.files.spool.spool import Spool
from dicomio.files.without_file_meta import missing_file_meta
from pipelines.job import UnusableImage
from pipelines.rules.study.attributes import StudyAttributes
from pipelines.rules.study.grouping import studies_from_headers

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class FolderStudy:
    """One study found in a folder.

    Attributes:
        files: Series Instance UID -> its files.
        lost: What is part of it and cannot be used.
    """

    facts: StudyAttributes
    files: Mapping[str, tuple[Path, ...]]
    lost: tuple[UnusableImage, ...] = ()


@dataclass(frozen=True)
class FolderContents:
    """What lies in a folder.

    Attributes:
        studies: The studies, each image once.
        unusable: How many files could not be used, by the kind of fault.
        copies: How many files were copies of another one.
    """

    studies: tuple[FolderStudy, ...]
    unusable: Mapping[str, int] = field(default_factory=dict)
    copies: int = 0


def read_folder(
    folder: Path,
    report: Callable[[float], None] = lambda share: None,
    *,
    source_ae: str = "",
    scratch: Path | None = None,
) -> FolderContents:
    """Reads the header of every image below a folder, as a watched folder would take it, and groups them by study.

    That is: files without file meta, members of zip files, and each image once however many copies there are; no
    hidden, temporary or linked files, no DICOMDIR.

    Args:
        folder: Its files stay as they are.
        report: Told the share that is done.
        source_ae: Stands in for the sender.
        scratch: Where images go that have to be copied to be read, those of zip files say. Without it these go when
            the headers are read, for whoever needs no more.

    Raises:
        WrongUsage: There is no such folder, or no DICOM file in it.
    """
    if not folder.is_dir():
        raise WrongUsage(reason=f"{folder} is not a folder")
    with ExitStack() as stack:
        place = scratch or Path(stack.enter_context(TemporaryDirectory(prefix="scanward-read-")))
        scan = _FolderScan(Spool(place, reserve=0))
        paths = sorted(path for path, _ in walk(folder, scan.note))
        for number, path in enumerate(paths, start=1):
            scan.read(path)
            report(number / len(paths))
        if not scan.headers:
            raise WrongUsage(reason=f"{folder} holds no DICOM file that can be read ({len(paths)} files looked at)")
        facts = studies_from_headers(map(_as_kept, scan.headers.values()), source_ae)
        studies = tuple(
            FolderStudy(study, _files_by_series(study, scan.headers), scan.lost_of(study, alone=len(facts) == 1))
            for study in facts
        )
    return FolderContents(studies, scan.unusable, scan.copies)


def _as_kept(header: Header) -> Header:
    """The header as the database would keep it, so that the rules see the same."""
    tags, instance_tags = storable(header.tags), storable(header.instance_tags)
    return replace(header, source_ae=bounded(header.source_ae, "AE"), tags=tags, instance_tags=instance_tags)


class _FolderScan:
    """The headers of images by file, and what else there was."""

    def __init__(self, spool: Spool) -> None:
        self.headers: dict[Path, Header] = {}
        self.unusable: Counter[str] = Counter()
        self.copies = 0
        self._lost: list[tuple[Identity, UnusableImage]] = []
        self._spool = spool
        self._known: dict[tuple[str, str, str], list[Path]] = {}

    def read(self, path: Path) -> None:
        """One file: an image, a zip file of some, or neither."""
        try:
            for image, header in self._images(path):
                self._add(image, header)
        except (BadInput, OSError) as error:
            self.note(path, error)
        except UnusableFile as fault:
            self._lose(path, fault.kind, fault.reason)

    def note(self, path: Path, error: Exception) -> None:
        """A file or folder cannot be used."""
        reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        self._lose(path, type(error).__name__, reason)

    def lost_of(self, study: StudyAttributes, *, alone: bool) -> tuple[UnusableImage, ...]:
        """What is part of a study and cannot be used: by its UIDs, or because there is no other study it could be of.

        A file that names no image (a text, a picture) is none that was lost; nor is one that is there whole as well.
        """
        series = {one.series_instance_uid for one in study.series}
        there = {header.sop_instance_uid for header in self.headers.values()}
        return tuple(
            lost
            for whose, lost in (*self._lost, *map(_from_note, self._spool.lost()))
            if lost.sop_uid not in there
            and (
                whose.study_uid == study.study_instance_uid
                or (not whose.study_uid and whose.series_uid in series)
                or (alone and not whose.study_uid and not whose.series_uid and whose.sop_uid)
            )
        )

    def _lose(self, path: Path, kind: str, reason: str) -> None:
        self.unusable[kind] += 1
        with suppress(OSError):
            whose = identity_of(path)
            why = reason.removeprefix(f"{path} ").removeprefix(f"{path.name} ")
            self._lost.append((whose, _lost(whose, kind, why, path.name)))

    def _images(self, path: Path) -> list[tuple[Path, Header]]:
        with path.open("rb") as stream:
            original = SourceFile(stream, path.name)
            if not original.is_zip and missing_file_meta(original.beginning) == b"":
                header = header_in(path, bare=False, largest=self._spool.largest)
                return [] if header is None else [(path, header)]
            taken = (unpack if original.is_zip else store)(original, self._spool, lambda: None)
        if taken.quarantined:
            self.unusable[BAD_ZIP] += taken.quarantined
        return [(image, read_header(image)) for image in taken.stored]

    def _add(self, path: Path, header: Header) -> None:
        """Keeps an image, unless the same one is there; another one under its UIDs is kept too, and refused later."""
        same = self._known.setdefault(
            (header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid), []
        )
        if same and content_digest(path) in map(content_digest, same):
            self.copies += 1
            return
        same.append(path)
        self.headers[path] = header


def _lost(whose: Identity, kind: str, reason: str, name: str) -> UnusableImage:
    return UnusableImage(
        kind=kind,
        reason=reason,
        series_uid=whose.series_uid,
        sop_uid=whose.sop_uid,
        number=whose.number,
        position=whose.position,
        name=name,
    )


def _from_note(path: Path) -> tuple[Identity, UnusableImage]:
    """A member of a zip file, by what the spool noted of it."""
    note = json.loads(path.read_text())
    whose = Identity(
        study_uid=note["study"],
        series_uid=note["series"],
        sop_uid=note["sop"],
        number=note["number"],
        position=note["position"] and tuple(note["position"]),
    )
    return whose, _lost(whose, note["kind"], note["reason"], "")


def _files_by_series(study: StudyAttributes, headers: Mapping[Path, Header]) -> dict[str, tuple[Path, ...]]:
    files: dict[str, list[Path]] = {series.series_instance_uid: [] for series in study.series}
    for path, header in headers.items():
        if header.study_instance_uid == study.study_instance_uid and header.series_instance_uid in files:
            files[header.series_instance_uid].append(path)
    return {uid: tuple(paths) for uid, paths in files.items()}


def digest_of(roles: Mapping[str, tuple[Path, ...]]) -> str:
    """The same inputs digest that the daemon would compute for these files."""
    return inputs_digest(
        (role, read_header(path).sop_instance_uid, content_digest(path))
        for role, paths in roles.items()
        for path in paths
    )
