"""The plan cache, with plans that nobody needs to run: what counts is which bytes come back, and who built them."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from engines.errors import PlanUnusable
from engines.plans import DAY, Built, PlanKey, PlanStore

KEY = PlanKey("tiny", "0" * 64, "tensorrt 11.4.0", "H200, 9.0", "fp16", (("image", (1, 3), (8, 3), (8, 3)),))
OTHERS = {
    "network": "1" * 64,
    "library": "tensorrt 11.5.0",
    "device": "L4, 8.9",
    "precision": "fp32",
    "options": (("image", (1, 3), (4, 3), (4, 3)),),
}


class Builder:
    """Counts how often it was asked, and remembers which timings it got."""

    def __init__(self, plan: bytes = b"plan\n with any bytes \x00", seconds: float = 0) -> None:
        self.plan, self.seconds = plan, seconds
        self.timings: list[bytes] = []

    def __call__(self, timing: bytes) -> Built:
        self.timings.append(timing)
        time.sleep(self.seconds)
        return Built(self.plan, b"timings")


@pytest.fixture
def store(tmp_path):
    return PlanStore(tmp_path / "cache")


def test_builds_once(store):
    build = Builder()
    assert not store.has(KEY)
    assert store.obtain(KEY, build) == build.plan
    assert store.obtain(KEY, build) == build.plan
    assert store.has(KEY)
    assert build.timings == [b""]


def test_only_the_owner_may_read(store):
    store.obtain(KEY, Builder())
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in store.folder.iterdir()} == {0o600}


@pytest.mark.parametrize("field", OTHERS)
def test_whatever_differs_is_another_plan(store, field):
    store.obtain(KEY, Builder())
    other = Builder(b"other")
    assert store.obtain(replace(KEY, **{field: OTHERS[field]}), other) == b"other"
    assert len(other.timings) == 1
    assert store.obtain(KEY, Builder()) != b"other"


def test_timings_serve_the_next_build_on_the_same_gpu(store):
    store.obtain(KEY, Builder())
    same, stranger = Builder(), Builder()
    store.obtain(replace(KEY, network="2" * 64), same)
    store.obtain(replace(KEY, device="L4, 8.9"), stranger)
    assert same.timings == [b"timings"]
    assert stranger.timings == [b""]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda content: content[:-1], "damaged"),
        (lambda content: content[:-1] + b"!", "damaged"),
        (lambda content: content[:40], "damaged"),
        (lambda content: b"", "outdated or damaged"),
        (lambda content: content.replace(b"PLAN 1", b"PLAN 0"), "outdated"),
        (lambda content: content.replace(b"H200", b"H100"), "foreign: made for another device"),
        (lambda content: content.replace(b"11.4.0", b"10.9.0"), "foreign: made for another library"),
        (lambda content: content.replace(b'"key"', b'"kee"'), "foreign"),
    ],
)
def test_an_unusable_plan_is_built_again(store, spoil, problem):
    store.obtain(KEY, Builder())
    path = store.folder / KEY.file
    path.write_bytes(spoil(path.read_bytes()))
    assert not store.has(KEY)
    with pytest.raises(PlanUnusable, match=problem):
        store.read(KEY)
    again = Builder(b"again")
    assert store.obtain(KEY, again) == b"again"
    assert store.read(KEY) == b"again"


def test_a_discarded_plan_is_gone(store):
    store.obtain(KEY, Builder())
    store.discard(KEY, "TensorRT does not read it")
    store.discard(KEY, "nor this time")
    assert not store.has(KEY)


def test_a_failed_build_leaves_nothing_and_lets_go_of_the_lock(store):
    def fail(timing: bytes) -> Built:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        store.obtain(KEY, fail)
    assert [path.name for path in store.folder.iterdir()] == ["lock"]
    assert store.obtain(KEY, Builder()) == Builder().plan


def test_many_threads_build_one_plan(store):
    build = Builder(seconds=0.2)
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: store.obtain(KEY, build), range(4)))
    assert plans == [build.plan] * 4
    assert len(build.timings) == 1


HOLDER = """
import sys, time
from pathlib import Path
from engines.plans import PlanStore
store = PlanStore(Path(sys.argv[1]))
with store.locked():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_dead_process_holds_no_lock(store):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.folder.parent)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "locked\n"
    done = threading.Event()
    thread = threading.Thread(target=lambda: (store.obtain(KEY, Builder()), done.set()))
    thread.start()
    assert not done.wait(0.3)  # it is really waiting for the other process
    holder.send_signal(signal.SIGKILL)
    assert done.wait(10)
    thread.join()
    holder.communicate()


def age(path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def keys(count: int) -> list[PlanKey]:
    return [replace(KEY, package=f"p{number}") for number in range(count)]


def test_old_plans_go(store):
    old, new = keys(2)
    store.obtain(old, Builder())
    store.obtain(new, Builder())
    age(store.folder / old.file, 91)
    age(store.folder / new.file, 89)
    assert store.purge() == [old.file]
    assert store.has(new)


def test_use_keeps_a_plan_young(store):
    store.obtain(KEY, Builder())
    age(store.folder / KEY.file, 91)
    store.obtain(KEY, Builder())
    assert store.purge() == []


def test_the_longest_unused_go_when_there_is_too_much(store):
    plans = keys(4)
    for number, key in enumerate(plans):
        store.obtain(key, Builder(bytes(1000)))
        age(store.folder / key.file, 10 - number)
    store.max_bytes = 2 * (store.folder / plans[0].file).stat().st_size
    assert sorted(store.purge()) == sorted(key.file for key in plans[:2])


def test_what_follows_a_plan_that_is_too_large_may_stay(store):
    newest, large, oldest = keys(3)
    for number, (key, size) in enumerate(((newest, 1000), (large, 9000), (oldest, 1000))):
        store.obtain(key, Builder(bytes(size)))
        age(store.folder / key.file, 1 + number)
    store.max_bytes = 2 * (store.folder / newest.file).stat().st_size + 1000
    assert store.purge() == [large.file]


def test_a_build_clears_out_what_is_too_old_and_too_much(store):
    """Nobody calls `purge` by hand."""
    old, long_unused, new = keys(3)
    for key, days in ((old, 91), (long_unused, 5)):
        store.obtain(key, Builder(bytes(1000)))
        age(store.folder / key.file, days)
    store.obtain(new, Builder(bytes(1000)))
    assert [store.has(key) for key in (old, long_unused, new)] == [False, True, True]
    store.max_bytes = 1
    store.obtain(keys(4)[3], Builder(bytes(1000)))
    assert [path.name for path in store.folder.glob("*.plan")] == [keys(4)[3].file]


def test_the_limits_that_the_guide_states():
    """docs/engines.md: 90 days, 8 GiB."""
    store = inspect.signature(PlanStore).parameters
    assert (store["max_age"].default, store["max_bytes"].default) == (90 * 24 * 3600, 8 * 1024**3)


def test_a_plan_is_on_the_disk_before_it_has_its_name(store, monkeypatch):
    """Else a power failure could leave a whole name with half a plan behind it."""
    order = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), sync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda source, target: (order.append("name"), rename(source, target))[1])
    store.obtain(KEY, Builder())
    assert order == ["sync", "name"] * 2  # the plan, and the timings


def test_a_crash_while_it_is_written_leaves_no_plan(store, monkeypatch):
    def crash(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.obtain(KEY, Builder())
    assert [path.name for path in store.folder.iterdir()] == ["lock"]


def test_a_new_plan_is_kept_however_large(store):
    store.max_bytes = 10
    store.obtain(KEY, Builder(bytes(1000)))
    assert store.has(KEY)


def test_half_written_files_go_after_a_day(store):
    fresh, stale = store.folder / ".a.plan.x.part", store.folder / ".b.plan.x.part"
    for path in (fresh, stale):
        path.write_bytes(b"half")
    age(stale, 2)
    store.purge()
    assert fresh.exists()
    assert not stale.exists()
