"""OpenVINO: the engine for processors."""
