"""The benchmark's clock: what it calls the network's time."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from operator import attrgetter

import pytest

from benchmarks.around import STEPS, Stopwatch, asked_later, watched
from pipelines import networks
from pipelines.brain import glioma as brain_mr


class Hand:
    """A clock that is put on by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_two_networks_at_a_time_count_once() -> None:
    clock = Hand()
    watch = Stopwatch(clock)
    inside, leave = threading.Event(), threading.Event()

    def infer(during: Callable[[], object]) -> None:
        during()

    ask = watch.wrap("network", infer)
    clock.now = 10.0

    def stay() -> None:
        inside.set()
        leave.wait(60)

    other = threading.Thread(target=ask, args=(stay,))
    other.start()
    assert inside.wait(60)
    clock.now = 12.0
    ask(lambda: setattr(clock, "now", 15.0))
    clock.now = 16.0
    leave.set()
    other.join()
    assert watch.working == pytest.approx(6.0)  # from 10 to 16, not 6 and 3
    assert watch.seconds["network"] == pytest.approx(3.0)  # this thread's own share


def test_a_step_stands_still_while_one_within_it_runs() -> None:
    clock = Hand()
    watch = Stopwatch(clock)

    def work(seconds: float, then: Callable[[], object] = lambda: None) -> None:
        clock.now += seconds
        then()

    inner = watch.wrap("inner", work)
    watch.wrap("outer", work)(1.0, lambda: inner(4.0))
    assert watch.seconds == {"outer": 1.0, "inner": 4.0}
    assert watch.working == 0.0


def test_for_the_processors_time_nothing_runs_beside_and_all_is_put_back() -> None:
    before = networks._overlapped, brain_mr._in_background
    with watched(Hand(), overlapping=False):
        assert brain_mr._in_background is asked_later
        assert networks._overlapped is not before[0]
        asked: list[str] = []
        with asked_later(lambda: asked.append("now")) as answer:
            assert not asked
            answer()
        assert asked == ["now"]
    assert (networks._overlapped, brain_mr._in_background) == before


@pytest.mark.parametrize("place", sorted({place for places in STEPS.values() for place in places}))
def test_what_a_step_is_made_of_exists(place: str) -> None:
    module, _, name = place.partition(":")
    assert callable(attrgetter(name)(importlib.import_module(module)))
