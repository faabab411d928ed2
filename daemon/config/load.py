"""Reads and checks `scanward.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings.exceptions import SettingsError

from daemon.config.model import Config
from daemon.errors import BadConfiguration
from pipelines.yaml_file import LocatedYaml, YamlFault


def load_config(path: Path) -> Config:
    """Reads and checks a configuration file; relative paths in it are taken from the folder that it lies in.

    Raises:
        BadConfiguration: With every fault found: file, line, key, and what to do.
    """
    try:
        document = LocatedYaml.read(path)
    except YamlFault as fault:
        raise BadConfiguration(path=path, faults=(str(fault),)) from fault
    repeated = tuple(fault.at(document.name) for fault in document.repeated)
    try:
        config = Config(**{str(key): value for key, value in document.data.items()})
    except SettingsError as error:  # a variable that should be JSON, as SCANWARD_WATCH='[{"path": "/data/inbox"}]'
        raise BadConfiguration(path=path, faults=(f"environment: {error}: {error.__cause__}",)) from error
    except ValidationError as error:
        raise BadConfiguration(path=path, faults=(*repeated, *_faults(error, document))) from error
    if repeated:
        raise BadConfiguration(path=path, faults=repeated)
    return _anchored(config, path.resolve().parent)


def _faults(error: ValidationError, document: LocatedYaml) -> list[str]:
    faults = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "(top)"
        if item["type"] == "extra_forbidden":
            message = "unknown key; see deploy/scanward.yaml for the keys there are"
        elif item["type"] == "missing":
            message = "is required"
        else:
            message = item["msg"].removeprefix("Value error, ")
        faults.append(f"{document.where(item['loc'])}: {key}: {message}")
    return faults


def _anchored(config: Config, folder: Path) -> Config:
    def anchor(part: Any) -> Any:
        match part:
            case Path():
                return part if part.is_absolute() else folder / part
            case BaseModel():
                return part.model_copy(update={name: anchor(getattr(part, name)) for name in type(part).model_fields})
            case tuple():
                return tuple(anchor(item) for item in part)
            case dict():
                return {key: anchor(item) for key, item in part.items()}
            case _:
                return part

    anchored: Config = anchor(config)
    return anchored
