"""Reassignments that the controller refused: who they are, why, and when each is asked for again.

A refusal concerns one partition, and seldom passes within seconds: a policy, a quota, a topic that is being deleted. The others
go on. The one is asked for again after a pause that doubles, so that it neither fills the controller's log nor waits for ever
once what stood in its way is gone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kafka_runbooks.models.cluster import TopicPartition

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 4.0, 300.0


@dataclass(frozen=True)
class Refusal:
    """The last answer about one partition."""

    reason: str
    pause_seconds: float
    until_seconds: float


class Refusals:
    """What was refused, by partition. Times are those of a monotonic clock."""

    def __init__(self) -> None:
        self._by_partition: dict[TopicPartition, Refusal] = {}

    def note(self, asked: Collection[TopicPartition], refused: Mapping[TopicPartition, str], at_seconds: float) -> None:
        """Keep the answers to one request; what was accepted is forgotten."""
        for name in asked:
            before = self._by_partition.pop(name, None)
            if name in refused:
                pause = FIRST_PAUSE_SECONDS if before is None else min(2 * before.pause_seconds, LONGEST_PAUSE_SECONDS)
                self._by_partition[name] = Refusal(refused[name], pause, at_seconds + pause)

    def held(self, at_seconds: float) -> dict[TopicPartition, str]:
        """Those that are not asked for now -> Kafka's reason."""
        return {name: one.reason for name, one in self._by_partition.items() if at_seconds < one.until_seconds}

    def describe(self, settled: Collection[TopicPartition]) -> str:
        """`2 are refused: events-1: PolicyViolationError, events-7: …`; empty where none is that isn't settled meanwhile."""
        for name in settled:
            self._by_partition.pop(name, None)
        if not self._by_partition:
            return ""
        shown = ", ".join(f"{name}: {one.reason}" for name, one in sorted(self._by_partition.items())[:3])
        return f"{len(self._by_partition)} are refused by the controller and asked for again later: {shown}"
