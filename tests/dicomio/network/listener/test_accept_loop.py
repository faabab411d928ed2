"""What the listener does when something goes wrong: processes killed, peers that misbehave, a disk that is full."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.presentation import build_context

from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scu.association import Peer
from dicomio.network.scu.sender import SendResult, echo, send
from dicomio.network.tls import TLSFiles
from tests.dicomio.support.peers import NODELAY, data_set, until, write_series
from tests.dicomio.support.requestor import Requestor, association, encode_request, p_data

HERE = "127.0.0.1"


@pytest.fixture
def settings(tmp_path: Path) -> ListenerSettings:
    return ListenerSettings(spool=tmp_path / "spool", host=HERE, port=0, processes=1, grace=1.0)


@pytest.fixture
def spool(settings: ListenerSettings) -> Spool:
    return Spool(settings.spool)


def us(port: int) -> Peer:
    return Peer(ae_title="SCANWARD", host=HERE, port=port, calling_ae="CT1")


@contextmanager
def calling(port: int) -> Iterator[Requestor]:
    with association(us(port), [build_context(CTImageStorage, ExplicitVRLittleEndian)]) as opened:
        yield opened


def record(spool: Spool) -> dict[str, object]:
    until(spool.associations)
    (path,) = spool.associations()
    return dict(json.loads(path.read_text()))


# Killed processes


def acknowledged(log: str, sent: list[Path]) -> list[Path]:
    """The files whose Success storescu reports: it sends them in order, and says so."""
    stored = []
    for line in log.splitlines():
        if found := re.search(r"Sending file: (.+)$", line):
            current = Path(found[1])
        elif "Received Store Response (Success)" in line:
            stored.append(current)
    assert stored == sent[: len(stored)]
    return stored


@pytest.mark.parametrize("images_before", [1, 7, 30, 80])
def test_kill_9_of_a_listener_process_loses_nothing_acknowledged(
    settings: ListenerSettings, spool: Spool, images_before: int, needs: Callable[..., str], tmp_path: Path
) -> None:
    sent = write_series(tmp_path / "ct", 120, size=128)
    with Listener(replace(settings, processes=2)) as listener:
        pids = listener.pids
        command = [
            needs("storescu", package="dcmtk"),
            "-v",
            "-aec",
            "SCANWARD",
            HERE,
            str(listener.port),
            *map(str, sent),
        ]
        with (tmp_path / "log").open("w") as log:
            scanner = subprocess.Popen(command, env=NODELAY, stdout=log, stderr=log)
        until(lambda: len(spool.incoming()) >= images_before)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        scanner.wait()
        stored = acknowledged((tmp_path / "log").read_text(), sent)
        assert images_before - 1 <= len(stored) < 120
        until(lambda: not set(listener.pids) & set(pids), 30)
        until(lambda: _answers(listener.port), 30)
        assert all(result.accepted for result in send(us(listener.port), sent[-3:]))
    whole = set(map(data_set, sent))
    arrived = [data_set(path) for path in spool.incoming()]
    assert set(map(data_set, stored)) <= set(arrived)
    assert set(arrived) <= whole, "nothing half-written is visible"
    assert list(spool.tmp.iterdir()) == []


DAEMON = """
import sys, time
from pathlib import Path
from dicomio.network.listener.supervisor import Listener, ListenerSettings
settings = ListenerSettings(spool=Path(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), grace=1.0)
with Listener(settings) as listener:
    print(*listener.pids, flush=True)
    time.sleep(600)
"""


def test_kill_9_of_the_daemon_frees_the_port_and_loses_nothing(
    settings: ListenerSettings, spool: Spool, free_port: int, tmp_path: Path
) -> None:
    sent = write_series(tmp_path / "ct", 200, size=128)
    command = [sys.executable, "-c", DAEMON, str(settings.spool), str(free_port)]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    told = next(filter(None, (re.fullmatch(r"(\d+) (\d+)", line.strip()) for line in daemon.stdout)))
    pids = [int(pid) for pid in told.groups()]
    until(lambda: _answers(free_port), 30)
    results: list[SendResult] = []
    scanner = threading.Thread(target=lambda: send(us(free_port), sent, on_result=results.append))
    scanner.start()
    until(lambda: len(results) >= 10)
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    scanner.join(30)
    until(lambda: not any(_runs(pid) for pid in pids))
    with Listener(replace(settings, port=free_port)):
        stored = {data_set(result.path) for result in results if result.accepted}
        assert len(stored) >= 10
        assert stored <= set(map(data_set, spool.incoming()))


def _answers(port: int) -> bool:
    try:
        echo(us(port))
    except (PeerUnreachable, PeerRefused):
        return False
    return True


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_keeps_dying_is_started_again_ever_more_slowly(settings: ListenerSettings) -> None:
    with Listener(settings) as listener:
        seen = set(listener.pids)
        for _ in range(2):
            os.kill(listener.pids[0], signal.SIGKILL)
            until(lambda seen=seen: not set(listener.pids) & seen, 30)
            seen = seen | set(listener.pids)
        until(lambda: _answers(listener.port), 30)
    assert len(seen) == 3


# Full disk


def test_disk_full_in_the_middle_of_an_image(settings: ListenerSettings, spool: Spool) -> None:
    """The limit on file size stands for the disk: the large image fails half-way, the small ones go through."""
    with Listener(settings) as listener:
        resource.prlimit(listener.pids[0], resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        with calling(listener.port) as opened:
            statuses = [_store(opened, str(size), bytes(size)) for size in (1000, 3_000_000, 2000)]
    assert statuses == [0x0000, 0xA700, 0x0000]
    assert sorted(len(data_set(path)) for path in spool.incoming()) == [1000, 2000]
    assert list(spool.tmp.iterdir()) == []
    ended = record(spool)
    assert (ended["how"], ended["refused"], len(ended["files"])) == ("released", 1, 2)  # type: ignore[arg-type]


def test_the_reserve_is_kept(settings: ListenerSettings, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    with Listener(replace(settings, reserve_bytes=1 << 60)) as listener, calling(listener.port) as opened:
        assert [_store(opened, "1", bytes(1000)), _store(opened, "2", bytes(1000))] == [0xA700, 0xA700]
        assert opened.is_established
    assert spool.incoming() == []
    until(lambda: "spool's disk is full" in capsys.readouterr().out)


def test_other_faults_of_the_disk_are_answered_too(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener, calling(listener.port) as opened:
        assert _store(opened, "1", bytes(1000)) == 0
        spool.incoming_folder.rename(spool.root / "gone")
        assert _store(opened, "2", bytes(1000)) >> 12 == 0xC
        (spool.root / "gone").rename(spool.incoming_folder)
        assert _store(opened, "3", bytes(1000)) == 0
    assert len(spool.incoming()) == 2


def _store(opened: Requestor, sop_instance: str, data: bytes) -> int:
    opened.dul.send_pdu(p_data(1, b"\x03" + encode_request(1, CTImageStorage, f"1.2.{sop_instance}")))
    for at in range(0, len(data), 100_000):
        last = b"\x02" if at + 100_000 >= len(data) else b"\x00"
        opened.dul.send_pdu(p_data(1, last + data[at : at + 100_000]))
    _, answer = opened.dimse.get_msg(block=True)
    return int(answer.Status)


# Peers that misbehave


def test_a_connection_lost_within_an_image(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener, calling(listener.port) as opened:
        assert _store(opened, "1", bytes(1000)) == 0
        opened.dul.send_pdu(p_data(1, b"\x03" + encode_request(1, CTImageStorage, "1.2.3")))
        opened.dul.send_pdu(p_data(1, b"\x00" + bytes(1000)))
        opened.dul.socket._shutdown_socket()
        opened.is_established = False
        ended = record(spool)
    assert (ended["how"], len(ended["files"])) == ("lost", 1)  # type: ignore[arg-type]
    assert len(spool.incoming()) == 1
    assert list(spool.tmp.iterdir()) == []


def test_an_association_aborted_within_an_image(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener, calling(listener.port) as opened:
        opened.dul.send_pdu(p_data(1, b"\x03" + encode_request(1, CTImageStorage, "1.2.3")))
        opened.dul.send_pdu(p_data(1, b"\x00" + bytes(1000)))
        opened.abort()
        ended = record(spool)
    assert (ended["how"], ended["files"]) == ("aborted", [])
    assert list(spool.tmp.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00\xff\xff\xff\xff",
        b"\x04\x00\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x06\x00\x00\xff\xff\x01\x03",
        b"\x01\x00\x00\x00\x00\x04\x00\x01\x00\x00",
        bytes(100),
        b"",
    ],
)
def test_nonsense_before_an_association(settings: ListenerSettings, spool: Spool, data: bytes) -> None:
    with Listener(settings) as listener:
        with socket.create_connection((HERE, listener.port)) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(10)
            while sock.recv(1000):
                pass
        echo(us(listener.port))
        until(lambda: listener.loads == (0,))
        assert len(spool.associations()) == 1, "only the echo was an association"


@pytest.mark.parametrize(
    "values",
    [
        [b"\x03" + b"nonsense that is no command"],
        [b"\x03" + encode_request(1, CTImageStorage, "")],
        [b"\x01" + bytes(100_000)],
        [b"\x03" + encode_request(1, CTImageStorage, "1.2.3").replace(b"\x01\x00\x00\x07", b"\x20\x00\x00\x07")],
        [b"\x00" + bytes(100)],
        [],
    ],
)
def test_nonsense_within_an_association(settings: ListenerSettings, spool: Spool, values: list[bytes]) -> None:
    with Listener(settings) as listener:
        with calling(listener.port) as opened:
            for value in values:
                opened.dul.send_pdu(p_data(1, value))
            opened.dul.socket.socket.sendall(b"\x04\x00\x00\x00\x00\x06\x00\x00\xff\xff\x01\x03")
            opened.dul.run_until(lambda: False, 10)
            assert not opened.dul.is_alive()
            opened.is_established = False
        echo(us(listener.port))
        until(lambda: listener.loads == (0,))
    assert spool.incoming() == []
    assert list(spool.tmp.iterdir()) == []


def test_who_says_nothing_is_disconnected_and_holds_up_nobody(settings: ListenerSettings) -> None:
    with Listener(replace(settings, acse_timeout=1.0, network_timeout=1.5)) as listener:
        idle = [socket.create_connection((HERE, listener.port)) for _ in range(20)]
        start = time.monotonic()
        echo(us(listener.port))
        assert time.monotonic() - start < 1
        with calling(listener.port) as opened:
            opened.dul.run_until(lambda: False, 10)
            assert not opened.dul.is_alive(), "an association without traffic is ended, too"
        until(lambda: listener.loads == (0,))
        for sock in idle:
            sock.close()


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a client's certificate signed by it, and a stranger's."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "stranger"):
        _certify(folder, name)
    for name in ("server", "client"):
        _certify(folder, name, "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
    return folder


def _certify(folder: Path, name: str, *options: str) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
    made = ["-x509", "-days", "2", "-subj", f"/CN={name}", "-out", f"{name}.pem", *options]
    subprocess.run(["openssl", "req", *key, *made], cwd=folder, check=True, capture_output=True)


def _files(folder: Path, name: str, ca: str = "ca") -> TLSFiles:
    return TLSFiles(certificate=folder / f"{name}.pem", key=folder / f"{name}.key", ca=folder / f"{ca}.pem")


def test_tls_with_certificates_on_both_sides(
    settings: ListenerSettings, spool: Spool, certificates: Path, tmp_path: Path
) -> None:
    sent = write_series(tmp_path / "ct", 5, size=256)
    secure = replace(settings, tls=_files(certificates, "server"), acse_timeout=2.0)
    assert ListenerSettings.from_json(secure.to_json()) == secure
    with Listener(secure) as listener:
        idle = socket.create_connection((HERE, listener.port))  # never shakes hands, and must not hold up the others
        friend = replace(us(listener.port), tls=_files(certificates, "client"))
        assert all(result.accepted for result in send(friend, sent))
        with pytest.raises((PeerRefused, PeerUnreachable)):
            echo(replace(friend, tls=TLSFiles(ca=certificates / "ca.pem")))
        with pytest.raises((PeerRefused, PeerUnreachable)):
            echo(replace(friend, tls=_files(certificates, "stranger")))
        with pytest.raises(PeerRefused, match="TLS"):
            echo(replace(friend, tls=_files(certificates, "client", ca="stranger")))
        with pytest.raises((PeerRefused, PeerUnreachable)):
            echo(us(listener.port))
        until(lambda: listener.loads == (0,))
        idle.close()
    assert sorted(map(data_set, spool.incoming())) == sorted(map(data_set, sent))


def test_tls_with_dcmtk(
    settings: ListenerSettings, spool: Spool, certificates: Path, needs: Callable[..., str], tmp_path: Path
) -> None:
    sent = write_series(tmp_path / "ct", 3)
    with Listener(replace(settings, tls=_files(certificates, "server"))) as listener:
        tls = ["+tls", str(certificates / "client.key"), str(certificates / "client.pem")]
        command = [needs("storescu", package="dcmtk"), *tls, "+cf", str(certificates / "ca.pem"), "-aec", "SCANWARD"]
        subprocess.run([*command, HERE, str(listener.port), *map(str, sent)], check=True)
    assert sorted(map(data_set, spool.incoming())) == sorted(map(data_set, sent))
