"""What dicomio/network/scp/upper_layer.py relies on inside pynetdicom, and the messages that bypass pydicom."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from pynetdicom import _config, acse, ae, association, dimse, dul, fsm, pdu, transport
from pynetdicom.dimse_messages import C_ECHO_RQ, C_ECHO_RSP, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.sop_class import Verification

from dicomio.files.file_meta import IMPLEMENTATION_CLASS_UID
from dicomio.network.scp.messages import StoreRequest, decode_request, encode_answer, encode_response, parse_command

# Replaced, copied in part, or relied upon. When a new pynetdicom changes one, this test fails: read the change, adapt
# what overrides it in dicomio/network/scp to it if need be, then put the new digest here.
INTERNALS: dict[Callable[..., Any], str] = {
    acse.ACSE._negotiate_as_acceptor: "9ed7d8e15c67",
    acse.ACSE._negotiate_as_requestor: "31bff58272ee",
    acse.ACSE.is_aborted: "ea4cefe538bc",
    acse.ACSE.is_release_requested: "93b38845ed0a",
    acse.ACSE.negotiate_release: "547b371b0bd2",
    acse.ACSE.send_reject: "41de1b0386d5",
    ae.ApplicationEntity._create_socket: "e669a2f9c124",
    ae.ApplicationEntity.associate: "e396009976a0",
    association.Association.__init__: "4d8a6c9b54b8",
    association.Association._abort_blocking: "970b0bb98cfe",
    association.Association._bind_defaults: "d4d32c4eaa50",
    association.Association._handle_no_response: "b08be2064a4a",
    association.Association._run_reactor: "5182908b76c6",
    association.Association._serve_request: "7a80d7cf79bc",
    association.Association.kill: "4bc81db45219",
    association.Association.release: "3a01622aca95",
    association.Association.request: "bdc9037f6481",
    association.Association.run_reactor: "08b2313f3ccf",
    association.Association.send_c_store: "b30080a88db3",
    dimse.DIMSEServiceProvider.get_msg: "9455e76f23df",
    dul.DULServiceProvider.__init__: "bcb960d0ad43",
    dul.DULServiceProvider._is_transport_event: "e406b7ab1ac5",
    dul.DULServiceProvider._process_recv_primitive: "9d293f926d37",
    dul.DULServiceProvider._read_pdu_data: "5065f4c87c1b",
    dul.DULServiceProvider._send: "1223c7129d45",
    dul.DULServiceProvider.kill_dul: "9c253b4c924f",
    dul.DULServiceProvider.receive_pdu: "2ceae6aa45c4",
    dul.DULServiceProvider.run_reactor: "68b4605d21f4",
    dul.DULServiceProvider.send_pdu: "3077d519b0b8",
    dul.DULServiceProvider.stop_dul: "2a7bb4456e96",
    fsm.AA_1: "70ebf86f3342",
    fsm.AA_2: "1ba7801b5b64",
    fsm.AA_3: "40652b701a3e",
    fsm.AA_4: "dc613322637b",
    fsm.AA_8: "b1167541a592",
    fsm.AE_1: "5eabcfe41362",
    fsm.AE_2: "989be2a47f5b",
    fsm.AE_6: "ecfef95452cf",
    fsm.AR_2: "e98e31ed863e",
    fsm.AR_4: "2ceb31147b15",
    fsm.AR_5: "9b4bfbbf43af",
    fsm.StateMachine.do_action: "cf6ff24d1bd9",
    pdu.A_ASSOCIATE_AC.from_primitive: "fe5d65d2cda5",
    pdu.A_ASSOCIATE_RQ.to_primitive: "66c491056e1f",
    transport.AssociationSocket.__init__: "abfe9421e1bc",
    transport.AssociationSocket.close: "e3c23283f32f",
    transport.AssociationSocket.connect: "ae0268c65b64",
    transport.AssociationSocket.recv: "8e093e811a01",
    transport.AssociationSocket.send: "a558cd194264",
    transport.RequestHandler._create_association: "db889d394c26",
}


def digest(function: Callable[..., Any]) -> str:
    """Of the source, without its indentation and its docstring."""
    source = inspect.cleandoc(inspect.getsource(function)).replace(f'"""{function.__doc__}"""', "")
    return hashlib.sha256(source.encode()).hexdigest()[:12]


@pytest.mark.parametrize(("function", "expected"), INTERNALS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_pynetdicom_works_inside_as_we_know_it(function: Callable[..., Any], expected: str) -> None:
    assert digest(function) == expected, f"pynetdicom's {function.__qualname__} has changed: see INTERNALS"


def request() -> C_STORE:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 7, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    primitive.DataSet = BytesIO(b"data")
    return primitive


def test_requests_are_read_as_pynetdicom_writes_them() -> None:
    message = C_STORE_RQ()
    message.primitive_to_message(request())
    (_, command), *_ = next(message.encode_msg(1, 16384)).presentation_data_value_list
    read = decode_request(3, parse_command(command[1:]))
    assert read == StoreRequest(3, 7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4")


@pytest.mark.parametrize("comment", [None, "out of disk space", "odd"])
def test_responses_are_what_pynetdicom_writes(comment: str | None) -> None:
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status, answer.ErrorComment = 7, 0xA700, comment
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    ((_, command),) = next(message.encode_msg(1, 16384)).presentation_data_value_list
    asked = StoreRequest(1, 7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4")
    assert encode_response(asked, 0xA700, comment or "") == command[1:]


def test_answers_to_other_commands_are_what_pynetdicom_writes() -> None:
    asked, answer = C_ECHO(), C_ECHO()
    asked.MessageID, asked.AffectedSOPClassUID = 7, Verification
    answer.MessageIDBeingRespondedTo, answer.Status, answer.AffectedSOPClassUID = 7, 0, Verification
    request, response = C_ECHO_RQ(), C_ECHO_RSP()
    request.primitive_to_message(asked)
    response.primitive_to_message(answer)
    ((_, read),) = next(request.encode_msg(1, 16384)).presentation_data_value_list
    ((_, written),) = next(response.encode_msg(1, 16384)).presentation_data_value_list
    assert encode_answer(parse_command(read[1:]), 0) == written[1:]


def test_other_commands_are_left_to_pynetdicom() -> None:
    echo = bytes.fromhex("0000000104000000") + b"\x30\x00\x00\x00"
    assert decode_request(1, parse_command(echo)) is None


@pytest.mark.parametrize("data", [b"\x00", b"\x00" * 7, b"\x00\x00\x00\x01\x05\x00\x00\x00\x01"])
def test_command_sets_that_do_not_add_up(data: bytes) -> None:
    with pytest.raises(ValueError, match="command"):
        parse_command(data)


def test_the_process_is_left_as_it_was() -> None:
    """Only listener processes change pynetdicom's switches: the sender works in the daemon, beside other users."""
    import dicomio.network.scu.sender

    assert dicomio.network.scu.sender.send
    assert _config.CODECS == ("ascii",)
    assert not _config.UNRESTRICTED_STORAGE_SERVICE
    assert not _config.STORE_SEND_CHUNKED_DATASET


def test_our_uid_is_one() -> None:
    assert IMPLEMENTATION_CLASS_UID.startswith("2.25.")
    assert len(IMPLEMENTATION_CLASS_UID) <= 64
