"""Speed beside peers, in one run, as ratios: `make bench`, or one of them as `python -m benchmarks.NAME`."""
