"""The house rules that no linter checks."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
from collections import Counter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("daemon", "db", "dicomio", "engines", "pipelines", "training")


@pytest.mark.parametrize("name", [*OURS, "scanward_errors"])
def test_no_other_distribution_claims_our_import_names(name: str) -> None:
    claimants = set(importlib.metadata.packages_distributions().get(name, ["scanward"]))
    assert claimants <= {"scanward"}, f"{claimants} would shadow our {name}"


def test_the_error_base_imports_nothing_of_ours() -> None:
    tree = ast.parse((ROOT / "scanward_errors.py").read_text())
    nodes = list(ast.walk(tree))
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "typing"}


def tracked() -> list[Path]:
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if run.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in run.stdout.decode().split("\0") if name]


def test_nothing_large_is_tracked_and_the_packages_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in tracked() if path.is_file()}
    assert max(sizes.values()) < 50e6
    assert sum(size for path, size in sizes.items() if "models" in path.relative_to(ROOT).parts) < 60e6


def test_no_scan_is_tracked() -> None:
    images = {".dcm", ".nii", ".gz", ".tif", ".tiff", ".jpg", ".jpeg", ".tar", ".xz"}
    assert [path for path in tracked() if path.suffix in images] == []


def test_the_shipped_files_of_the_installed_application_are_there() -> None:
    from db.schema import head
    from engines.packages.package import find_packages, shipped_folder
    from pipelines.registry import PIPELINES

    shipped = find_packages(shipped_folder())
    wanted = {name for pipeline in PIPELINES.values() for name in pipeline.models.values()}
    assert wanted <= set(shipped)
    assert head()


def test_no_network_names_the_machine_that_it_was_trained_on() -> None:
    from engines.packages.package import shipped_folder

    for network in shipped_folder().glob("*/model.onnx"):
        content = network.read_bytes()
        assert not [trace for trace in (b'File "', b"site-packages", b".venv/", b"/home/") if trace in content], network


MOST = 18
"""Modules of one folder, its `__init__` not counted."""

NO_FILE_OF_THEIR_OWN = {
    "tests/test_layout.py": "the tree itself",
    "tests/test_docs.py": "the guides in docs/",
    "tests/db/test_concurrency.py": "every store of the database, from several threads and processes",
    "tests/models": "the packages in models/, which are no code",
    "tests/acceptance": "the real command line against real peers",
    "tests/dicomio/acceptance": "what other software reads of our results",
}
"""Tests that cover no module, and what they cover instead."""


def ours(*folders: str) -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


def circles() -> set[tuple[str, ...]]:
    """Modules that import each other in a ring, each ring once; imports in functions and for types count too."""
    graph = grimp.build_graph(*OURS, cache_dir=None)
    found: dict[frozenset[str], tuple[str, ...]] = {}
    for module in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            back = graph.find_shortest_chain(importer=imported, imported=module)
            if back:
                found.setdefault(frozenset(back), (module, *back))
    return set(found.values())


def test_no_import_circle() -> None:
    told = [" -> ".join(ring) for ring in circles()]
    assert not told, "\n".join(told)


def test_no_folder_is_too_full() -> None:
    modules = Counter(path.parent for path in ours(*OURS, "benchmarks", "tests") if path.name != "__init__.py")
    full = {str(folder.relative_to(ROOT)): number for folder, number in modules.items() if number > MOST}
    full.pop("db/migrations/versions", None)  # grows with every version, and is read by alembic only
    assert not full
    assert sum(len(list((ROOT / name).glob("*.py"))) for name in ("pipelines", "dicomio", "daemon", "training")) < 60


def test_every_package_says_what_lives_there() -> None:
    faces = [path for path in ours(*OURS, "benchmarks") if path.name == "__init__.py"]
    assert {path.parent for path in ours(*OURS)} - {ROOT / "db/migrations/versions"} <= {path.parent for path in faces}
    assert [path for path in faces if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_one_class_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in ours(*OURS):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def covers(test: Path) -> bool:
    """Whether a module or package exists that the file is named after: `tests/a/test_b_more.py`, for `a/b.py`."""
    folder = ROOT / test.relative_to(ROOT / "tests").parent
    words = test.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:length]) for length in range(1, len(words) + 1)]
    return any((folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file() for name in names)


def test_every_test_file_is_named_after_what_it_covers() -> None:
    excused = tuple(NO_FILE_OF_THEIR_OWN)
    tests = [path for path in ours("tests") if path.name.startswith("test_")]
    others = [str(path.relative_to(ROOT)) for path in tests if not covers(path)]
    assert [name for name in others if not name.startswith(excused)] == []
