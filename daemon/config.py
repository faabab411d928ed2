"""The configuration file `scanward.yaml`: frozen, wholly checked at start-up, secrets masked, unknown keys refused.

Any value may come from the environment instead: `SCANWARD_` and the keys joined by two underscores, so
`SCANWARD_LISTENER__PORT=104` sets `listener: {port: 104}`. The environment wins over the file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from daemon.errors import BadConfiguration
from dicomio.files.inflate import LARGEST_INFLATED
from pipelines.rules.yaml_file import LocatedYaml, YamlFault

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*$")
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?\s*$")
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> object:
    """Turns `30`, `"30s"`, `"5m"`, `"2h"`, `"30d"` into a timedelta; anything else is left for pydantic to refuse."""
    if isinstance(value, bool):
        raise ValueError("is not a duration; write for example 30s, 5m or 2h")
    if isinstance(value, int | float | str):
        match = _DURATION.match(str(value))
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write for example 30s, 5m or 2h")
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2] or "s"])
    return value


def parse_size(value: object) -> object:
    """Turns `65536`, `"128KB"`, `"4GB"` (decimal), `"4GiB"` (binary) into bytes; anything else is for pydantic."""
    if isinstance(value, str):
        match = _SIZE.match(value)
        if match is None:
            raise ValueError(f"{value!r} is not a size; write for example 128KB, 1MB or 4GB")
        return round(float(match[1]) * _BYTES[match[2] or "B"])
    return value


Size = Annotated[int, BeforeValidator(parse_size), Field(strict=True)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
AETitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[^\\\s](?:[^\\]*[^\\\s])?$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Part(BaseModel):
    """Base of every part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tls(Part):
    """Certificates of one side of a TLS connection (PEM files); with `ca` the other side must show one too."""

    cert: Path
    key: Path
    ca: Path | None = None


class AllowedPeer(Part):
    """A scanner that may send: its AE title and, if given, the host that it must call from."""

    ae_title: AETitle
    host: str | None = None


Wait = Annotated[Duration, Field(ge=timedelta(seconds=1))]


class ListenerPart(Part):
    """The DICOM listener; `processes` share one port, so that parallel senders scale past one interpreter.

    Limits on peers that send too much or too slowly: an association request of at most `max_request` bytes has to be
    complete `association_timeout` after the connection, each PDU `pdu_timeout` after it began; an association without a
    byte for `idle_timeout` ends, and so does one whose image takes longer than that at less than `slowest_rate` a
    second. Data sets over `max_object` are refused.
    """

    ae_title: AETitle = "SCANWARD"
    host: str = "127.0.0.1"
    port: Port = 11112
    processes: Annotated[int, Field(ge=1, le=32)] = 2
    max_associations: Annotated[int, Field(ge=1, le=10_000)] = 50
    max_associations_per_host: Annotated[int, Field(ge=1)] | None = None
    max_request: Annotated[Size, Field(ge=4096, le=16 << 20)] = 128 << 10
    max_pdu: Annotated[Size, Field(ge=4096, le=16 << 20)] = 256 << 10
    max_object: Annotated[Size, Field(ge=1 << 20)] = 4 << 30
    association_timeout: Wait = timedelta(seconds=30)
    pdu_timeout: Wait = timedelta(seconds=60)
    idle_timeout: Wait = timedelta(seconds=60)
    slowest_rate: Annotated[Size, Field(ge=1)] = 1 << 10
    allow: tuple[AllowedPeer, ...] = ()
    tls: Tls | None = None


class WatchPart(Part):
    """A watched folder; files are taken when they have not changed for `settle`, and removed unless `keep`."""

    path: Path
    settle: Duration = timedelta(seconds=5)
    keep: bool = False


class LimitsPart(Part):
    """How large things may get: `inflated` is a data set in Deflated Explicit VR once it is unpacked."""

    inflated: Annotated[Size, Field(ge=1 << 20)] = LARGEST_INFLATED


class AssemblyPart(Part):
    """When a study is complete: nothing came for `quiet_period`, or for `after_release` since a sender hung up.

    `lost_images` says what becomes of a job one of whose series lost an image, that is, one came and cannot be used.
    """

    quiet_period: Duration = timedelta(seconds=30)
    after_release: Duration | None = None
    lost_images: Literal["strict", "lenient"] = "strict"


class WorkersPart(Part):
    """The worker processes: `count` on this machine, or those of the Dask scheduler at `scheduler`.

    `time_limit` is a job's; a worker that has not opened its engines after `start_limit` is replaced.
    """

    count: Annotated[int, Field(ge=1, le=64)] = 1
    memory_limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*(GB|GiB|MB|MiB)$")] = "8GB"
    time_limit: Duration = timedelta(minutes=15)
    start_limit: Duration = timedelta(minutes=30)
    scheduler: str | None = None
    tls: Tls | None = None

    @model_validator(mode="after")
    def _tls_needs_certificates(self) -> WorkersPart:
        if self.scheduler and self.scheduler.startswith("tls://") and (self.tls is None or self.tls.ca is None):
            raise ValueError("a tls:// scheduler needs tls: {cert, key, ca}")
        return self


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class EnginePart(Part):
    """Which engine runs the networks; `auto` takes the fastest that is there and passes its gate.

    `gpu` is a number as CUDA counts them, or a list of them: then each worker has one of its own. Samples go to an
    engine in pieces of at most `max_batch`, which bounds the GPU's memory.
    """

    backend: Literal["auto", "tensorrt", "openvino", "onnxruntime"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    gpu: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_as_list), Field(min_length=1)] = (0,)
    max_batch: Annotated[int, Field(ge=1, le=256)] = 8

    @model_validator(mode="after")
    def _each_gpu_once(self) -> EnginePart:
        if len(set(self.gpu)) != len(self.gpu):
            raise ValueError(f"gpu: {list(self.gpu)} names a GPU twice")
        return self


class Destination(Part):
    """A PACS that results are sent to, and the form that it wants them in."""

    ae_title: AETitle
    host: str
    port: Port = 104
    calling_ae: AETitle | None = None
    segmentation: Literal["BINARY", "LABELMAP"] = "BINARY"
    key_images: bool = True
    retry_for: Duration = timedelta(days=3)
    tls: Tls | None = None


class ConsolePart(Part):
    """Where the web console listens (not built yet; the key is read so that configurations stay valid)."""

    host: str = "127.0.0.1"
    port: Port = 8080


class LoggingPart(Part):
    """Log level, and whether lines are JSON (for a collector) or readable text."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_lines: bool = False


class Config(BaseSettings):
    """The whole configuration; see `deploy/scanward.yaml` for a commented example."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="SCANWARD_", env_nested_delimiter="__")

    data_dir: Path
    listener: ListenerPart | None = ListenerPart()
    watch: tuple[WatchPart, ...] = ()
    database: SecretStr | None = None
    limits: LimitsPart = LimitsPart()
    assembly: AssemblyPart = AssemblyPart()
    workers: WorkersPart = WorkersPart()
    engine: EnginePart = EnginePart()
    destinations: dict[str, Destination] = {}
    rules: Path = Path("rules.yaml")
    models: tuple[Path, ...] = ()
    console: ConsolePart | None = None
    logging: LoggingPart = LoggingPart()

    @model_validator(mode="after")
    def _every_gpu_has_a_worker(self) -> Config:
        wanted, there = len(self.engine.gpu), self.workers.count
        if wanted > there and self.workers.scheduler is None:
            raise ValueError(f"engine.gpu names {wanted} GPUs, but workers.count is {there}: one worker per GPU")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the file (which arrives as keyword arguments)."""
        return EnvSettingsSource(settings_cls), init_settings

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL; without the key, an SQLite file in the data folder."""
        if self.database is not None:
            return self.database.get_secret_value()
        return f"sqlite:///{self.data_dir / 'scanward.sqlite'}"

    @property
    def spool_dir(self) -> Path:
        """What was received, as it came."""
        return self.data_dir / "spool"

    @property
    def outbox_dir(self) -> Path:
        """Results, one folder per job, kept until every destination has them and after."""
        return self.data_dir / "outbox"

    @property
    def standing_file(self) -> Path:
        """How the workers stand, for `scanward status`."""
        return self.data_dir / "standing.json"

    @property
    def cache_dir(self) -> Path:
        """Compiled networks."""
        return self.data_dir / "plans"


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
