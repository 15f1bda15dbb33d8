"""How much a run may write into its Temporal history: the server terminates, without any clean-up, what reaches its limit.

A quiet run writes some hundred events. What could go on for ever are the signals of a step whose reason to wait changes again and
again (four events each), and an operator's pauses and resumes. So a step's signals have a budget, and a run ends in order, with
everything given back, before it is ended.
"""

LIMIT_EVENTS, LIMIT_BYTES = 51_200, 50 * 1024 * 1024
"""Temporal's own (`limit.historyCount.error`, `limit.historySize.error`)."""
NOTE_SHARE, END_SHARE = 0.5, 0.8
"""From this share of the limit on the status says so, and from that one the run ends; the rest is for giving back."""

FREE_SIGNALS, SLOW_SIGNALS, MOST_SIGNALS = 20, 200, 1000
"""Signals of a step at any time, then at most one a minute up to the second number, and one in ten minutes up to the last."""


def share_used(events: int, size_bytes: int) -> float:
    """The share of a history that is used up; at 1 the server terminates the run."""
    return max(events / LIMIT_EVENTS, size_bytes / LIMIT_BYTES)


def seconds_between_signals(sent: int) -> float | None:
    """How long a step waits after its last signal before the next one; None where it may send no more."""
    if sent < FREE_SIGNALS:
        return 0.0
    if sent < SLOW_SIGNALS:
        return 60.0
    return 600.0 if sent < MOST_SIGNALS else None
