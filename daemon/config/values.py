"""What a single value may look like: durations, sizes, AE titles, ports."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

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
Wait = Annotated[Duration, Field(ge=timedelta(seconds=1))]
