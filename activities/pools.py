"""Pools of slots: what is brief never waits for what takes long.

A worker has a bounded number of slots. If copies that last for days took the last one, nothing could be given back, no run could
be aborted and no throttle set. So each kind of step has a task queue, threads and slots of its own in every worker.
"""

from enum import StrEnum


class Pool(StrEnum):
    """What a step needs a slot for."""

    ACTS = "acts"
    """Something that takes seconds: set, give back, ask."""
    LOOKS = "looks"
    """One look at the cluster; a step that waits takes a slot for each look, and none in between (`step.wait`)."""
    COPIES = "copies"
    """As long as data flows: rates, pace and deadlines are in the attempt's memory."""

    def task_queue(self, of_the_runs: str) -> str:
        """The pool's task queue, beside that of the workflows."""
        return f"{of_the_runs}/{self.value}"
