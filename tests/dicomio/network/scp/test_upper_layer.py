"""What dicomio/network/scp/upper_layer.py relies on inside pynetdicom, and the messages that bypass pydicom."""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from pynetdicom import _config, acse, ae, association, dul, fsm, pdu, transport

from dicomio.files.file_meta import IMPLEMENTATION_CLASS_UID

# Replaced, copied in part, or relied upon. When a new pynetdicom changes one, this test fails: read the change, adapt
# what overrides it in dicomio/network/scp to it if need be, then put the new digest here.
INTERNALS: dict[Callable[..., Any], str] = {
    acse.ACSE._negotiate_as_acceptor: "acda0f70a201",
    acse.ACSE._negotiate_as_requestor: "f0118ac80cd2",
    acse.ACSE.is_aborted: "f580a1f955f2",
    acse.ACSE.is_release_requested: "b3f0b139c695",
    acse.ACSE.send_reject: "53c99806d26e",
    ae.ApplicationEntity._create_socket: "0c0ccdab7058",
    ae.ApplicationEntity.associate: "bb9bc279d70f",
    association.Association.__init__: "31da48213cba",
    association.Association._abort_blocking: "3a00262dd3cb",
    association.Association._bind_defaults: "e85cf6229236",
    association.Association._run_reactor: "923d0625edfb",
    association.Association._serve_request: "4c7e060166a1",
    association.Association.kill: "db2a441714d9",
    association.Association.run_reactor: "dd6a6e925ce8",
    association.Association.send_c_store: "d076e671fa48",
    dul.DULServiceProvider.__init__: "589f3beeece2",
    dul.DULServiceProvider._is_transport_event: "ca38be7c744e",
    dul.DULServiceProvider._process_recv_primitive: "b2913aacd2dd",
    dul.DULServiceProvider._read_pdu_data: "b464daf039f8",
    dul.DULServiceProvider._send: "251bfb4142a5",
    dul.DULServiceProvider.kill_dul: "24b3f412a3a5",
    dul.DULServiceProvider.receive_pdu: "91ed9b30bf70",
    dul.DULServiceProvider.run_reactor: "7afc57a60113",
    dul.DULServiceProvider.send_pdu: "64f27efea8ad",
    dul.DULServiceProvider.stop_dul: "06616eca8a19",
    fsm.AA_1: "f3b9b4b83a20",
    fsm.AA_2: "8855045e8bc7",
    fsm.AA_3: "144ea4bd582b",
    fsm.AA_4: "ba6ea01b00cf",
    fsm.AA_8: "34dbd77ea024",
    fsm.AE_1: "4ddc71317ff4",
    fsm.AE_6: "b57d99785c2a",
    fsm.AR_2: "3518712b3bec",
    fsm.AR_4: "08992fdde614",
    fsm.AR_5: "07d640b826c2",
    fsm.StateMachine.do_action: "25e4287fea98",
    pdu.A_ASSOCIATE_AC.from_primitive: "63ae3acaa81f",
    pdu.A_ASSOCIATE_RQ.to_primitive: "166a042a2aec",
    transport.AssociationSocket.__init__: "b41f4a41a8b5",
    transport.AssociationSocket.close: "30279eeefaa8",
    transport.AssociationSocket.connect: "9ef01c1e30de",
    transport.AssociationSocket.recv: "cad35d2f2206",
    transport.AssociationSocket.send: "e0e88e4b89b7",
    transport.RequestHandler._create_association: "0c0f35b80113",
}


def digest(source: str) -> str:
    """Of what the source means: without comments, docstrings and layout.

    The syntax tree is written out again as source, because its dump differs between versions of Python.
    """
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]


@pytest.mark.parametrize(("function", "expected"), INTERNALS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_pynetdicom_works_inside_as_we_know_it(function: Callable[..., Any], expected: str) -> None:
    assert digest(inspect.getsource(function)) == expected, (
        f"pynetdicom's {function.__qualname__} has changed: see INTERNALS"
    )


def test_layout_and_comments_change_no_digest() -> None:
    assert digest('def f(a):\n    """Says."""\n    return a+1\n') == digest(
        "    def f( a ):  # why\n        return (a + 1)\n"
    )
    assert digest("def f(a):\n    return a + 1\n") != digest("def f(a):\n    return a + 2\n")


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
