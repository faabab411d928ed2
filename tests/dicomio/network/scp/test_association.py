"""The listener, with real peers: dcmtk's programs and pynetdicom as the scanner."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom.sop_class import (
    CTDefinedProcedureProtocolStorage,
    HangingProtocolStorage,
    ModalityWorklistInformationFind,
    Verification,
)

from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.files.file_meta import read_file_meta
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import AllowedPeer, Listener, ListenerSettings
from dicomio.network.scu.association import Peer
from dicomio.network.scu.sender import echo
from tests.dicomio.support.requestor import (
    Requestor,
    data_primitive,
    encode_request,
    pynetdicom_association,
    raw_association,
)
from tests.dicomio.support.series import NODELAY, ct_image, data_set, until, write_series

PRIVATE = "1.2.276.0.7230010.3.1.0.9999"


Start = Callable[..., Listener]


@pytest.fixture
def settings(tmp_path: Path) -> ListenerSettings:
    return ListenerSettings(spool=tmp_path / "spool", host="127.0.0.1", port=0, processes=1)


def store_raw(opened: Requestor, context: int, sop_class: str, sop_instance: str, data: bytes) -> int:
    """C-STORE of any bytes; returns the status."""
    opened.dul.send_pdu(data_primitive(context, b"\x03" + encode_request(1, sop_class, sop_instance)))
    opened.dul.send_pdu(data_primitive(context, b"\x02" + data))
    _, answer = opened.dimse.get_msg(block=True)
    return int(answer.Status)


def records(spool: Spool, count: int = 1) -> list[dict[str, object]]:
    until(lambda: len(spool.associations()) >= count)
    return [json.loads(path.read_text()) for path in spool.associations()]


def test_echo(listener: Listener, needs: Callable[..., str]) -> None:
    program = needs("echoscu", package="dcmtk")
    subprocess.run([program, "-aec", "SCANWARD", "127.0.0.1", str(listener.port)], check=True)


def test_a_series_arrives_unchanged(
    listener: Listener, spool: Spool, needs: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = write_series(tmp_path / "ct", 20, size=64)
    program = needs("dcmsend", package="dcmtk")
    command = [program, "-aet", "CT1", "-aec", "SCANWARD", "127.0.0.1", str(listener.port), *map(str, sent)]
    subprocess.run(command, check=True, env=NODELAY)
    assert sorted(map(data_set, spool.incoming())) == sorted(map(data_set, sent))
    for path in spool.incoming():
        image = pydicom.dcmread(path)
        assert image.file_meta.SourceApplicationEntityTitle == "CT1"
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert image.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert path.name.startswith(f"{image.SOPInstanceUID}.")
        assert path.stat().st_mode & 0o777 == 0o600
    (record,) = records(spool)
    told = "association_id calling_ae called_ae peer_host opened_at closed_at how files refused lost"
    assert sorted(record) == sorted(told.split(" "))
    assert (record["calling_ae"], record["called_ae"], record["peer_host"]) == ("CT1", "SCANWARD", "127.0.0.1")
    assert (record["how"], record["refused"]) == ("released", 0)
    assert sorted(record["files"]) == sorted(path.name for path in spool.incoming())  # type: ignore[call-overload]
    assert all(f".{record['association_id']}-" in name for name in record["files"])  # type: ignore[attr-defined]
    output = capsys.readouterr()
    assert "Never" not in output.out + output.err


SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    "1.2.840.10008.1.2.1.99",  # deflated
    JPEG2000Lossless,
    RLELossless,
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.202",  # high-throughput JPEG 2000
    "1.2.840.10008.1.2.4.110",  # JPEG XL
    "1.2.840.10008.1.2.4.102",  # MPEG-4
    "1.2.840.113619.5.2",  # GE private
    PRIVATE,
]


def test_every_transfer_syntax_and_sop_class_is_taken_as_it_is(listener: Listener, spool: Spool) -> None:
    classes = [CTImageStorage, PRIVATE, "1.2.840.10008.5.1.4.1.1.99999", HangingProtocolStorage]
    classes += [CTDefinedProcedureProtocolStorage, "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.104.1"]
    pairs = [(CTImageStorage, syntax) for syntax in SYNTAXES] + [(one, JPEG2000Lossless) for one in classes]
    with raw_association(listener.port, *dict.fromkeys(pairs)) as opened:
        accepted = {(cx.abstract_syntax, cx.transfer_syntax[0]): cx.context_id for cx in opened.accepted_contexts}
        assert set(accepted) == set(pairs)
        for number, (sop_class, syntax) in enumerate(accepted):
            data = f"not even a data set {number}".encode() * 1000
            assert store_raw(opened, accepted[sop_class, syntax], sop_class, f"1.2.{number}", data) == 0
    stored = {(head.sop_class_uid, head.transfer_syntax_uid) for head in map(read_file_meta, spool.incoming())}
    assert stored == set(pairs)
    assert {data_set(path)[:19] for path in spool.incoming()} == {b"not even a data set"}


def test_of_several_transfer_syntaxes_the_first_is_taken(listener: Listener) -> None:
    scanner = pynetdicom_association(listener.port, (CTImageStorage, [JPEG2000Lossless, ExplicitVRLittleEndian]))
    assert scanner.accepted_contexts[0].transfer_syntax == [JPEG2000Lossless]
    scanner.release()


def test_what_is_no_storage_is_not_taken(listener: Listener) -> None:
    scanner = pynetdicom_association(
        listener.port,
        (ModalityWorklistInformationFind, [ImplicitVRLittleEndian]),
        (Verification, [ExplicitVRBigEndian]),
    )
    assert [context.abstract_syntax for context in scanner.accepted_contexts] == [Verification]
    assert scanner.send_c_echo().Status == 0
    scanner.release()


def test_the_same_instance_from_two_associations_at_once(listener: Listener, spool: Spool) -> None:
    first, second = pynetdicom_association(listener.port), pynetdicom_association(listener.port)
    assert [one.send_c_store(ct_image()).Status for one in (first, second, first)] == [0, 0, 0]
    first.release()
    second.release()
    assert len(spool.incoming()) == 3
    assert len(set(map(data_set, spool.incoming()))) == 1


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom, when the scanner reads the answer
@pytest.mark.parametrize("uid", ["../../../tmp/x", "/etc/passwd", "..", "1.2.3\x01", "a" * 64, "1.02.3"])
def test_hostile_uids_are_harmless(listener: Listener, spool: Spool, uid: str, settings: ListenerSettings) -> None:
    with raw_association(listener.port) as opened:
        assert store_raw(opened, 1, CTImageStorage, uid, b"x" * 100) == 0
    (path,) = spool.incoming()
    assert path.resolve().is_relative_to(settings.spool.resolve() / "incoming")
    assert data_set(path) == b"x" * 100


def test_a_message_in_small_pieces(listener: Listener, spool: Spool) -> None:
    """As from a peer that can only send tiny fragments, several of them in one PDU."""
    command, data = encode_request(1, CTImageStorage, "1.2.3"), bytes(range(256)) * 8
    with raw_association(listener.port) as opened:
        for flag, content in ((1, command), (0, data)):
            pieces = [content[at : at + 30] for at in range(0, len(content), 30)]
            values = [bytes([flag]) + piece for piece in pieces[:-1]] + [bytes([flag | 2]) + pieces[-1]]
            primitive = data_primitive(1, values[0])
            primitive.presentation_data_value_list.extend((1, value) for value in values[1:])
            opened.dul.send_pdu(primitive)
        _, answer = opened.dimse.get_msg(block=True)
    assert answer.Status == 0
    (path,) = spool.incoming()
    assert data_set(path) == data


@pytest.mark.parametrize(
    ("allow", "caller", "welcome"),
    [
        ((), "ANYBODY", True),
        ((AllowedPeer(ae_title="CT1"),), "CT1", True),
        ((AllowedPeer(ae_title="CT1"),), "CT2", False),
        ((AllowedPeer(ae_title="CT1", host="127.0.0.1"),), "CT1", True),
        ((AllowedPeer(ae_title="CT1", host="127.0.0.0/8"),), "CT1", True),
        ((AllowedPeer(ae_title="CT1", host="localhost"),), "CT1", True),
        ((AllowedPeer(ae_title="CT1", host="10.0.0.1"),), "CT1", False),
        ((AllowedPeer(ae_title="CT1", host="nowhere.invalid"),), "CT1", False),
        ((AllowedPeer(host="::1"), AllowedPeer(host="127.0.0.1")), "ANYBODY", True),
    ],
)
def test_who_may_call(settings: ListenerSettings, allow: tuple[AllowedPeer, ...], caller: str, welcome: bool) -> None:
    assert settings.allows("X", "127.0.0.1")
    restricted = ListenerSettings(spool=settings.spool, allow=allow)
    assert restricted.allows(caller, "127.0.0.1") == welcome
    assert ListenerSettings.from_json(restricted.to_json()) == restricted


def test_rejections_say_why(settings: ListenerSettings) -> None:
    restricted = ListenerSettings(
        spool=settings.spool,
        host="127.0.0.1",
        port=0,
        processes=2,
        allow=(AllowedPeer(ae_title="CT1"),),
        max_associations=1,
    )
    with Listener(restricted) as listener:
        us = Peer(ae_title="SCANWARD", host="127.0.0.1", port=listener.port, calling_ae="CT1")
        with pytest.raises(PeerRefused, match="calling AE title not recognised"):
            echo(replace(us, calling_ae="CT2"))
        with pytest.raises(PeerRefused, match="called AE title not recognised"):
            echo(replace(us, ae_title="OTHER"))
        until(lambda: listener.connection_counts == (0, 0))  # a rejected one counts until its thread has ended
        with raw_association(listener.port), pytest.raises(PeerUnreachable, match="local limit exceeded"):
            echo(us)
        until(lambda: listener.connection_counts == (0, 0))
        echo(us)


def test_another_called_title_may_be_allowed(settings: ListenerSettings) -> None:
    with Listener(ListenerSettings(spool=settings.spool, host="127.0.0.1", port=0, check_called_ae=False)) as listener:
        scanner = pynetdicom_association(listener.port, called="WHATEVER")
        assert scanner.is_established
        scanner.release()


def test_both_families_of_addresses(settings: ListenerSettings) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    allow = (AllowedPeer(host="127.0.0.1"), AllowedPeer(host="::1"))
    with Listener(ListenerSettings(spool=settings.spool, host="::", port=0, processes=1, allow=allow)) as listener:
        for host in ("127.0.0.1", "::1", "localhost"):
            echo(Peer(ae_title="SCANWARD", host=host, port=listener.port))
    assert [one["peer_host"] for one in records(Spool(settings.spool), 3)][:2] == ["127.0.0.1", "::1"]


def test_many_senders_at_once(settings: ListenerSettings, needs: Callable[..., str], tmp_path: Path) -> None:
    program = needs("storescu", package="dcmtk")
    folders = [tmp_path / f"ct{number}" for number in range(4)]
    sent = [path for folder in folders for path in write_series(folder, 25, series=folder.name)]
    with Listener(ListenerSettings(spool=settings.spool, host="127.0.0.1", port=0, processes=2)) as listener:
        command = [program, "-aec", "SCANWARD", "+sd", "127.0.0.1", str(listener.port)]
        senders = [subprocess.Popen([*command, str(folder)], env=NODELAY) for folder in folders]
        assert [sender.wait() for sender in senders] == [0] * 4
    assert sorted(map(data_set, Spool(settings.spool).incoming())) == sorted(map(data_set, sent))


def test_stopping_lets_running_associations_end(settings: ListenerSettings) -> None:
    listener = Listener(settings)
    listener.start()
    scanner = pynetdicom_association(listener.port)
    assert scanner.send_c_store(ct_image(1)).Status == 0
    stopping = threading.Thread(target=listener.stop)
    stopping.start()
    until(lambda: _refused(listener.port))
    assert scanner.send_c_store(ct_image(2)).Status == 0
    scanner.release()
    stopping.join(10)
    assert not stopping.is_alive()
    assert len(Spool(settings.spool).incoming()) == 2
    assert list(Spool(settings.spool).tmp.iterdir()) == []


def test_who_does_not_end_in_the_grace_period_is_aborted(settings: ListenerSettings) -> None:
    impatient = ListenerSettings(spool=settings.spool, host="127.0.0.1", port=0, processes=1, grace=0.2)
    with Listener(impatient) as listener:
        scanner = pynetdicom_association(listener.port)
        assert scanner.send_c_store(ct_image()).Status == 0
    until(lambda: scanner.is_aborted)
    (record,) = records(Spool(settings.spool))
    assert (record["how"], len(record["files"])) == ("aborted", 1)  # type: ignore[arg-type]


def _refused(port: int) -> bool:
    try:
        echo(Peer(ae_title="SCANWARD", host="127.0.0.1", port=port))
    except PeerUnreachable:
        return True
    return False
