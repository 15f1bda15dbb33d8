"""Plans of large clusters are made one after the other in a worker.

Each takes some hundred megabytes while it is made, and most of that time is computing, which threads of one process can't share:
two at once would take twice the memory and no less time.
"""

import threading

from activities.step import Reporter, raise_if_stopped
from kafka_runbooks.models.status import Progress

LARGE_PARTITIONS = 20_000
LOOK_SECONDS = 0.5

_turn = threading.Lock()


class Turn:
    """A plan's turn, from when it is taken until the end of the block."""

    def __init__(self) -> None:
        self._is_held = False

    def __enter__(self) -> "Turn":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_held:
            _turn.release()

    def take(self, partitions: int) -> bool:
        """Wait for the turn of a cluster of this size; a small one needs none. Returns whether time has passed.

        Raises:
            CancelledError: the step was cancelled meanwhile.
            WorkerShutdown: the worker shuts down.
        """
        if self._is_held or partitions < LARGE_PARTITIONS:
            return False
        if _turn.acquire(blocking=False):
            self._is_held = True
            return False
        reporter = Reporter.current()
        reason = f"another large cluster is planned for, and this one has {partitions} partitions"
        reporter.report(Progress(waiting=reporter.waiting(reason, "that plan is made")))
        while not _turn.acquire(timeout=LOOK_SECONDS):
            raise_if_stopped()
        self._is_held = True
        return True
