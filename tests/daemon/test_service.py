"""The whole service in this process: what starts first, what is told of its parts, and how it stops."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from daemon.config import Config
from daemon.demo import free_ports
from daemon.service import Service
from daemon.workers.status import PartState, PartStatus, read_status
from db.database import Database
from dicomio.files.spool.spool import Spool
from dicomio.network.scu.sender import Peer, send
from tests.daemon.support.stored_jobs import StoredJobs
from tests.daemon.support.waiting import until
from tests.postgres import Cluster

HERE = "127.0.0.1"


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def make_config(tmp_path: Path, port: int) -> Callable[..., Config]:
    """A configuration without rules and models: its service starts workers that have nothing to open."""
    (tmp_path / "rules.yaml").write_text("rules: []\n")

    def make(**changes: Any) -> Config:
        values = {
            "data_dir": tmp_path / "data",
            "listener": {"ae_title": "SCANWARD", "host": HERE, "port": port, "processes": 1},
            "rules": tmp_path / "rules.yaml",
        }
        return Config(**(values | changes))

    return make


@contextmanager
def serving(config: Config) -> Iterator[Service]:
    """The service, started by another thread, as it may wait for the database."""
    service = Service(config)
    entered = threading.Event()
    ended = threading.Event()

    def serve() -> None:
        with service:
            entered.set()
            service.run_until_signal()
        ended.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield service
    finally:
        service.stopped.set()
        thread.join(60)
    assert ended.is_set()


def parts(config: Config) -> dict[str, PartStatus]:
    status = read_status(config.status_file)
    return {part.name: part for part in status.parts} if status else {}


def listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((HERE, port)) == 0


def test_images_are_received_while_the_database_is_away_and_indexed_when_it_is_back(
    cluster: Cluster,
    tmp_path: Path,
    make_config: Callable[..., Config],
    port: int,
    images: list[Path],
) -> None:
    url = cluster.new_database()
    with closing(Database(url)) as database:
        database.upgrade()
    folder = url.partition("?host=")[2]
    later = tmp_path / "later"
    config = make_config(database=url.replace(folder, str(later)))
    with serving(config):
        until(lambda: listens(port))
        results = send(Peer(ae_title="SCANWARD", host=HERE, port=port), images)
        assert all(result.accepted for result in results)
        until(lambda: parts(config).get("database"))
        told = parts(config)["database"]
        assert told.state is PartState.WAITING
        assert "is not available" in told.reason
        assert len(Spool(config.spool_dir).incoming()) == len(images)
        later.symlink_to(folder)
        with closing(Database(url)) as database:
            until(lambda: [row.study.images for row in database.jobs.find()] == [len(images)], 90)
        until(lambda: "database" not in parts(config))
        until(lambda: "intake" in parts(config))
        assert parts(config)["intake"].state is PartState.WORKING


def test_a_stop_while_the_database_is_waited_for_ends_cleanly(
    tmp_path: Path, make_config: Callable[..., Config], port: int
) -> None:
    config = make_config(database=f"postgresql+psycopg://postgres@/nowhere?host={tmp_path}")
    with serving(config) as service:
        until(lambda: listens(port))
        until(lambda: parts(config).get("database"))
        start = time.monotonic()
        service.stopped.set()
    assert time.monotonic() - start < 15
    assert not listens(port)
    assert not config.status_file.exists()


@contextmanager
def silent_peer() -> Iterator[tuple[int, list[socket.socket]]]:
    """Takes connections and never says a word."""
    taken: list[socket.socket] = []
    with socket.create_server((HERE, 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1], taken
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in taken:
                connection.close()


def test_two_destinations_that_hang_do_not_hold_up_the_stop(
    tmp_path: Path, make_config: Callable[..., Config], port: int, images: list[Path]
) -> None:
    stored = StoredJobs(tmp_path)
    job_id = stored.compute("1.2", send_to=("a", "b"))
    for result in stored.database.jobs.show(job_id).results:
        result.path.parent.mkdir(parents=True, exist_ok=True)
        result.path.write_bytes(images[0].read_bytes())
    with silent_peer() as (silent, taken):
        hanging = {name: {"ae_title": "HANGS", "host": HERE, "port": silent} for name in ("a", "b")}
        config = make_config(data_dir=stored.data, destinations=hanging)
        with serving(config) as service:
            until(lambda: len(taken) == 2)
            start = time.monotonic()
            service.stopped.set()
        assert time.monotonic() - start < 15
    due = [item.attempts for batch in stored.database.deliveries.due(datetime.now(UTC)) for item in batch.items]
    assert due == [0, 0, 0, 0]  # given back, and no try was counted
    stored.database.close()


def test_a_pacs_that_was_down_gets_everything_once_it_is_back(
    tmp_path: Path, make_config: Callable[..., Config], images: list[Path]
) -> None:
    stored = StoredJobs(tmp_path)
    job_id = stored.compute("1.2", send_to=("pacs",))
    for result, image in zip(stored.database.jobs.show(job_id).results, images, strict=False):
        result.path.parent.mkdir(parents=True, exist_ok=True)
        result.path.write_bytes(image.read_bytes())
    (port,) = free_ports(1)
    pacs = {"ae_title": "PACS", "host": HERE, "port": port}
    with serving(make_config(data_dir=stored.data, destinations={"pacs": pacs})):
        until(lambda: "Connection refused" in (stored.database.jobs.show(job_id).deliveries[0].last_error or ""))
        entity = AE("PACS")
        entity.supported_contexts = AllStoragePresentationContexts
        server = entity.start_server((HERE, port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])
        try:
            until(lambda: stored.database.jobs.get(job_id).state == "done")
        finally:
            server.shutdown()
    assert [row.state for row in stored.database.jobs.show(job_id).deliveries] == ["accepted", "accepted"]
    stored.database.close()
