"""Log lines: one event name and plain values, readable or JSON, on standard error. Never a patient's name.

Every value passes `_escape` on its way: what a peer or a file name brings cannot forge a line or steer a terminal.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from typing import Any, TextIO

import structlog

from daemon.terminal.text import escaped

_LIBRARIES = ("pynetdicom", "pydicom", "highdicom", "distributed", "asyncio", "alembic", "sqlalchemy", "openvino")


def set_up_logs(level: str = "info", *, json_lines: bool = False) -> None:
    """Configures structlog, and keeps the libraries' own logs to warnings in the same form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _escape,
    ]
    # Without local variables, which structlog would write out by default: in our case headers with patients' names.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    tail: list[structlog.typing.Processor] = (
        [tracebacks, structlog.processors.JSONRenderer()]
        if json_lines
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_meta, *tail]))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    # pydicom shows the value that it complains of, which may be a patient's name; ours say what matters of a file.
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="(?s).*(value for VR|allowed for VR|for this VR)")


def _escape(logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: value if key.startswith("_") or key == "exc_info" else _plain(value) for key, value in event.items()}


def _plain(value: Any) -> Any:
    """A value whose every text is escaped; what has a text of its own (a path, an error) is replaced by it."""
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return escaped(str(value))


def _plain_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    told = io.StringIO()
    structlog.dev.plain_traceback(told, exc_info)
    out.write(escaped(told.getvalue(), lines=True))


def _drop_meta(logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)
