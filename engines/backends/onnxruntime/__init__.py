"""ONNX Runtime: the portable engine, and the reference in FP32."""
