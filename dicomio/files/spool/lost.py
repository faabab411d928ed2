"""Notes on images that were received, or were being received, and cannot be used: their study is incomplete."""

from __future__ import annotations

from typing import Any

from dicomio.files.identity import Identity

QUARANTINED, CUT_OFF, NOT_FINISHED, REFUSED = "quarantined", "cut off", "not finished", "refused"
"""How an image got lost; beside them there are those that conflict with another, which only the index knows."""


def note(
    kind: str, reason: str, identity: Identity, at: str, *, file: str = "", association: str = ""
) -> dict[str, Any]:
    """What the spool keeps of a loss until it is in the database.

    Args:
        kind: One of the above.
        reason: What is wrong with it, as the end of a sentence: "is cut off: ...".
        identity: As far as it is known.
        at: When it was noticed, in ISO 8601.
        file: Its name in quarantine/.
        association: Identifier of the association that brought it.
    """
    return {
        "kind": kind,
        "reason": reason,
        "study": identity.study_uid,
        "series": identity.series_uid,
        "sop": identity.sop_uid,
        "number": identity.number,
        "position": identity.position,
        "source_ae": identity.source_ae,
        "file": file,
        "association": association,
        "time": at,
    }
