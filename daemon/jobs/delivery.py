"""From the outbox to the PACS: one thread per destination, retried with backoff until everything is accepted.

The database says what is due; what a destination accepted is written down instance by instance, as its answer comes, so
that neither a retry nor a restart sends it a second time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from daemon.identity import WORKER
from db.errors import BadRequest, DatabaseUnavailable
from db.reasons import NO_ANSWER, code_of
from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.network.scu.connection_control import ConnectionControl
from dicomio.network.scu.sender import Peer, SendResult, send
from dicomio.network.statuses import RETRYABLE, describe_status
from dicomio.network.tls import TLSFiles

if TYPE_CHECKING:
    from daemon.config import Config, Destination, Tls
    from db.records import DeliveryBatch, DueDelivery
    from db.stores.deliveries.store import DeliveryStore

log = structlog.get_logger(__name__)

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 900.0
"""Seconds between tries: 5, 10, 20, ... up to a quarter of an hour, each spread by half, so that no two hit in step."""

NOT_WRITABLE = "what it answered cannot be written down"


class DestinationSender:
    """Sends what is due to one destination.

    Args:
        name: The destination's name in the configuration.
        destination: Its address and settings.
        peer: The same for the sender.
        deliveries: Where the rows are.
    """

    def __init__(self, name: str, destination: Destination, peer: Peer, deliveries: DeliveryStore) -> None:
        self.name = name
        self._destination = destination
        self._peer = peer
        self._deliveries = deliveries
        self._control = ConnectionControl()
        # What was answered, until the database has it: each with the delivery that it is about.
        self._unwritten: deque[tuple[DueDelivery, Callable[[], None]]] = deque()

    def step(self) -> bool:
        """Sends what is due; True when there may be more. First of all, what was answered before is written down."""
        self._write_down()
        batches = self._deliveries.due(datetime.now(UTC), limit=200, destination=self.name)
        for batch in batches:
            self._send(batch)
        return bool(batches)

    def _send(self, batch: DeliveryBatch) -> None:
        started = set(self._deliveries.start([item.id for item in batch.items], WORKER))
        items = {item.path: item for item in batch.items if item.id in started}
        if not items:
            return
        left = dict(items)

        def settle(result: SendResult) -> None:
            item = left.pop(result.path, None)
            if item is not None:
                self._note(item, partial(self._settle, item, result))

        reason, code = "the association ended before it was sent", NO_ANSWER
        try:
            send(self._peer, list(items), on_result=settle, control=self._control)
        except (PeerRefused, PeerUnreachable) as error:
            reason, code = str(error), code_of(error)
            log.warning("delivery_failed", destination=self.name, job_id=batch.job_id, reason=reason, left=len(left))
        except (
            Exception
        ) as error:  # a certificate that cannot be read, or our own fault; without this it hangs for ever
            reason, code = f"{type(error).__name__}: {error}", code_of(error)
            log.exception("delivery_error", destination=self.name, job_id=batch.job_id, left=len(left))
        for item in left.values():
            self._note(item, partial(self._retry, item, reason, code=code))
        self._write_down()
        sent = len(items) - len(left)
        if sent:
            log.info("delivered", destination=self.name, job_id=batch.job_id, instances=sent)

    def finish(self) -> None:
        """Begin nothing new; the instance that is being sent may still be sent. From another thread, at the end."""
        self._control.finish()

    def cut_connection(self) -> None:
        """Cut a connection that does not come to its end. From another thread, at the end."""
        self._control.close()

    def _note(self, item: DueDelivery, write: Callable[[], None]) -> None:
        """Writes down what came of an instance, at once if that is possible, else before anything else is sent."""
        self._unwritten.append((item, write))
        with suppress(DatabaseUnavailable):
            self._write_down()

    def _write_down(self) -> None:
        while self._unwritten:
            item, write = self._unwritten[0]
            try:
                write()
            except BadRequest as error:  # another hand was quicker
                log.warning("delivery_not_recorded", destination=self.name, reason=str(error))
            except DatabaseUnavailable:
                raise
            except Exception as error:  # one that cannot be written down must not hold up the others for ever
                log.exception("delivery_record_failed", destination=self.name, sop_instance_uid=item.sop_instance_uid)
                self._give_up(item, f"{NOT_WRITABLE} ({type(error).__name__})")
            self._unwritten.popleft()

    def _give_up(self, item: DueDelivery, reason: str) -> None:
        try:
            self._deliveries.fail(item.id, reason, None)
        except DatabaseUnavailable:
            raise
        except Exception:  # it stays "sending", until a restart sends it again
            log.exception("delivery_state_unknown", destination=self.name, sop_instance_uid=item.sop_instance_uid)

    def _settle(self, item: DueDelivery, result: SendResult) -> None:
        """Writes down what the destination said of one instance."""
        status = result.status
        if result.accepted:
            self._deliveries.accept(item.id, status or 0, describe_status(status) if status else "")
        elif status is None or status in RETRYABLE:
            self._retry(item, result.error or describe_status(status or 0), status)
        else:
            reason = result.error or describe_status(status)
            log.error("delivery_refused", destination=self.name, sop_instance_uid=item.sop_instance_uid, reason=reason)
            self._deliveries.fail(item.id, reason, status)

    def _retry(self, item: DueDelivery, reason: str, status: int | None = None, code: str = "") -> None:
        if status is None and self._control.is_finishing():
            self._deliveries.release(item.id, "the daemon was stopped")
            return
        if waited(item.attempts + 1) > self._destination.retry_for:
            tries = f"given up after {item.attempts + 1} tries over {self._destination.retry_for}; last: {reason}"
            log.error("delivery_given_up", destination=self.name, sop_instance_uid=item.sop_instance_uid, reason=tries)
            self._deliveries.fail(item.id, tries, status, code=code)
            return
        self._deliveries.retry(item.id, reason, next_try(item.attempts, datetime.now(UTC)), status, code=code)


class UnconfiguredDestinations:
    """Fails what waits for a destination that is not in the configuration any more. `step` is for a loop.

    Args:
        deliveries: Where the rows are.
        known: Names of the destinations that there are.
    """

    def __init__(self, deliveries: DeliveryStore, known: Collection[str]) -> None:
        self._deliveries = deliveries
        self._known = tuple(known)

    def step(self) -> bool:
        """Looks once."""
        for job_id in self._deliveries.fail_unconfigured(self._known):
            log.error("destination_not_configured", job_id=job_id)
        return False


def next_try(attempts: int, now: datetime) -> datetime:
    """When to try again after `attempts` tries: exponential backoff with jitter of half the pause either way."""
    return now + pause_after(attempts) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret


def pause_after(attempts: int) -> timedelta:
    """The middle of the pause after that many tries before this one."""
    return timedelta(seconds=min(FIRST_PAUSE * 2.0 ** min(attempts, 20), LONGEST_PAUSE))


def waited(attempts: int) -> timedelta:
    """How long that many tries take, on average: what `retry_for` is compared with."""
    return sum((pause_after(number) for number in range(attempts)), timedelta())


def peer_of(destination: Destination, config: Config) -> Peer:
    """The sender's view of a destination; we call it by our own AE title unless it wants another."""
    calling = destination.calling_ae or (config.listener.ae_title if config.listener else "SCANWARD")
    return Peer(
        ae_title=destination.ae_title,
        host=destination.host,
        port=destination.port,
        calling_ae=calling,
        tls=tls_files(destination.tls),
    )


def tls_files(part: Tls | None) -> TLSFiles | None:
    """TLS as configured, in the terms of the DICOM side."""
    return TLSFiles(certificate=part.cert, key=part.key, ca=part.ca) if part else None
