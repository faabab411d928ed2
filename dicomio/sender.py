"""Sending to a PACS: C-ECHO, C-STORE, and C-FIND to count.

    peer = Peer(ae_title="ORTHANC", host="pacs.hospital", port=4242, calling_ae="SCANWARD")
    echo(peer)
    for result in send(peer, paths):
        if not result.accepted: ...

Whether trying again makes sense is in the type of the error: PeerRefused needs somebody to change a setting,
PeerUnreachable may pass. An association that is lost on the way raises nothing: what was accepted until then is
accepted, and the rest comes back as results without a status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind
from pynetdicom.sop_class import Verification
from pynetdicom.status import code_to_category

from dicomio.calling import Peer, association
from dicomio.errors import DicomError
from dicomio.outgoing import Kind, NotConvertible, Outgoing, batches
from dicomio.store_messages import encode_request
from dicomio.upper_layer import UnthreadedAssociation, p_data

__all__ = ["EchoResult", "Peer", "SendResult", "count_instances", "echo", "send"]

LARGEST_FRAGMENT = 1 << 17  # bytes, also to peers that set no limit
WARNINGS = frozenset({0x0001, 0x0107, 0x0116})  # general warnings (PS3.7, C.4); those of storage are 0xBnnn
PENDING = frozenset({0xFF00, 0xFF01})


@dataclass(frozen=True)
class EchoResult:
    """A peer answered C-ECHO.

    Attributes:
        seconds: From connecting to the answer.
    """

    seconds: float


@dataclass(frozen=True)
class SendResult:
    """What became of one file.

    Attributes:
        path: The file.
        sop_instance_uid: Which instance it holds; '' when it could not be read.
        status: Status that the peer answered (PS3.4, table B.2-1); None when it did not get to that.
        error: Why it was not accepted; None when it was.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    error: str | None

    @property
    def accepted(self) -> bool:
        """Whether the peer has it now."""
        return self.status == 0 or self.warning

    @property
    def warning(self) -> bool:
        """Whether the peer took it with a remark, such as coerced elements."""
        return self.status is not None and (self.status in WARNINGS or self.status >> 12 == 0xB)


def echo(peer: Peer) -> EchoResult:
    """Ask a peer whether it is there.

    Raises:
        PeerRefused: It rejects us or does not serve C-ECHO.
        PeerUnreachable: It does not answer.
    """
    start = time.perf_counter()
    with association(peer, [build_context(Verification)]) as opened:
        answer = opened.send_c_echo()
    if "Status" not in answer:
        raise peer.unreachable("no answer to C-ECHO")
    if answer.Status != 0:
        raise peer.refused(f"C-ECHO failed with status 0x{answer.Status:04X}")
    return EchoResult(seconds=time.perf_counter() - start)


def send(
    peer: Peer, paths: Iterable[Path], on_result: Callable[[SendResult], object] = lambda result: None
) -> list[SendResult]:
    """Send files, over one association if their kinds fit into one.

    A file goes out as it is; if the peer does not accept its transfer syntax, uncompressed, if that loses nothing.

    Args:
        peer: Where to.
        paths: DICOM files (with file meta information).
        on_result: Called with each result as soon as it is known.

    Returns:
        One result per file.

    Raises:
        PeerRefused: There is no association, and will be none until somebody changes a setting.
        PeerUnreachable: There is no association now. Results known before that went to `on_result`.
    """
    results: list[SendResult] = []

    def report(result: SendResult) -> None:
        results.append(result)
        on_result(result)

    for files, contexts in batches(_readable(paths, report)):
        with association(peer, contexts) as opened:
            accepted = {_kind(context): context.context_id for context in opened.accepted_contexts}
            for number, file in enumerate(files):
                report(_send_one(opened, accepted, file, number % 0xFFFF + 1))
    return results


def count_instances(peer: Peer, study_uid: str) -> int | None:
    """How many instances of a study a peer has, by C-FIND; None when it does not say.

    Raises:
        PeerRefused: It rejects us or does not serve C-FIND.
        PeerUnreachable: It does not answer.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_uid
    query.NumberOfStudyRelatedInstances = None
    with association(peer, [build_context(StudyRootFind)]) as opened:
        for status, found in opened.send_c_find(query, StudyRootFind):
            if "Status" not in status:
                raise peer.unreachable("no answer to C-FIND")
            count = found.get("NumberOfStudyRelatedInstances") if found and status.Status in PENDING else None
            if count is not None:
                return int(count)
    return None


def _readable(paths: Iterable[Path], report: Callable[[SendResult], None]) -> Iterable[Outgoing]:
    """The files that can be sent; the others are reported."""
    for path in paths:
        try:
            yield Outgoing.of(path)
        except (DicomError, OSError, ValueError) as error:
            report(SendResult(path, "", None, f"not sent: {error}"))


def _kind(context: PresentationContext) -> Kind:
    return Kind(context.abstract_syntax, context.transfer_syntax[0])


def _send_one(opened: UnthreadedAssociation, accepted: dict[Kind, int], file: Outgoing, message_id: int) -> SendResult:
    if not opened.is_established:
        return SendResult(file.path, file.sop_instance_uid, None, "not sent: the association was lost before")
    try:
        context_id, stream = file.open(accepted)
    except (NotConvertible, OSError) as error:
        return SendResult(file.path, file.sop_instance_uid, None, f"not sent: {error}")
    with stream:
        answer = _store(opened, context_id, file, stream, message_id)
    if answer is None:
        opened.abort()
        return SendResult(file.path, file.sop_instance_uid, None, "the association was lost while it was sent")
    status = int(answer.Status)
    result = SendResult(file.path, file.sop_instance_uid, status, None)
    if result.accepted:
        return result
    said = f"{code_to_category(status)} 0x{status:04X} {answer.ErrorComment or ''}".strip()
    return SendResult(file.path, file.sop_instance_uid, status, said)


def _store(
    opened: UnthreadedAssociation, context_id: int, file: Outgoing, stream: BinaryIO, message_id: int
) -> C_STORE | None:
    """One C-STORE; None when the association did not live to see the answer."""
    command = encode_request(message_id, file.kind.sop_class_uid, file.sop_instance_uid)
    opened.dul.send_pdu(p_data(context_id, b"\x03" + command))
    largest = min(opened.acceptor.maximum_length or LARGEST_FRAGMENT, LARGEST_FRAGMENT) - 6
    fragment = stream.read(largest)
    while fragment and opened.dul.is_alive():
        following = stream.read(largest)
        opened.dul.send_pdu(p_data(context_id, (b"\x00" if following else b"\x02") + fragment))
        fragment = following
    _, answer = opened.dimse.get_msg(block=True)
    return answer if isinstance(answer, C_STORE) and answer.MessageIDBeingRespondedTo == message_id else None
