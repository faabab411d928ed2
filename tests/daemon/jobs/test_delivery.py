from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.config import Destination
from daemon.jobs.delivery import DestinationSender, pause_after, waited
from db.errors import DatabaseUnavailable
from db.records import DeliveryBatch, DueDelivery
from dicomio.network.scu.sender import Peer, SendResult

ITEMS = tuple(
    DueDelivery(id=k, path=Path(f"/out/{k}.dcm"), sop_class_uid="1.2", sop_instance_uid=f"1.2.{k}", attempts=0)
    for k in (1, 2)
)


class Deliveries:
    """One batch, and what is written down of it; away while `away` is set."""

    def __init__(self) -> None:
        self._due = [DeliveryBatch("pacs", 7, "1.2", items=ITEMS)]
        self.written: dict[int, str] = {}
        self.away = False
        self.unwritable: set[int] = set()
        self.remarks: dict[int, str] = {}

    def due(self, *_: Any, **__: Any) -> list[DeliveryBatch]:
        due, self._due = self._due, []
        return due

    def start(self, ids: list[int], worker: str) -> tuple[int, ...]:
        return tuple(ids)

    def accept(self, delivery_id: int, status: int, remark: str) -> None:
        if status in self.unwritable:
            raise ValueError("a value that no column takes")
        self._write(delivery_id, "accepted")
        self.remarks[delivery_id] = remark

    def release(self, delivery_id: int, why: str) -> None:
        self._write(delivery_id, f"released: {why}")

    def retry(self, delivery_id: int, error: str, *_: Any, code: str = "") -> None:
        self._write(delivery_id, f"retry: {error}")

    def fail(self, delivery_id: int, error: str, status: int | None = None, code: str = "") -> None:
        self._write(delivery_id, f"failed: {error}")

    def _write(self, delivery_id: int, what: str) -> None:
        if self.away:
            raise DatabaseUnavailable(url="postgresql://", reason="away")
        self.written[delivery_id] = what


@pytest.fixture
def deliveries() -> Deliveries:
    return Deliveries()


@pytest.fixture
def sender(deliveries: Deliveries) -> DestinationSender:
    destination = Destination(ae_title="PACS", host="127.0.0.1", port=104)
    return DestinationSender("pacs", destination, Peer(ae_title="PACS", host="127.0.0.1", port=104), deliveries)  # type: ignore[arg-type]


def answers(monkeypatch: pytest.MonkeyPatch, *statuses: int, then: Exception | None = None) -> None:
    def send(_peer: Peer, paths: list[Path], on_result: Any, control: Any) -> None:
        for path, status in zip(paths, statuses, strict=False):
            on_result(SendResult(path, "1.2", status, None))
        if then is not None:
            raise then

    monkeypatch.setattr("daemon.jobs.delivery.send", send)


def test_what_was_accepted_while_the_database_was_away_is_written_down_before_anything_else_is_sent(
    deliveries: Deliveries, sender: DestinationSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, 0, 0xB000)
    deliveries.away = True
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            sender.step()
    deliveries.away = False
    sender.step()
    assert deliveries.written == {1: "accepted", 2: "accepted"}


def test_whatever_breaks_the_sending_nothing_is_left_half_sent(
    deliveries: Deliveries, sender: DestinationSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, 0, then=FileNotFoundError(2, "No such file", "hospital-ca.pem"))
    sender.step()
    assert deliveries.written[1] == "accepted"
    assert deliveries.written[2].startswith("retry: FileNotFoundError")


@pytest.mark.parametrize(
    ("status", "expected"), [(0xA700, "retry"), (0x0110, "retry"), (0x0122, "failed"), (0xC000, "failed")]
)
def test_a_refusal_that_may_pass_is_tried_again(
    deliveries: Deliveries, sender: DestinationSender, monkeypatch: pytest.MonkeyPatch, status: int, expected: str
) -> None:
    answers(monkeypatch, status, 0)
    sender.step()
    assert deliveries.written[1].startswith(expected)
    assert deliveries.written[2] == "accepted"


def test_an_answer_that_cannot_be_written_down_holds_up_no_other(
    deliveries: Deliveries, sender: DestinationSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, 0xB000, 0)
    deliveries.unwritable = {0xB000}
    sender.step()
    assert deliveries.written == {1: "failed: what it answered cannot be written down (ValueError)", 2: "accepted"}
    sender.step()


def test_what_the_destination_has_already_is_accepted_and_said(
    deliveries: Deliveries, sender: DestinationSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, 0x0111, 0)
    sender.step()
    assert deliveries.written == {1: "accepted", 2: "accepted"}
    assert deliveries.remarks == {1: "Note 0x0111: it has this instance already", 2: ""}


def test_what_a_stop_kept_from_being_sent_is_given_back(
    deliveries: Deliveries, sender: DestinationSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, 0)
    sender.finish()
    sender.step()
    assert deliveries.written == {1: "accepted", 2: "released: the daemon was stopped"}


def test_pauses_grow_to_a_quarter_of_an_hour() -> None:
    assert [pause_after(tries).total_seconds() for tries in (0, 1, 2, 20)] == [5, 10, 20, 900]
    assert waited(3) == timedelta(seconds=35)
