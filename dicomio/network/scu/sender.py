"""Sending to a PACS: C-ECHO, C-STORE, and C-FIND to count.

    peer = Peer(ae_title="ORTHANC", host="pacs.hospital", port=4242, calling_ae="SCANWARD")
    echo(peer)
    for result in send(peer, paths):
        if not result.accepted: ...

PeerRefused means that a setting must be changed, PeerUnreachable that a later try may succeed. An association that is
lost while files are sent raises nothing: files that were accepted are accepted, the others come back as results without
a status.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind
from pynetdicom.sop_class import Verification

from dicomio.errors import DicomError
from dicomio.network.scu.association import GRACE_SECONDS, Peer, association
from dicomio.network.scu.connection_control import ConnectionControl
from dicomio.network.scu.outgoing_files import NotConvertible, OutgoingFile, StorageContext, batches
from dicomio.network.statuses import describe_status, is_accepted, is_warning

__all__ = ["EchoResult", "Peer", "SendResult", "count_instances", "echo", "send"]

MEDIUM = 0x0000
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
        status: Status that the peer answered (PS3.4, table B.2-1); None if it was not sent or not answered.
        error: Why it was not accepted; None when it was.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    error: str | None

    @property
    def accepted(self) -> bool:
        """Whether the peer has it now."""
        return self.status is not None and is_accepted(self.status)

    @property
    def warning(self) -> bool:
        """Whether the peer took it with a remark, such as coerced elements."""
        return self.status is not None and is_warning(self.status)


def echo(peer: Peer) -> EchoResult:
    """Ask a peer whether it is there.

    Raises:
        PeerRefused: It rejects us or does not serve C-ECHO.
        PeerUnreachable: It does not answer.
    """
    start = time.perf_counter()
    control = ConnectionControl()
    with (
        association(peer, [build_context(Verification)], control) as opened,
        control.within(peer.dimse_timeout + GRACE_SECONDS),
    ):
        answer = opened.send_c_echo()
    if "Status" not in answer:
        raise peer.unreachable("no answer to C-ECHO")
    if answer.Status != 0:
        raise peer.refused(f"C-ECHO failed with status 0x{answer.Status:04X}")
    return EchoResult(seconds=time.perf_counter() - start)


def send(
    peer: Peer,
    paths: Iterable[Path],
    on_result: Callable[[SendResult], object] = lambda result: None,
    control: ConnectionControl | None = None,
) -> list[SendResult]:
    """Send files, over one association if their kinds fit into one.

    Files are sent as they are, or uncompressed if the peer does not accept their transfer syntax and nothing is lost.

    Args:
        peer: Where to.
        paths: DICOM files (with file meta information).
        on_result: Called with each result as soon as it is known.
        control: Lets another thread stop it: after the instance that is being sent, or at once.

    Returns:
        One result per file; none for those that were not begun when it was told to finish.

    Raises:
        PeerRefused: There is no association, and there will be none until a setting is changed.
        PeerUnreachable: There is no association now. Results known before that went to `on_result`.
    """
    results: list[SendResult] = []

    def report(result: SendResult) -> None:
        results.append(result)
        on_result(result)

    control = control or ConnectionControl()
    for files, contexts in batches(_readable(paths, report)):
        if control.is_finishing():
            return results
        with association(peer, contexts, control) as opened:
            sending = _Sending(peer, opened, control)
            for number, file in enumerate(files):
                if control.is_finishing():
                    return results
                report(sending.send(file, number % 0xFFFF + 1))
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
    control = ConnectionControl()
    with (
        association(peer, [build_context(StudyRootFind)], control) as opened,
        control.within(peer.dimse_timeout + GRACE_SECONDS),
    ):
        for status, found in opened.send_c_find(query, StudyRootFind):
            if "Status" not in status:
                raise peer.unreachable("no answer to C-FIND")
            count = found.get("NumberOfStudyRelatedInstances") if found and status.Status in PENDING else None
            if count is not None:
                return int(count)
    return None


def _readable(paths: Iterable[Path], report: Callable[[SendResult], None]) -> Iterable[OutgoingFile]:
    """The files that can be sent; the others are reported."""
    for path in paths:
        try:
            yield OutgoingFile.of(path)
        except (DicomError, OSError, ValueError) as error:
            report(SendResult(path, "", None, f"not sent: {error}"))


def _kind(context: PresentationContext) -> StorageContext:
    return StorageContext(context.abstract_syntax, context.transfer_syntax[0])


class _Sending:
    """An association that files are stored over."""

    def __init__(self, peer: Peer, opened: Association, control: ConnectionControl) -> None:
        self._peer, self._opened, self._control = peer, opened, control
        self._accepted = {_kind(context) for context in opened.accepted_contexts}

    def send(self, file: OutgoingFile, message_id: int) -> SendResult:
        if not self._opened.is_established:
            return _not_sent(file, "not sent: the association was lost before")
        try:
            answer = self._store(file, message_id)
        except (NotConvertible, OSError, ValueError, AttributeError) as error:
            return _not_sent(file, f"not sent: {error}")
        except RuntimeError:  # the association ended between our look and the call
            return _not_sent(file, "not sent: the association was lost before")
        if "Status" not in answer:
            why = f": {self._control.cut}" if self._control.cut else ""
            return _not_sent(file, f"the association was lost while it was sent{why}")
        status = int(answer.Status)
        why_not = None if is_accepted(status) else describe_status(status, answer.get("ErrorComment") or "")
        return SendResult(file.path, file.sop_instance_uid, status, why_not)

    def _store(self, file: OutgoingFile, message_id: int) -> Dataset:
        payload = file.payload(self._accepted)
        timeout = self._peer.message_timeout(file.size)
        self._opened.dimse_timeout = timeout
        with self._control.within(timeout + GRACE_SECONDS), _FILES_AS_THEY_ARE:
            return self._opened.send_c_store(payload, message_id, priority=MEDIUM)


def _not_sent(file: OutgoingFile, why: str) -> SendResult:
    return SendResult(file.path, file.sop_instance_uid, None, why)


class _Chunked:
    """While any thread is in here, pynetdicom sends files as they are instead of decoding and encoding them again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = _config.STORE_SEND_CHUNKED_DATASET
                _config.STORE_SEND_CHUNKED_DATASET = True
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                _config.STORE_SEND_CHUNKED_DATASET = self._before


_FILES_AS_THEY_ARE = _Chunked()
