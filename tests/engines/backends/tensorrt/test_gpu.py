"""The PyCUDA part alone: buffers, streams, overlap. A copy on the device stands for the network; no TensorRT needed."""

from __future__ import annotations

import numpy as np
import pytest

from engines.backends.tensorrt.cuda_graphs import GraphFailed
from engines.backends.tensorrt.gpu import Gpu, Hung, Tensor, TransferPipeline
from engines.errors import DeviceMissing, EngineRefused

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu():
    try:
        found = Gpu(0)
    except EngineRefused as error:
        pytest.skip(f"no GPU here: {error}")
    yield found
    found.release()


def tensors(batch: int, width: int = 1000) -> tuple[list[Tensor], list[Tensor]]:
    shape = (batch, 3, width)
    return [Tensor("image", shape, np.dtype("float32"))], [Tensor("logits", shape, np.dtype("float32"))]


def copier(gpu: Gpu, pipeline: TransferPipeline, width: int = 1000):
    """Computes logits = image, asynchronously on the computing stream."""

    def launch(slot, batch, stream):
        assert stream == pipeline.computing
        there, here = pipeline.addresses[slot]["logits"], pipeline.addresses[slot]["image"]
        gpu.cuda.memcpy_dtod_async(there, here, batch * 3 * width * 4, pipeline._computing)

    return launch


@pytest.fixture
def pipeline(gpu):
    with gpu.entered():
        made = TransferPipeline(gpu, *tensors(4), time_limit=20)
    yield made
    with gpu.entered():
        made.free()


def through(gpu, pipeline, images: np.ndarray, piece: int = 4) -> np.ndarray:
    answers = np.full_like(images, np.nan)
    pieces = [
        ({"image": images[at : at + piece]}, {"logits": answers[at : at + piece]})
        for at in range(0, len(images), piece)
    ]
    with gpu.entered():
        pipeline.run(pieces, copier(gpu, pipeline))
    return answers


@pytest.mark.parametrize("batch", [0, 1, 4, 5, 8, 23])
def test_pieces_come_back_in_order(gpu, pipeline, batch):
    images = np.random.default_rng(batch).standard_normal((batch, 3, 1000), dtype=np.float32)
    for _ in range(3):
        np.testing.assert_array_equal(through(gpu, pipeline, images), images)


def test_feeds_may_be_views(gpu, pipeline):
    images = np.random.default_rng(0).standard_normal((6, 1000, 3), dtype=np.float32).transpose(0, 2, 1)
    np.testing.assert_array_equal(through(gpu, pipeline, images), images)


def test_a_failure_leaves_the_pipeline_usable(gpu, pipeline):
    def refuse(slot, batch, stream):
        raise ValueError("the network refuses")

    images = np.ones((8, 3, 1000), np.float32)
    with gpu.entered(), pytest.raises(ValueError, match="refuses"):
        pipeline.run([({"image": images[:4]}, {"logits": images[:4].copy()})] * 2, refuse)
    pipeline.forget()
    np.testing.assert_array_equal(through(gpu, pipeline, images), images)


def test_memory_is_given_back(gpu):
    with gpu.entered():
        before = gpu.free_bytes()
        for _ in range(3):
            pipeline = TransferPipeline(gpu, *tensors(64, 100_000), time_limit=20)
            taken = before - gpu.free_bytes()
            pipeline.free()
        assert taken >= 4 * 64 * 3 * 100_000 * 4
        assert before - gpu.free_bytes() < 16 << 20


def test_too_little_memory(gpu):
    with gpu.entered():
        everything = gpu.free_bytes()
        with pytest.raises(gpu.cuda.MemoryError):
            gpu.cuda.mem_alloc(everything * 4)
        assert everything - gpu.free_bytes() < 16 << 20


def test_a_piece_that_takes_too_long(gpu):
    """A limit that no piece can keep stands for a kernel that hangs."""
    with gpu.entered():
        pipeline = TransferPipeline(gpu, *tensors(64, 100_000), time_limit=-1)
        images = np.zeros((64, 3, 100_000), np.float32)
        with pytest.raises(Hung):
            pipeline.run([({"image": images}, {"logits": images.copy()})], copier(gpu, pipeline, 100_000))
        gpu.cuda.Context.synchronize()
        pipeline.free()


def test_a_gpu_that_is_not_there(gpu):
    with pytest.raises(DeviceMissing, match=r"GPU 99 is configured, \d+ are there"):
        Gpu(99)


def test_used_from_another_thread(gpu, pipeline):
    from concurrent.futures import ThreadPoolExecutor

    images = np.random.default_rng(0).standard_normal((9, 3, 1000), dtype=np.float32)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            np.testing.assert_array_equal(pool.submit(through, gpu, pipeline, images).result(), images)


def test_says_what_it_is(gpu):
    assert gpu.name
    assert gpu.capability.count(".") == gpu.driver.count(".") == 1


def test_recorded_work_is_carried_out_when_it_is_launched_and_only_then(gpu, pipeline):
    launch = copier(gpu, pipeline)
    images = np.random.default_rng(0).standard_normal((8, 3, 1000), dtype=np.float32)
    answers = np.zeros_like(images)
    with gpu.entered():
        graphs = [
            gpu.recorder().record(pipeline.computing, lambda slot=slot: launch(slot, 4, pipeline.computing))
            for slot in range(2)
        ]
        pieces = [({"image": images[at : at + 4]}, {"logits": answers[at : at + 4]}) for at in (0, 4)]
        pipeline.run(pieces, lambda slot, batch, stream: None)
        assert not np.array_equal(answers, images)
        pipeline.run(pieces, lambda slot, batch, stream: graphs[slot].launch(stream))
        for graph in graphs:
            graph.free()
    np.testing.assert_array_equal(answers, images)


def test_what_waits_for_the_gpu_cannot_be_recorded(gpu, pipeline):
    with gpu.entered():
        with pytest.raises((GraphFailed, gpu.cuda.Error)):
            gpu.recorder().record(pipeline.computing, pipeline._computing.synchronize)
        np.testing.assert_array_equal(through(gpu, pipeline, np.ones((4, 3, 1000), np.float32)), 1)
