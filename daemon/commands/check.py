from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, console
from daemon.config import load_config
from daemon.installation import SpoolSide, compare_installation
from daemon.jobs.delivery import peer_of
from daemon.settings import engine_settings
from daemon.terminal.tables import plain_table
from db.database import Database
from dicomio.errors import DicomError
from dicomio.files.spool.spool import Spool
from dicomio.network.scu.sender import Peer, echo
from dicomio.network.scu.supported_classes import unsupported_sop_classes
from engines.choose import candidates, open_engine
from engines.errors import EngineError
from engines.packages.package import find_packages
from pipelines.errors import ModelMissing, PipelineError
from pipelines.packages import package_named
from pipelines.registry import PIPELINES
from pipelines.rules.file import load_rules
from pipelines.rules.lint import lint_rules
from pipelines.rules.routing import NO_RULES
from scanward_errors import ScanwardError

if TYPE_CHECKING:
    from daemon.config import Config, Destination
    from engines.contract import EngineSettings
    from engines.packages.package import ModelPackage

ENOUGH_DISK = 20e9
"""Bytes: a busy day of CT and MR; less is worth a warning, not an error."""

SEGMENTATIONS = {"BINARY": "1.2.840.10008.5.1.4.1.1.66.4", "LABELMAP": "1.2.840.10008.5.1.4.1.1.66.7"}
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
KEY_IMAGE = "1.2.840.10008.5.1.4.1.1.7"
OBJECTS = {
    SEGMENTATIONS["BINARY"]: "Segmentation",
    SEGMENTATIONS["LABELMAP"]: "Label Map Segmentation",
    REPORT: "Comprehensive 3D SR",
    KEY_IMAGE: "Secondary Capture",
}
"""Names of the SOP classes that we send."""


@dataclass(frozen=True)
class CheckResult:
    """One thing that was checked: `ok`, `warning` or `error`, and what was found or should be done."""

    what: str
    state: str
    details: str


def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check configuration, rules, models, engines, database, disk and destinations, and say what to change."""
    loaded = load_config(config)
    table = plain_table("Checked", "State", "Details")
    results = []
    with console.status("Checking ..."):
        for result in _check_all(loaded, config):
            results.append(result)
            style = {"ok": "green", "warning": "yellow", "error": "bold red"}[result.state]
            table.add_row(result.what, Text(result.state, style=style), Text(result.details))
    console.print(table)
    if any(result.what == "rules" and result.state == "error" for result in results):
        raise typer.Exit(2)
    if any(result.state == "error" for result in results):
        raise typer.Exit(1)


def _check_all(config: Config, path: Path) -> Iterator[CheckResult]:
    yield CheckResult("configuration", "ok", str(path))
    yield _rules(config)
    yield _disk(config)
    yield _tried("database", lambda: _database(config))
    yield _listener(config)
    for watch in config.watch:
        seen = watch.path.is_dir()
        yield CheckResult(
            f"watch {watch.path}", "ok" if seen else "error", "exists" if seen else "there is no such folder"
        )
    yield from map(_models_folder, config.models)
    for pipeline in PIPELINES.values():
        for slot, name in pipeline.models.items():
            yield _network(f"{pipeline.name} {slot}", config, name)
        for slot, name in pipeline.optional_models.items():
            yield _network(f"{pipeline.name} {slot}", config, name, optional=True)
    for name, destination in config.destinations.items():
        yield _destination(name, destination, peer_of(destination, config))


def _tried(what: str, look: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(what, "ok", look())
    except (ScanwardError, OSError) as error:
        return CheckResult(what, "error", str(error))


def _rules(config: Config) -> CheckResult:
    try:
        rules = load_rules(config.rules, known_pipelines=PIPELINES, known_destinations=config.destinations.keys())
    except PipelineError as error:
        return CheckResult("rules", "error", str(error))
    if not len(rules):
        return CheckResult("rules", "warning", f"{config.rules}: {NO_RULES}")
    said = f"{config.rules}: {len(rules)} rules ({', '.join(rule.name for rule in rules)})"
    doubtful = lint_rules(rules)
    return CheckResult("rules", "warning" if doubtful else "ok", "\n".join([said, *doubtful]))


def _disk(config: Config) -> CheckResult:
    folder = config.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / 1e9:.0f} GB free for {config.data_dir}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return CheckResult("disk", "error", f"{said}, but {folder} cannot be written to by this user")
    return CheckResult("disk", "ok" if free >= ENOUGH_DISK else "warning", said)


def _database(config: Config) -> str:
    database = Database(config.database_url, config.data_dir)
    if database.file is not None and not database.file.exists():
        return f"{database.url}: will be created at the first start"
    database.check()
    if config.spool_dir.exists():
        compare_installation(config, database, SpoolSide.of(Spool(config.spool_dir)))
    return f"{database.url} at {database.current()}"


def _listener(config: Config) -> CheckResult:
    part = config.listener
    if part is None:
        return CheckResult("listener", "ok", "not configured")
    where = f"{part.ae_title} at {part.host}:{part.port}"
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((part.host, part.port))
        except OSError as error:
            return CheckResult("listener", "warning", f"{where}: {error.strerror}; is the daemon running already?")
    return CheckResult("listener", "ok", f"{where}, port is free")


def _network(what: str, config: Config, name: str, *, optional: bool = False) -> CheckResult:
    """Which engine would serve a package."""
    try:
        package = package_named(name, config.models)
    except ModelMissing as error:
        if optional:
            return CheckResult(what, "ok", f"{name} is not installed; the pipeline runs without it")
        return CheckResult(what, "error", str(error))
    except (EngineError, PipelineError) as error:
        return CheckResult(what, "error", str(error))
    for folder in (config.data_dir, config.cache_dir):  # the engine would make them readable by everybody
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _served(what, package, engine_settings(config))


def _served(what: str, package: ModelPackage, settings: EngineSettings) -> CheckResult:
    """Plans that are not stored are reported, not built: building takes minutes."""
    unbuilt = [f"{one.backend} {one.settings.precision}" for one in candidates(package, settings) if one.builds]
    hint = f"no stored plan for {', '.join(unbuilt)}: run `scanward models build`"
    try:
        with open_engine(package, settings, build=False) as engine:
            said = f"{package.name} {package.manifest.version}: {engine.description}"
    except EngineError as error:
        return CheckResult(what, "warning", hint) if unbuilt else CheckResult(what, "error", str(error))
    return CheckResult(what, "warning", f"{hint}; until then: {said}") if unbuilt else CheckResult(what, "ok", said)


def _models_folder(folder: Path) -> CheckResult:
    what = f"models {folder}"
    if not folder.is_dir():
        return CheckResult(what, "error", "there is no such folder")
    try:
        found = find_packages(folder)
    except EngineError as error:
        return CheckResult(what, "error", str(error))
    if not found:
        return CheckResult(what, "warning", "contains no model package: none of its folders has a model.yaml")
    return CheckResult(what, "ok", ", ".join(f"{name} {package.manifest.version}" for name, package in found.items()))


def _destination(name: str, destination: Destination, peer: Peer) -> CheckResult:
    """C-ECHO, and whether it accepts the SOP classes that we send."""
    what = f"destination {name}"
    objects = {SEGMENTATIONS[destination.segmentation], REPORT, *([KEY_IMAGE] if destination.key_images else [])}
    try:
        echo(peer)
        not_taken = unsupported_sop_classes(peer, sorted(objects))
    except (DicomError, OSError) as error:
        return CheckResult(what, "error", str(error))
    if not not_taken:
        return CheckResult(
            what, "ok", f"{peer} answers C-ECHO and accepts {', '.join(OBJECTS[uid] for uid in sorted(objects))}"
        )
    told = f"{peer} answers C-ECHO but would refuse: {', '.join(OBJECTS[uid] for uid in not_taken)}"
    if set(not_taken) == {KEY_IMAGE}:
        return CheckResult(what, "warning", f"{told}; set key_images: false to send it no pictures")
    return CheckResult(what, "error", f"{told}; jobs that send there will fail until it accepts them")
