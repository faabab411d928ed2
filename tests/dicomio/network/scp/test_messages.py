"""C-STORE commands are encoded and read as pynetdicom does it."""

from __future__ import annotations

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_ECHO_RQ, C_ECHO_RSP, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.sop_class import Verification

from dicomio.network.scp.messages import StoreRequest, decode_request, encode_answer, encode_response, parse_command


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
