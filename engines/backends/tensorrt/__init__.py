"""TensorRT with PyCUDA: the engine for NVIDIA GPUs."""
