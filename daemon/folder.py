"""A folder of DICOM files, read for one-off work: no database, no PACS."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import WrongUsage
from db.store import inputs_digest
from dicomio.content import content_digest
from dicomio.errors import BadInput
from dicomio.headers import Header, read_header
from pipelines.attributes import StudyFacts
from pipelines.facts import facts_from_headers

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class FolderStudy:
    """One study found in a folder.

    Attributes:
        files: Series Instance UID -> its files.
    """

    facts: StudyFacts
    files: Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True)
class FolderContents:
    """What lies in a folder: the studies, and how many files could not be used, by reason."""

    studies: tuple[FolderStudy, ...]
    unusable: Mapping[str, int] = field(default_factory=dict)


def read_folder(
    folder: Path, report: Callable[[float], None] = lambda share: None, *, source_ae: str = ""
) -> FolderContents:
    """Reads the header of every file below a folder and groups them by study; `source_ae` stands in for the sender.

    Raises:
        WrongUsage: There is no such folder, or no DICOM file in it.
    """
    if not folder.is_dir():
        raise WrongUsage(f"{folder} is not a folder")
    headers: dict[Path, Header] = {}
    unusable: dict[str, int] = {}
    paths = list(_files(folder))
    for number, path in enumerate(paths, start=1):
        try:
            headers[path] = read_header(path)
        except BadInput as error:
            kind = type(error).__name__
            unusable[kind] = unusable.get(kind, 0) + 1
        report(number / len(paths))
    if not headers:
        raise WrongUsage(f"{folder} holds no DICOM file that can be read ({len(paths)} files looked at)")
    facts = facts_from_headers(headers.values(), source_ae)
    return FolderContents(tuple(FolderStudy(study, _files_by_series(study, headers)) for study in facts), unusable)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith(".") and name != "DICOMDIR")


def _files_by_series(study: StudyFacts, headers: Mapping[Path, Header]) -> dict[str, tuple[Path, ...]]:
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
