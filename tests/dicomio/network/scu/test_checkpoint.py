"""An association's reactor takes no answer that somebody waits for, however late it is let run."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from dicomio.network.scu.checkpoint import Checkpoint

ROUNDS = 100


def test_what_says_that_it_is_paused_does_not_go_on() -> None:
    """Between two messages the event is set, and cleared before a busy machine has let the reactor run."""
    assoc = SimpleNamespace(_is_paused=False)
    checkpoint = Checkpoint(assoc)  # type: ignore[arg-type]
    passed, over = [0], threading.Event()

    def reactor() -> None:
        """As `Association._run_reactor`."""
        while not over.is_set():
            assoc._is_paused = True
            checkpoint.wait()
            assoc._is_paused = False
            passed[0] += 1

    thread = threading.Thread(target=reactor, daemon=True)
    thread.start()
    stolen = 0
    for _ in range(ROUNDS):  # as `Association.send_c_store` does, for one image after the other
        checkpoint.clear()
        while not assoc._is_paused:
            time.sleep(0)
        before = passed[0]
        time.sleep(0.001)  # an answer would be on its way now
        stolen += passed[0] - before
        checkpoint.set()
    over.set()
    checkpoint.set()
    thread.join(10)
    assert not thread.is_alive()
    assert stolen == 0


def test_a_wait_may_have_an_end() -> None:
    checkpoint = Checkpoint(SimpleNamespace(_is_paused=True))  # type: ignore[arg-type]
    assert not checkpoint.wait(0.01)
    checkpoint.set()
    assert checkpoint.wait(0.01)
