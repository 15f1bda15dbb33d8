"""How far a broker is with its start: which state it says it is in, and what is left of its logs' recovery.

After an unclean stop a broker reads the end of every log before it serves anyone. On large disks that takes minutes to hours, in
which it answers no request of Kafka's; only its metrics tell it from one that hangs.
"""

from enum import IntEnum

from pydantic import Field

from kafka_runbooks.models.base import Model


class BrokerState(IntEnum):
    """Kafka's own states of a broker (`kafka.server:type=KafkaServer,name=BrokerState`)."""

    NOT_RUNNING = 0
    STARTING = 1
    RECOVERY = 2
    """It has the cluster's metadata, loads its logs, and isn't unfenced yet."""
    RUNNING = 3
    PENDING_CONTROLLED_SHUTDOWN = 6
    SHUTTING_DOWN = 7
    UNKNOWN = 127

    @classmethod
    def _missing_(cls, value: object) -> "BrokerState":
        return cls.UNKNOWN


class BrokerProgress(Model):
    """One broker's start as it describes it."""

    state: BrokerState
    remaining_logs: int = 0
    """Logs that it still has to load, on all its log directories."""
    remaining_segments: int = 0
    """Segments to read again in the logs that its threads are at."""


class RecoveryReport(Model):
    """What brokers say of their start, and why the others can't be asked."""

    by_broker: dict[int, BrokerProgress] = Field(default_factory=dict)
    problems: dict[int, str] = Field(default_factory=dict)
