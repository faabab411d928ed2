"""Asks a PACS which SOP classes it accepts, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from dicomio.network.scu.association import Peer, association
from dicomio.network.scu.outgoing_files import PLAIN


def unsupported_sop_classes(peer: Peer, sop_class_uids: Iterable[str]) -> tuple[str, ...]:
    """The SOP classes of these that a peer accepts no presentation context for; C-ECHO is proposed beside them.

    Raises:
        PeerRefused: There is no association, or it accepts nothing at all.
        PeerUnreachable: It does not answer.
    """
    wanted = tuple(sop_class_uids)
    contexts = [build_context(Verification), *(build_context(uid, list(PLAIN)) for uid in wanted)]
    with association(peer, contexts) as opened:
        accepted = {context.abstract_syntax for context in opened.accepted_contexts}
    return tuple(uid for uid in wanted if UID(uid) not in accepted)
