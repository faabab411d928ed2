"""Runs every benchmark, one after the other."""

from __future__ import annotations

from benchmarks import engines, ingest, turnaround


def main() -> None:
    """Prints one table per benchmark."""
    ingest.main()
    turnaround.main()
    engines.main()


if __name__ == "__main__":
    main()
