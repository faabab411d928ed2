"""Which presentation contexts the listener accepts: every storage SOP class, in the first transfer syntax proposed."""

from __future__ import annotations

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import NonPatientObjectStorageServiceClass, ServiceClass, StorageServiceClass
from pynetdicom.sop_class import Verification, uid_to_service_class

STORAGE_ARC = "1.2.840.10008.5.1.4.1.1."


def acceptable_contexts(proposed: list[PresentationContext]) -> list[PresentationContext]:
    """What we support of what a peer proposes: storage and C-ECHO, each in the first transfer syntax that it names.

    The proposals are cut down to that first one, so that pynetdicom has nothing to choose from.
    """
    supported: dict[UID, PresentationContext] = {}
    for proposal in proposed:
        if proposal.abstract_syntax != Verification and not is_storage(proposal.abstract_syntax):
            continue
        proposal.transfer_syntax = proposal.transfer_syntax[:1]
        context = supported.setdefault(proposal.abstract_syntax, PresentationContext())
        context.abstract_syntax = proposal.abstract_syntax
        context.add_transfer_syntax(proposal.transfer_syntax[0])
    return list(supported.values())


def is_storage(sop_class: UID) -> bool:
    """Whether a SOP class is for storing, or private or too new to be known, which is taken for storing."""
    service = uid_to_service_class(sop_class)
    if service in (StorageServiceClass, NonPatientObjectStorageServiceClass):
        return True
    unknown = sop_class.name == str(sop_class)  # pydicom's dictionary knows the standard, also what was retired
    retired = sop_class.startswith(STORAGE_ARC) or " Storage" in sop_class.name
    return service is ServiceClass and (unknown or retired)
