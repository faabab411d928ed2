"""How the database names files: relative to the data folder, so that it may be renamed, moved, or reached by a link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Dialect, Engine, Text, select, type_coerce, update
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

_KEY = "scanward_data_folder"
_KEEP_FILES = ("spool", "outbox")  # the folders of the data folder that rows name files of


@dataclass(frozen=True)
class DataFolder:
    """The folder that rows name files in.

    Attributes:
        path: As configured.
        real: Without symbolic links.
    """

    path: Path
    real: Path

    @classmethod
    def at(cls, path: Path) -> DataFolder:
        """The data folder at a path."""
        return cls(path.absolute(), path.resolve())

    def relative(self, path: Path) -> Path:
        """A file below the folder relative to it, any other as it is."""
        for folder in (self.path, self.real):
            if path.is_relative_to(folder):
                return path.relative_to(folder)
        return path

    def rebased(self, path: Path) -> Path:
        """As `relative`; a file that lay in a data folder of another name is found here, if here it is."""
        relative = self.relative(path)
        if not relative.is_absolute() or relative.exists():
            return relative
        for number, part in enumerate(path.parts):
            here = Path(*path.parts[number:])
            if part in _KEEP_FILES and (self.path / here).exists():
                return here
        return relative


class FilePath(TypeDecorator[Path]):
    """A file: absolute in Python, relative to the data folder in the database (absolute there if it lies elsewhere)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Path | str | None, dialect: Dialect) -> str | None:
        """What is stored."""
        if value is None:
            return None
        folder = data_folder(dialect)
        return str(folder.relative(Path(value)) if folder else value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Path | None:
        """Where it lies."""
        if value is None:
            return None
        folder = data_folder(dialect)
        return folder.path / value if folder else Path(value)


def set_data_folder(engine: Engine, path: Path) -> None:
    """Says where the files lie, for all that is read and written with this engine."""
    vars(engine.dialect)[_KEY] = DataFolder.at(path)


def data_folder(dialect: Dialect) -> DataFolder | None:
    """Where the files lie, if that has been said."""
    return vars(dialect).get(_KEY)


def make_relative(session: Session, kind: Any, at_once: int = 1000) -> int:
    """Makes the paths relative that older versions wrote whole; returns how many it changed."""
    changed = 0
    for rows in _absolute(session, kind, at_once):
        for key, path in rows:
            session.execute(update(kind).where(kind.id == key).values(path=path))
        changed += len(rows)
    return changed


def _absolute(session: Session, kind: Any, at_once: int) -> Iterator[list[tuple[int, Path]]]:
    folder = data_folder(session.get_bind().dialect)
    written = type_coerce(kind.path, Text)
    last = 0
    while folder is not None:
        query = select(kind.id, written).where(kind.id > last, written.startswith("/")).order_by(kind.id).limit(at_once)
        rows = session.execute(query).all()
        if not rows:
            return
        last = rows[-1][0]
        moved = [(key, folder.rebased(Path(path))) for key, path in rows]
        yield [(key, path) for key, path in moved if not path.is_absolute()]
