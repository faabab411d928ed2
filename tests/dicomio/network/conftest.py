from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomio.files.spool.spool import Spool
from dicomio.network.listener.settings import ListenerSettings
from dicomio.network.listener.supervisor import Listener


@pytest.fixture
def settings(tmp_path: Path) -> ListenerSettings:
    return ListenerSettings(spool=tmp_path / "spool", host="127.0.0.1", port=0, processes=1, grace=1.0)


@pytest.fixture
def spool(settings: ListenerSettings) -> Spool:
    return Spool(settings.spool)


@pytest.fixture
def listener(settings: ListenerSettings) -> Iterator[Listener]:
    with Listener(settings) as listening:
        yield listening
