"""The inference libraries, imported so that they open no connections: both send usage data unless switched off in time.

ONNX Runtime (1.31 on Linux) writes a device id into the home folder and sends events to Microsoft from its import on,
unless `ORT_DISABLE_TELEMETRY` is set by then (engines/__init__.py sets it). OpenVINO sends events to Google Analytics
through a package of its own.
"""

from __future__ import annotations

import sys
import warnings
from types import ModuleType

from engines.errors import BackendMissing, DeviceMissing, DriverTooOld


def import_onnxruntime() -> ModuleType:
    """ONNX Runtime, silenced.

    Raises:
        BackendMissing: It is not installed, or does not load here.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendMissing(backend="onnxruntime", reason=str(error)) from error
    library: ModuleType = onnxruntime
    return library


def import_openvino() -> ModuleType:
    """OpenVINO, silenced: while it is imported, its telemetry package cannot be, and it goes on without.

    Raises:
        BackendMissing: It is not installed, or does not load here.
    """
    blocked = "openvino_telemetry"
    fresh = "openvino" not in sys.modules and blocked not in sys.modules
    if fresh:
        sys.modules[blocked] = None  # type: ignore[assignment]  # Python's own way to say "cannot be imported"
    try:
        import openvino
    except ImportError as error:
        raise BackendMissing(backend="openvino", reason=str(error)) from error
    finally:
        if fresh:
            del sys.modules[blocked]
    library: ModuleType = openvino
    return library


def import_tensorrt() -> ModuleType:
    """TensorRT's Python bindings with their libraries.

    Raises:
        BackendMissing: They are not installed, or do not load here.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise BackendMissing(backend="tensorrt", reason=str(error)) from error
    library: ModuleType = tensorrt
    return library


def import_pycuda() -> ModuleType:
    """`pycuda.driver`, ready to be asked for devices.

    Raises:
        BackendMissing: PyCUDA is not installed.
        DeviceMissing: There is no NVIDIA driver, or no GPU.
        DriverTooOld: The driver is older than the CUDA that PyCUDA was built with.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # it warns about what it then raises
            import pycuda.driver as cuda
    except (ImportError, OSError) as error:
        if "undefined symbol" in str(error):
            raise DriverTooOld(backend="tensorrt", reason=f"it lacks what PyCUDA was built with ({error})") from error
        if "libcuda" in str(error):
            raise DeviceMissing(backend="tensorrt", reason=f"no NVIDIA driver is installed ({error})") from error
        raise BackendMissing(backend="tensorrt", reason=str(error)) from error
    try:
        cuda.init()
    except cuda.Error as error:
        kind = DriverTooOld if "insufficient" in str(error) else DeviceMissing
        raise kind(backend="tensorrt", reason=str(error)) from error
    library: ModuleType = cuda
    return library
