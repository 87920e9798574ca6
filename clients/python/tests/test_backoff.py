"""The waits between tries."""

from lrs import Backoff


def test_waits_grow_to_a_bound_and_differ():
    backoff = Backoff(first=0.1, longest=1.0)
    full = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    for failures, longest in enumerate(full, start=1):
        waits = {backoff.wait(failures) for _ in range(100)}
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(waits) > 50, "clients that failed together do not come back together"
    assert backoff.wait(10_000) <= 1.0
