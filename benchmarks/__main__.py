"""Runs every benchmark, one after the other."""

from __future__ import annotations

from benchmarks import around, cli, engines, ingest, processor, startup, turnaround


def main() -> None:
    """Prints one table per benchmark."""
    cli.main([])
    ingest.main()
    turnaround.main()
    startup.main([])
    around.main([])
    engines.main([])
    processor.main([])


if __name__ == "__main__":
    main()
