"""The command line as a user starts it: what each command imports, and what it says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import Result

from daemon.cli import COMMANDS
from db.database import Database

HEAVY = ("dask", "distributed", "highdicom", "openvino", "onnxruntime", "SimpleITK", "scipy", "daemon.service")
LOOKING = [
    "--version",
    "--help",
    "jobs --help",
    "jobs list",
    "jobs show 1",
    "jobs retry 1",
    "status",
    "db current",
    "rules schema",
    "rules explain 1.2.3",
]
RUN = """
import sys
from daemon.cli import main
sys.argv = ["scanward", *sys.argv[1:]]
try:
    main()
finally:
    print("imported:", *sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    database = Database(f"sqlite:///{folder / 'data' / 'scanward.sqlite'}")
    database.upgrade()
    database.close()
    path = folder / "scanward.yaml"
    rules = Path(__file__).parents[2] / "deploy" / "rules.yaml"
    path.write_text(f"data_dir: data\nrules: {rules}\ndestinations: {{pacs: {{ae_title: P, host: localhost}}}}\n")
    return path


def run(*arguments: str) -> tuple[int, str, set[str]]:
    ended = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    said, _, imported = ended.stderr.rpartition("imported:")
    return ended.returncode, ended.stdout + said, set(imported.split())


@pytest.mark.parametrize("command", LOOKING)
def test_commands_that_only_look_import_no_service_and_no_engine(command: str, config: Path) -> None:
    where = [] if command.startswith("--") or command.endswith(("--help", "schema")) else ["-c", str(config)]
    code, said, imported = run(*command.split(), *where)
    assert "Traceback" not in said
    assert code in {0, 1}, said
    assert "daemon.cli" in imported
    assert imported.isdisjoint(HEAVY)
    if command.partition(" ")[0] in {"jobs", "db"}:
        assert imported.isdisjoint({"structlog", "numpy", "pydicom", "alembic"})
    if command.startswith("--"):
        assert imported.isdisjoint({"structlog", "sqlalchemy", "pydantic_settings"})


def test_version_is_printed_and_is_no_mistake() -> None:
    code, said, _ = run("--version")
    assert (code, said.strip()) == (0, f"scanward {version('scanward')}")


def test_help_names_every_command_with_what_its_own_help_says(scanward: Callable[..., Result]) -> None:
    said = scanward("--help").stdout
    for name in COMMANDS:
        own = scanward(name, "--help").stdout
        assert f"│ {name} " in said
        first = next(line for line in own.splitlines()[3:] if line.strip()).split()
        assert " ".join(first[:5]) in " ".join(said.split())


def test_a_command_that_there_is_not_is_wrong_usage() -> None:
    code, said, _ = run("jbos")
    assert code == 2
    assert "No such command 'jbos'" in said
