"""A batch of images becomes rows, in one transaction and few statements."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.chunks import chunks
from db.moves import move, note
from db.records import Indexed, IndexedInstance, IndexOutcome
from db.records.mapping import values
from db.states import StudyState
from db.stores.studies.corrections import recognise
from db.stores.studies.creation import series_of, studies_of
from db.tables import Instance, Series, Study
from db.tags import bounded, bounded_number, storable

Contents = dict[str, Path]  # digest of a content to where it lies
ImageKey = tuple[int, str]  # series.id, SOP Instance UID
Verdicts = dict[tuple[str, str], bool]  # digests of two contents to whether they are one image, encoded in two ways


@dataclass
class Undecided(Exception):  # noqa: N818 - nothing is wrong
    """Somebody has to look into files: `pairs` are digest and path of a file that is known, and of one that came."""

    pairs: list[tuple[tuple[str, Path], tuple[str, Path]]]


def index(session: Session, batch: Sequence[IndexedInstance], verdicts: Verdicts) -> list[IndexOutcome]:
    """Writes the rows of a batch and brings series, studies and their states up to date; one outcome per image.

    Raises:
        Undecided: Files with the same UIDs and other bytes have not been compared; nothing may be written before.
    """
    batch = [_cleaned(item) for item in batch]
    studies = studies_of(session, batch)
    series = series_of(session, batch, studies)
    known = _known(session, batch)
    of = [series[studies[item.study_instance_uid].id, item.series_instance_uid] for item in batch]
    keys = [(one.id, item.sop_instance_uid) for one, item in zip(of, batch, strict=True)]
    _check_decided(verdicts, known, zip(keys, batch, strict=True))
    outcomes = [_sort_out(known[key], item, verdicts) for key, item in zip(keys, batch, strict=True)]
    rows = []
    arrivals: dict[str, _Arrivals] = defaultdict(_Arrivals)
    for item, outcome, of_series in zip(batch, outcomes, of, strict=True):
        arrivals[item.study_instance_uid].add(item, outcome)
        if outcome.kind is not Indexed.DUPLICATE:
            rows.append(_row(item, of_series, outcome.kind))
            of_series.images += outcome.kind is Indexed.NEW
            if outcome.kind is Indexed.NEW and place_in_series(item.tags) < place_in_series(of_series.tags):
                of_series.tags = dict(item.tags)
    if rows:
        session.execute(insert(Instance), rows)
    for uid, arrived in arrivals.items():
        _update(session, studies[uid], arrived)
        recognise(session, studies[uid], arrived.new, arrived.conflicts, arrived.last)
    return outcomes


_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass
class _Arrivals:
    """What one batch brought for one study."""

    images: int = 0
    new: list[IndexedInstance] = field(default_factory=list)
    conflicts: list[IndexedInstance] = field(default_factory=list)
    last: dt.datetime = _LONG_AGO

    def add(self, item: IndexedInstance, outcome: IndexOutcome) -> None:
        self.last = max(self.last, item.received_at)
        match outcome.kind:
            case Indexed.NEW:
                self.images += 1
                self.new.append(item)
            case Indexed.CONFLICT:
                self.conflicts.append(item)
            case Indexed.DUPLICATE | Indexed.SAME:
                pass


def place_in_series(tags: Mapping[str, Any]) -> tuple[float, str]:
    """By which images are ordered. A series has the tags of its first image, in whatever order they arrive."""
    number = tags.get("InstanceNumber")
    return number if isinstance(number, int | float) else 0.0, str(tags.get("SOPInstanceUID", ""))


_TEXTS = {
    "sop_class_uid": "UI",
    "transfer_syntax_uid": "UI",
    "modality": "CS",
    "patient_id": "LO",
    "accession_number": "SH",
    "study_date": "DA",
    "source_ae": "AE",
}
_NUMBERS = ("rows", "columns")


def _cleaned(item: IndexedInstance) -> IndexedInstance:
    """The image with nothing in it that a column or an index would not take."""
    texts: dict[str, Any] = {name: bounded(getattr(item, name), vr) for name, vr in _TEXTS.items()}
    numbers: dict[str, Any] = {name: bounded_number(getattr(item, name)) for name in _NUMBERS}
    numbers["frames"] = bounded_number(item.frames) or 1
    return replace(item, **texts, **numbers, tags=storable(item.tags), instance_tags=storable(item.instance_tags))


def _known(session: Session, batch: Sequence[IndexedInstance]) -> dict[ImageKey, Contents]:
    """What is there already of the images of the batch, the first content first."""
    known: dict[ImageKey, Contents] = defaultdict(dict)
    for chunk in chunks({item.sop_instance_uid for item in batch}):
        query = select(Instance.series_id, Instance.sop_instance_uid, Instance.content_digest, Instance.path)
        query = query.where(Instance.sop_instance_uid.in_(chunk)).order_by(Instance.id)
        for series_id, uid, digest, path in session.execute(query):
            known[series_id, uid][digest] = path
    return known


def _check_decided(
    verdicts: Verdicts, known: Mapping[ImageKey, Contents], batch: Iterable[tuple[ImageKey, IndexedInstance]]
) -> None:
    """Raises Undecided for what has the same UIDs and other bytes, and has not been compared yet."""
    pairs = []
    seen: dict[ImageKey, Contents] = {}
    for key, item in batch:
        contents = seen.setdefault(key, dict(known[key]))
        if item.content_digest not in contents:
            given = (item.content_digest, item.path)
            pairs += [(pair, given) for pair in contents.items() if (pair[0], given[0]) not in verdicts]
            contents[item.content_digest] = item.path
    if pairs:
        raise Undecided(pairs)


def _sort_out(contents: Contents, item: IndexedInstance, verdicts: Verdicts) -> IndexOutcome:
    """New, duplicate, same or conflict; what is not a duplicate joins the contents that are known."""
    kind = Indexed.CONFLICT if contents else Indexed.NEW
    if item.content_digest in contents:
        kind = Indexed.DUPLICATE
    elif any(verdicts.get((digest, item.content_digest)) for digest in contents):
        kind = Indexed.SAME
    path = contents.setdefault(item.content_digest, item.path)
    return IndexOutcome(kind=kind, sop_instance_uid=item.sop_instance_uid, given=item.path, path=path)


def _row(item: IndexedInstance, series: Series, kind: Indexed) -> dict[str, Any]:
    state = {"current": kind is Indexed.NEW, "conflict": kind is Indexed.CONFLICT}
    return values(Instance, item, series_id=series.id, **state)


def _update(session: Session, study: Study, arrived: _Arrivals) -> None:
    """Counts what came; images that come when a study was thought complete lead it back to receiving.

    Repeated images change no state (a study that is sent twice makes no second job), but they do show that the sender
    is still at it: a study that is being received goes on waiting.
    """
    at = max(arrived.last, study.last_received_at)
    study.last_received_at = at
    study.images += arrived.images
    if arrived.images and study.state is StudyState.RECEIVING:
        study.updated_at = at
    elif arrived.images:
        session.flush()
        move(session, study, StudyState.RECEIVING, because="late images", at=at, images=arrived.images)
    if arrived.conflicts:
        uids = [item.sop_instance_uid for item in arrived.conflicts]
        told = {"images": len(uids), "sop_instance_uids": uids[:10]}
        note(session, study, "conflict", because="same UID, different content; both are kept", at=at, **told)
