from __future__ import annotations

from dicomio.network.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_success() -> None:
    backoff = Backoff(first=5.0, longest=30.0)
    assert [backoff.failed() for _ in range(5)] == [5.0, 10.0, 20.0, 30.0, 30.0]
    backoff.succeeded()
    assert backoff.failed() == 5.0
