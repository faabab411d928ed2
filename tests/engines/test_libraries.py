"""What is told apart when a GPU cannot be used: nothing installed, no driver, a driver too old, no card."""

from __future__ import annotations

import sys

import pytest

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.errors import BackendMissing, DeviceMissing, DriverTooOld, NoEngine
from engines.libraries import import_pycuda, import_tensorrt

INIT = """
class Error(Exception): ...
def init(): raise Error({message!r})
"""


@pytest.fixture
def pycuda(tmp_path, monkeypatch):
    """`pycuda(source)` installs a `pycuda.driver` of this source."""

    def install(source: str) -> None:
        (tmp_path / "pycuda").mkdir()
        (tmp_path / "pycuda" / "__init__.py").touch()
        (tmp_path / "pycuda" / "driver.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        for name in ("pycuda", "pycuda.driver"):
            monkeypatch.delitem(sys.modules, name, raising=False)

    yield install
    for name in ("pycuda", "pycuda.driver"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("raise ImportError('libcuda.so.1: cannot open shared object file')", DeviceMissing, "no NVIDIA driver"),
        ("raise ImportError('_driver.so: undefined symbol: cuMemFoo_v9')", DriverTooOld, "cuMemFoo_v9"),
        ("raise ImportError('libboost_python.so: not found')", BackendMissing, "libboost"),
        (
            INIT.format(message="cuInit failed: driver version is insufficient"),
            DriverTooOld,
            "insufficient",
        ),
        (INIT.format(message="cuInit failed: no CUDA-capable device is detected"), DeviceMissing, "no CUDA-capable"),
    ],
)
def test_why_there_is_no_gpu_is_said(pycuda, source, kind, words):
    pycuda(source)
    with pytest.raises(kind, match=words):
        import_pycuda()


def test_a_driver_that_answers_is_handed_over(pycuda):
    pycuda("class Error(Exception): ...\ndef init(): global called; called = True\n")
    assert import_pycuda().called


def test_without_pycuda(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(BackendMissing, match="tensorrt is not installed"):
        import_pycuda()


def test_without_tensorrt_it_is_passed_over_and_by_name_refused(monkeypatch, plain):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendMissing, match="tensorrt is not installed"):
        import_tensorrt()
    with pytest.raises(NoEngine, match="tensorrt is not installed"):
        open_engine(plain.package, EngineSettings(backend="tensorrt"))
    with open_engine(plain.package, EngineSettings(threads=1)) as engine:
        assert "tensorrt is not installed" in engine.description.passed_over[0]


def test_tensorrt_that_does_not_load_its_libraries(tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.11: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(BackendMissing, match="libnvinfer"):
        import_tensorrt()
