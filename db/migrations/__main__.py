"""Drafts the next migration from the difference between the tables and the last one; read it before you keep it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from db import schema
from db.connection import make_engine
from db.location import parse_url


def draft(message: str) -> None:
    """Writes db/migrations/versions/<number>_<message>.py."""
    with tempfile.TemporaryDirectory() as folder:
        url = parse_url(f"sqlite:///{Path(folder) / 'draft.sqlite'}")
        settings = schema.config()
        number = f"{len(list((Path(__file__).parent / 'versions').glob('*.py'))) + 1:04}"
        with make_engine(url, foreign_keys=False).connect() as connection:
            settings.attributes["connection"] = connection
            command.upgrade(settings, "heads")
            command.revision(settings, message, autogenerate=True, rev_id=number)


if __name__ == "__main__":
    draft(sys.argv[1])
