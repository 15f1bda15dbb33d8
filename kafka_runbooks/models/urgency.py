"""How badly a partition needs its next copy. What is urgent is copied before the rest."""

from enum import IntEnum


class Urgency(IntEnum):
    """The lower, the more urgent."""

    REFUSES_WRITES = 0
    """Fewer replicas in sync than its effective `min.insync.replicas`: acks=all producers are refused."""
    ONE_COPY = 1
    """A single live replica is in sync, and there should be more: one more failure loses data."""
    NONE = 2
