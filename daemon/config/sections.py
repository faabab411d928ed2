"""The sections of the configuration, in the order of the commented example `deploy/scanward.yaml`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from daemon.config.values import AETitle, Duration, Port, Size, Wait
from dicomio.files.inflate import LARGEST_INFLATED


class Section(BaseModel):
    """Base of every section of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Tls(Section):
    """Certificates of one side of a TLS connection (PEM files); with `ca` the other side must show one too."""

    cert: Path
    key: Path
    ca: Path | None = None


class AllowedSender(Section):
    """A scanner that may send: its AE title and, if given, the host that it must call from."""

    ae_title: AETitle
    host: str | None = None


class ListenerSection(Section):
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
    allow: tuple[AllowedSender, ...] = ()
    tls: Tls | None = None


class WatchSection(Section):
    """A watched folder; files are taken when they have not changed for `settle`, and removed unless `keep`."""

    path: Path
    settle: Duration = timedelta(seconds=5)
    keep: bool = False


class LimitsSection(Section):
    """How large things may get: `inflated` is a data set in Deflated Explicit VR once it is unpacked."""

    inflated: Annotated[Size, Field(ge=1 << 20)] = LARGEST_INFLATED


class AssemblySection(Section):
    """When a study is complete: nothing came for `quiet_period`, or for `after_release` after the release.

    `lost_images` says what becomes of a job one of whose series lost an image, that is, one came and cannot be used.
    """

    quiet_period: Duration = timedelta(seconds=30)
    after_release: Duration | None = None
    lost_images: Literal["strict", "lenient"] = "strict"


class WorkersSection(Section):
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
    def _tls_needs_certificates(self) -> WorkersSection:
        if self.scheduler and self.scheduler.startswith("tls://") and (self.tls is None or self.tls.ca is None):
            raise ValueError("a tls:// scheduler needs tls: {cert, key, ca}")
        return self


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class EngineSection(Section):
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
    def _each_gpu_once(self) -> EngineSection:
        if len(set(self.gpu)) != len(self.gpu):
            raise ValueError(f"gpu: {list(self.gpu)} names a GPU twice")
        return self


class Destination(Section):
    """A PACS that results are sent to, and the form that it wants them in."""

    ae_title: AETitle
    host: str
    port: Port = 104
    calling_ae: AETitle | None = None
    segmentation: Literal["BINARY", "LABELMAP"] = "BINARY"
    key_images: bool = True
    retry_for: Duration = timedelta(days=3)
    tls: Tls | None = None


class ConsoleSection(Section):
    """Where the web console listens (not built yet; the key is read so that configurations stay valid)."""

    host: str = "127.0.0.1"
    port: Port = 8080


class LoggingSection(Section):
    """Log level, and whether lines are JSON (for a collector) or readable text."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_lines: bool = False
