"""Data sets on their way into the spool: the disk is full, the connection is lost, the message is nonsense."""

from __future__ import annotations

import json
import resource
from dataclasses import replace

import pytest
from pydicom.uid import CTImageStorage

from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scu.sender import echo
from tests.dicomio.support.requestor import data_primitive, encode_request, raw_association, store
from tests.dicomio.support.series import data_set, until
from tests.dicomio.support.wire import p_data, request, store_command, us, wire


def record(spool: Spool) -> dict[str, object]:
    until(spool.associations)
    (path,) = spool.associations()
    return dict(json.loads(path.read_text()))


def test_disk_full_in_the_middle_of_an_image(settings: ListenerSettings, spool: Spool) -> None:
    """The limit on file size stands for the disk: the large image fails half-way, the small ones go through."""
    with Listener(settings) as listener:
        resource.prlimit(listener.pids[0], resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        with raw_association(listener.port) as opened:
            statuses = [store(opened, str(size), bytes(size)) for size in (1000, 3_000_000, 2000)]
    assert statuses == [0x0000, 0xA700, 0x0000]
    assert sorted(len(data_set(path)) for path in spool.incoming()) == [1000, 2000]
    assert list(spool.tmp.iterdir()) == []
    ended = record(spool)
    assert (ended["how"], ended["refused"], len(ended["files"])) == ("released", 1, 2)  # type: ignore[arg-type]


def test_the_reserve_is_kept(settings: ListenerSettings, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    with Listener(replace(settings, reserve_bytes=1 << 60)) as listener, raw_association(listener.port) as opened:
        assert [store(opened, "1", bytes(1000)), store(opened, "2", bytes(1000))] == [0xA700, 0xA700]
        assert opened.is_established
    assert spool.incoming() == []
    until(lambda: "spool's disk is full" in capsys.readouterr().out)


def test_other_faults_of_the_disk_are_answered_too(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener, raw_association(listener.port) as opened:
        assert store(opened, "1", bytes(1000)) == 0
        spool.incoming_folder.rename(spool.root / "gone")
        assert store(opened, "2", bytes(1000)) >> 12 == 0xC
        (spool.root / "gone").rename(spool.incoming_folder)
        assert store(opened, "3", bytes(1000)) == 0
    assert len(spool.incoming()) == 2


def test_a_connection_lost_within_an_image(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener, raw_association(listener.port) as opened:
        assert store(opened, "1", bytes(1000)) == 0
        opened.dul.send_pdu(data_primitive(1, b"\x03" + encode_request(1, CTImageStorage, "1.2.3")))
        opened.dul.send_pdu(data_primitive(1, b"\x00" + bytes(1000)))
        opened.dul.socket._shutdown_socket()
        opened.is_established = False
        ended = record(spool)
    assert (ended["how"], len(ended["files"])) == ("lost", 1)  # type: ignore[arg-type]
    assert len(spool.incoming()) == 1
    assert list(spool.tmp.iterdir()) == []


def test_an_association_aborted_within_an_image(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener, raw_association(listener.port) as opened:
        opened.dul.send_pdu(data_primitive(1, b"\x03" + encode_request(1, CTImageStorage, "1.2.3")))
        opened.dul.send_pdu(data_primitive(1, b"\x00" + bytes(1000)))
        opened.abort()
        ended = record(spool)
    assert (ended["how"], ended["files"]) == ("aborted", [])
    assert list(spool.tmp.iterdir()) == []


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
        with raw_association(listener.port) as opened:
            for value in values:
                opened.dul.send_pdu(data_primitive(1, value))
            opened.dul.socket.socket.sendall(b"\x04\x00\x00\x00\x00\x06\x00\x00\xff\xff\x01\x03")
            opened.dul.run_until(lambda: False, 10)
            assert not opened.dul.is_alive()
            opened.is_established = False
        echo(us(listener.port))
        until(lambda: listener.connection_counts == (0,))
    assert spool.incoming() == []
    assert list(spool.tmp.iterdir()) == []


def test_an_empty_object_is_refused_and_is_the_peers_fault(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener:
        with wire(listener.port, request()) as peer:
            peer.send(p_data(store_command(), (1, 2, b"")))
            assert peer.status() == 0xC000
        until(spool.associations)
        assert listener.state.processes[0].trouble == ""
    assert spool.incoming() == []
