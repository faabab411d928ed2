"""A spool and a database that belong together, under whatever name; and the ways out when they do not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import Result

from daemon.config import Config, load_config
from daemon.errors import WrongDatabase
from daemon.installation import check_installation, locked
from daemon.intake.reader import SpoolReader
from db.database import Database
from dicomio.files.digest import content_digest
from dicomio.files.spool.spool import Spool
from engines.plain_yaml import write_yaml


def configured(folder: Path, **settings: Any) -> Config:
    path = folder / "scanward.yaml"
    path.write_text(write_yaml({"data_dir": str(folder / "data"), "rules": "rules.yaml", **settings}))
    return load_config(path)


def started(config: Config) -> list[Path]:
    """What the daemon does at its start, as far as files are concerned; the files that the database knows then."""
    config.data_dir.mkdir(exist_ok=True)
    with closing(Database(config.database_url, config.data_dir)) as database:
        database.upgrade()
        spool = Spool(config.spool_dir)
        check_installation(config, database, spool)
        intake = SpoolReader(spool, database)
        while intake.step():
            pass
        return sorted(database.studies.known_paths())


def received(config: Config, images: list[Path]) -> list[Path]:
    started(config)
    for path in images:
        Spool(config.spool_dir).store(path)
    return started(config)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return configured(tmp_path)


def check_all_there(config: Config, images: list[Path], known: list[Path]) -> None:
    files = sorted(config.spool_dir.rglob("studies/**/*.dcm"))
    assert sorted(map(content_digest, files)) == sorted(map(content_digest, images))
    assert known == files


def test_a_data_folder_may_change_its_name(config: Config, tmp_path: Path, images: list[Path]) -> None:
    received(config, images)
    config.data_dir.rename(tmp_path / "renamed")
    renamed = configured(tmp_path, data_dir=str(tmp_path / "renamed"))
    check_all_there(renamed, images, started(renamed))
    check_all_there(renamed, images, received(renamed, images))  # all of it again


def test_a_data_folder_may_be_reached_by_a_symbolic_link(config: Config, tmp_path: Path, images: list[Path]) -> None:
    received(config, images)
    (tmp_path / "link").symlink_to(config.data_dir)
    linked = configured(tmp_path, data_dir=str(tmp_path / "link"))
    check_all_there(linked, images, started(linked))
    check_all_there(linked, images, received(linked, images))
    check_all_there(config, images, received(config, images))


def absolute(config: Config) -> None:
    """Makes the database as a version before relative paths left it."""
    with closing(Database(config.database_url)) as database, database.write() as session:
        session.execute(text("UPDATE instance SET path = :folder || path"), {"folder": f"{config.data_dir}/"})
        session.execute(text("DELETE FROM installation"))
    for name in ("installation.json", "indexed"):
        (config.spool_dir / name).unlink()


@pytest.mark.parametrize("name", ["data", "renamed"])
def test_paths_that_an_older_version_wrote_whole_become_relative(
    config: Config, tmp_path: Path, images: list[Path], name: str
) -> None:
    received(config, images)
    absolute(config)
    if name != "data":
        config.data_dir.rename(tmp_path / name)
    now = configured(tmp_path, data_dir=str(tmp_path / name))
    check_all_there(now, images, started(now))
    with closing(Database(now.database_url)) as database, database.read() as session:
        assert all(path.startswith("spool/studies/") for path in session.scalars(text("SELECT path FROM instance")))
    check_all_there(now, images, received(now, images))


def test_an_older_database_that_is_told_another_path_loses_no_file(
    config: Config, tmp_path: Path, images: list[Path]
) -> None:
    """As it was lost: the rows have whole paths, and the folder has another name; even if nobody had made them fit."""
    received(config, images)
    absolute(config)
    config.data_dir.rename(tmp_path / "renamed")
    spool = Spool(tmp_path / "renamed" / "spool")
    with closing(Database(f"sqlite:///{tmp_path}/renamed/scanward.sqlite")) as database:
        intake = SpoolReader(spool, database)
        intake.step()
        for path in images:
            spool.store(path)
        intake.step()
        known = sorted(database.studies.known_paths())
    check_all_there(configured(tmp_path, data_dir=str(tmp_path / "renamed")), images, known)


def other_database(config: Config, tmp_path: Path) -> Config:
    return configured(tmp_path, data_dir=str(config.data_dir), database=f"sqlite:///{tmp_path}/new.sqlite")


def test_an_empty_database_over_a_full_spool_is_refused(config: Config, tmp_path: Path, images: list[Path]) -> None:
    received(config, images)
    empty = other_database(config, tmp_path)
    with pytest.raises(WrongDatabase) as refused:
        started(empty)
    told = str(refused.value)
    assert "the database contains no study, but the spool contains some" in told
    assert "set `database` to it" in told
    assert str(config.data_dir / "scanward.sqlite") in told
    assert "scanward db copy OLD NEW" in told
    assert "scanward db adopt" in told
    command = [sys.executable, "-m", "daemon.cli", "serve", "-c", str(tmp_path / "scanward.yaml")]
    (tmp_path / "rules.yaml").write_text("rules: []\n")
    served = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert served.returncode == 1
    assert "scanward db adopt" in served.stderr
    check_all_there(config, images, started(config))  # the former one still goes


def test_adopting_indexes_what_is_there(
    config: Config, tmp_path: Path, images: list[Path], scanward: Callable[..., Result]
) -> None:
    received(config, images)
    empty = other_database(config, tmp_path)
    asked = scanward("db", "adopt", "-c", tmp_path / "scanward.yaml")
    assert asked.exit_code == 1
    assert "results are sent again" in asked.output
    done = scanward("db", "adopt", "--yes", "-c", tmp_path / "scanward.yaml")
    assert done.exit_code == 0, done.output
    assert "4 received files had no row" in done.output
    check_all_there(empty, images, started(empty))


def test_a_copied_database_is_as_good_as_the_former_one(
    config: Config, tmp_path: Path, images: list[Path], scanward: Callable[..., Result]
) -> None:
    received(config, images)
    copied = other_database(config, tmp_path)
    old, new = config.database_url, copied.database_url
    with locked(config.data_dir):
        running = scanward("db", "copy", old, new)
        assert running.exit_code == 1
        assert "another daemon already works" in str(running.exception)
    done = scanward("db", "copy", old, new)
    assert done.exit_code == 0, done.output
    assert "instance: 4 rows, compared" in done.output
    check_all_there(copied, images, started(copied))
    again = scanward("db", "copy", old, new)
    assert again.exit_code == 1
    assert "needs an empty database" in str(again.exception)


def test_a_new_data_folder_beside_an_old_database_is_refused(
    config: Config, tmp_path: Path, images: list[Path]
) -> None:
    received(config, images)
    url = f"sqlite:///{config.data_dir}/scanward.sqlite"
    with pytest.raises(WrongDatabase, match=f"The data folder of this database was {config.data_dir}"):
        started(configured(tmp_path, data_dir=str(tmp_path / "empty"), database=url))


def test_a_database_from_before_the_upgrade_goes_with_its_spool(
    config: Config, tmp_path: Path, images: list[Path]
) -> None:
    received(config, images[:3])
    backup = tmp_path / "backup.sqlite"
    with closing(Database(config.database_url)) as database, database.write() as session:
        session.execute(text("DELETE FROM installation"))
    shutil.copy(config.data_dir / "scanward.sqlite", backup)
    received(config, images)
    shutil.copy(backup, config.data_dir / "scanward.sqlite")
    check_all_there(config, images, started(config))


def test_spool_and_database_have_the_same_identifier(config: Config, images: list[Path]) -> None:
    received(config, images)
    note = json.loads((config.spool_dir / "installation.json").read_text())
    with closing(Database(config.database_url)) as database:
        assert database.installation.side().installation == note["id"]
    assert note["database"].endswith("scanward.sqlite")
