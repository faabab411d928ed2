"""Slices go to the network from a thread of its own: what comes back is what plain calls in turn give."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.contract import EngineSettings
from engines.errors import EngineNotOpen
from engines.packages.package import ModelPackage, load_package, shipped_folder
from pipelines.networks import EnginePool, Network, _overlapped

JOB: ContextVar[str] = ContextVar("job", default="")


def feeds(count: int) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    return [((k, k + 1), {"image": np.full((1, 2), k, np.float32)}) for k in range(count)]


def double(feed: dict[str, Any]) -> dict[str, Any]:
    return {"answer": feed["image"] * 2}


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_answers_come_in_order_and_are_those_of_plain_calls(count: int) -> None:
    found = list(_overlapped(iter(feeds(count)), double))
    assert [span for span, _ in found] == [(k, k + 1) for k in range(count)]
    for (_, answer), (_, feed) in zip(found, feeds(count), strict=True):
        np.testing.assert_array_equal(answer["answer"], double(feed)["answer"])


def test_the_next_batch_is_prepared_while_the_network_works() -> None:
    prepared = threading.Event()

    def preparing() -> Any:
        first, second = feeds(2)
        yield first
        prepared.set()
        yield second

    def infer(feed: dict[str, Any]) -> dict[str, Any]:
        return {"beside": prepared.wait(timeout=60)}  # would wait in vain if batches were prepared in turn

    assert [answer["beside"] for _, answer in _overlapped(preparing(), infer)] == [True, True]


def test_one_thread_asks_the_network_and_knows_the_job() -> None:
    JOB.set("job 7")
    asked = [
        answer for _, answer in _overlapped(iter(feeds(4)), lambda _: {"by": threading.get_ident(), "job": JOB.get()})
    ]
    assert len({answer["by"] for answer in asked}) == 1
    assert asked[0]["by"] != threading.get_ident()
    assert {answer["job"] for answer in asked} == {"job 7"}


def test_a_network_that_breaks_says_so_to_whoever_asked() -> None:
    def infer(feed: dict[str, Any]) -> dict[str, Any]:
        if feed["image"][0, 0] == 1:
            raise RuntimeError("broken")
        return double(feed)

    answers = _overlapped(iter(feeds(4)), infer)
    assert next(answers)[0] == (0, 1)
    with pytest.raises(RuntimeError, match="broken"):
        next(answers)


def test_whoever_stops_asking_leaves_no_thread_behind() -> None:
    answers = _overlapped(iter(feeds(4)), double)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("network")]


FP32 = EngineSettings(backend="onnxruntime", precision="fp32", threads=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package of the hospital's own."""
    return Path(shutil.copytree(shipped_folder() / "brain-lgg-classifier", tmp_path / "classifier"))


@pytest.fixture
def pool() -> Iterator[EnginePool]:
    pool = EnginePool()
    yield pool
    pool.close()


def answer(network: Network) -> Any:
    feed = network.package.manifest.inputs[0]
    return network.engine.infer({feed.name: np.zeros((1, *feed.shape[1:]), np.float32)})  # type: ignore[arg-type]


def replaced(folder: Path, **words: str) -> ModelPackage:
    text = (folder / "model.yaml").read_text()
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "model.yaml").write_text(text)
    return load_package(folder)


def test_an_engine_is_opened_once_for_a_package_and_its_settings(pool: EnginePool, folder: Path) -> None:
    first = pool.network(load_package(folder), FP32)
    assert pool.network(load_package(folder), FP32).engine is first.engine
    assert pool.network(load_package(folder), FP32.model_copy(update={"threads": 2})).engine is not first.engine


def test_the_engine_of_a_replaced_package_is_closed(pool: EnginePool, folder: Path) -> None:
    """Same network, other variants or thresholds: another package, though the file of its network is the same."""
    first = pool.network(load_package(folder), FP32)
    second = pool.network(replaced(folder, **{"research": "Research"}), FP32)
    assert answer(second)
    assert second.engine is not first.engine
    with pytest.raises(EngineNotOpen):
        answer(first)


def test_a_closed_pool_has_closed_its_engines_and_opens_them_again(pool: EnginePool, folder: Path) -> None:
    first = pool.network(load_package(folder), FP32)
    pool.close()
    with pytest.raises(EngineNotOpen):
        answer(first)
    assert answer(pool.network(load_package(folder), FP32))
