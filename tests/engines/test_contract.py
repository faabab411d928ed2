"""What every engine must do, asked of each one that runs on this machine."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engines.choose import BACKENDS, candidates, open_engine
from engines.contract import Engine, EngineSettings
from engines.errors import EngineNotOpen, EngineRefused, WrongDtype, WrongNames, WrongShape, WrongValues
from tests.engines.backends.tensorrt.fake_gpu import install

ENGINES = [
    pytest.param(("onnxruntime", "fp32"), id="onnxruntime-fp32"),
    pytest.param(("openvino", "fp32"), id="openvino-fp32"),
    pytest.param(("openvino", "bf16"), id="openvino-bf16"),
    pytest.param(("openvino", "fp16"), id="openvino-fp16"),
    pytest.param(("tensorrt", "fp32"), id="tensorrt-fp32", marks=pytest.mark.gpu),
    pytest.param(("fake gpu", "fp32"), id="tensorrt-fp32-on-a-fake-gpu"),
    pytest.param(("chosen", "auto"), id="chosen"),
]
TOLERANCE = {"fp32": 1e-5, "fp16": 0.01, "bf16": 0.05, "auto": 0.05}


def build(sample, backend: str, precision: str, **settings) -> Engine:
    wanted = EngineSettings(
        backend="auto" if backend == "chosen" else backend, precision=precision, threads=2, **settings
    )
    if backend == "chosen":
        return open_engine(sample.package, wanted)
    return BACKENDS[backend](sample.package, wanted)


@pytest.fixture(params=ENGINES)
def engine(request, sample, monkeypatch):
    backend, precision = request.param
    if backend == "fake gpu":
        install(monkeypatch)
        backend = "tensorrt"
    built = build(sample, backend, precision)
    try:
        built.open()
    except EngineRefused as refusal:
        pytest.skip(f"this machine has no such engine: {refusal}")
    with built:
        built.tolerance = TOLERANCE[precision]
        yield built


def check(engine: Engine, sample, batch: int) -> dict[str, np.ndarray]:
    feeds = sample.feeds(batch)
    results = engine.infer(feeds)
    expected = sample.answer(**feeds)
    assert results.keys() == expected.keys()
    for name, array in results.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected[name], atol=engine.tolerance)
    return results


@pytest.mark.parametrize("batch", [0, 1, 2, 8, 19])
def test_answers_any_batch(engine, sample, batch):
    results = check(engine, sample, batch)
    assert {len(array) for array in results.values()} == {batch}


def test_pieces_give_what_the_whole_gives(engine, sample):
    feeds = sample.feeds(9)
    whole = engine.infer(feeds)
    single = [engine.infer({name: array[at : at + 1] for name, array in feeds.items()}) for at in range(9)]
    for name, array in whole.items():
        np.testing.assert_allclose(array, np.concatenate([one[name] for one in single]), atol=engine.tolerance)


def test_is_used_again_and_again(engine, sample):
    for batch in (3, 1, 5, 3):
        check(engine, sample, batch)


def test_results_belong_to_the_caller(engine, sample):
    first = engine.infer(sample.feeds(2))
    kept = {name: array.copy() for name, array in first.items()}
    second = engine.infer({name: array * -3 for name, array in sample.feeds(2).items()})
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        assert not np.shares_memory(array, second[name])
        array[:] = 7
    check(engine, sample, 2)


def test_feeds_are_left_alone(engine, sample):
    feeds = sample.feeds(2)
    for array in feeds.values():
        array.flags.writeable = False
    engine.infer(feeds)
    again = sample.feeds(2)
    for name, array in feeds.items():
        np.testing.assert_array_equal(array, again[name])


def test_takes_arrays_that_are_views(engine, sample):
    feeds = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in sample.feeds(2).items()}
    assert not any(array.flags.c_contiguous for array in feeds.values())
    results, expected = engine.infer(feeds), sample.answer(**feeds)
    for name, array in results.items():
        np.testing.assert_allclose(array, expected[name], atol=engine.tolerance)


def test_wrong_names(engine, sample):
    with pytest.raises(WrongNames, match=r"expected inputs \[.*received \['picture'\]"):
        engine.infer({"picture": np.zeros((1, 1), np.float32)})


def test_wrong_dtype(engine, sample):
    feeds = {name: array.astype(np.float64) for name, array in sample.feeds(1).items()}
    with pytest.raises(WrongDtype, match="expected dtype float32, received float64"):
        engine.infer(feeds)


def test_wrong_shape(engine, sample):
    feeds = {name: array[:, :1, ..., :5] for name, array in sample.feeds(1).items()}
    with pytest.raises(WrongShape, match=r"expected shape \(batch, .*\), received \(1, 1"):
        engine.infer(feeds)


def test_wrong_number_of_dimensions(engine, sample):
    with pytest.raises(WrongShape):
        engine.infer({name: array[0] for name, array in sample.feeds(1).items()})


def test_values_that_are_no_numbers(engine, sample):
    feeds = sample.feeds(2)
    name = next(iter(feeds))
    feeds[name][0, 0] = np.nan
    with pytest.raises(WrongValues, match=f"input {name}"):
        engine.infer(feeds)
    check(engine, sample, 2)


def test_many_threads_at_once(engine, sample):
    feeds = [{name: array + at for name, array in sample.feeds(3).items()} for at in range(8)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(engine.infer, feeds * 2))
    for given, results in zip(feeds * 2, answers, strict=True):
        for name, array in sample.answer(**given).items():
            np.testing.assert_allclose(results[name], array, atol=engine.tolerance * 10)


def test_closing_twice_and_opening_again(engine, sample):
    engine.close()
    engine.close()
    with pytest.raises(EngineNotOpen, match="not open"):
        engine.infer(sample.feeds(1))
    with engine:
        check(engine, sample, 1)


def test_closing_waits_for_calls_under_way(engine, sample):
    answers: list[object] = []
    started = threading.Event()

    def work() -> None:
        started.set()
        try:
            answers.append(engine.infer(sample.feeds(50)))
        except EngineNotOpen as error:  # closed before it began: also a clean answer
            answers.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    engine.close()
    thread.join()
    assert len(answers) == 1


def test_says_what_it_is(engine):
    described = engine.description
    assert described.backend in BACKENDS
    assert described.precision in ("fp32", "fp16", "bf16")
    assert described.version[0].isdigit()
    assert described.device
    assert set(described.as_dict()) >= {"backend", "version", "precision", "device", "plan", "gate", "passed_over"}


def test_constructing_touches_nothing(sample):
    for engine in candidates(sample.package, EngineSettings()):
        assert "closed" in repr(engine)
        with pytest.raises(EngineNotOpen):
            engine.infer(sample.feeds(1))


def test_inputs_must_agree_with_each_other(tmp_path):
    from tests.engines.conftest import two_inputs_sample

    sample = two_inputs_sample(tmp_path)
    feeds = sample.feeds(2)
    with build(sample, "onnxruntime", "fp32") as engine:
        feeds["right"] = feeds["right"][:, :, :5]
        with pytest.raises(WrongShape, match=r"input right: expected shape \(2, 2, 7\), received \(2, 2, 5\)"):
            engine.infer(feeds)


def test_errors_travel_between_processes():
    error = WrongShape(package="tiny", name="image", expected="(2, 3)", received="(2, 4)")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "tiny: input image: expected shape (2, 3), received (2, 4)."
    assert copy.name == "image"


@pytest.mark.parametrize(
    ("shape", "piece"),
    [((5, 192, 160), 8), ((4, 16, 160, 160), 8), ((4, 160, 192, 160), 1), ((4, 64, 128, 128), 4), (("width",), 8)],
)
def test_large_volumes_go_one_by_one(make_package, shape, piece):
    dims = ["batch", *shape]
    package = make_package(
        inputs=[{"name": "image", "shape": dims}],
        outputs=[{"name": "logits", "shape": ["batch", 1, *dims[2:]], "activation": "sigmoid", "classes": ["tumour"]}],
    )
    assert BACKENDS["onnxruntime"](package, EngineSettings(max_batch=8)).piece == piece
