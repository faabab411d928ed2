"""From findings to files: segments, report, pictures."""
