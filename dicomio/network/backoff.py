"""Pauses between tries: each is twice as long as the one before, up to a limit."""

from __future__ import annotations


class Backoff:
    """Counts the tries that failed in a row.

    Args:
        first: Seconds to wait after the first one.
        longest: Seconds that no pause exceeds.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self.pause = 0.0

    def failed(self) -> float:
        """Another try failed; returns the seconds to wait before the next one."""
        self.pause = min(max(self._first, 2 * self.pause), self._longest)
        return self.pause

    def succeeded(self) -> None:
        """A try succeeded: the next failure is a first one."""
        self.pause = 0.0
