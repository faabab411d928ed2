"""The engine contract and its backends; model packages."""

import os

# ONNX Runtime reads this once, when it is first imported by anyone; see engines/libraries.py.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
