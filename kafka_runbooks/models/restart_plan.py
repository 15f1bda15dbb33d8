"""A frozen plan of restarts: which nodes, in which rounds, and which configurations need none.

A node is known by its pod's uid. One whose pod has another uid than the plan's has been restarted, whoever did it: so a roll goes
on where it was after any crash, and restarts nothing twice.
"""

from typing import Literal

from pydantic import Field

from kafka_runbooks.models.base import Line, Model
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.plans import ExitPromises, Plan, PlannedPartition
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits

WaitFor = Literal["in sync", "preferred leaders"]


class RestartTarget(Model):
    """One node to restart, as it was found."""

    node: KafkaNode
    pod: str
    pod_uid: str
    why: Line
    """Asked for, its pod template or its file has changed, or since when it runs."""


class RestartPlan(Plan):
    """Which nodes restart, and which of them together."""

    LONG_FIELD = "partitions"
    reason: str
    targets: tuple[RestartTarget, ...]
    """By id."""
    rounds: tuple[tuple[int, ...], ...]
    """Ids of the nodes that restart together, in order."""
    fewest_rounds: int
    """A lower bound: no order within the limits has fewer."""
    limits: RestartLimits
    wait_for: WaitFor
    revisions: dict[str, str] = Field(default_factory=dict)
    """StatefulSet -> the revision of its pod template that is rolled out; none where it doesn't matter."""
    applied: dict[int, dict[str, str]] = Field(default_factory=dict)
    """Broker -> what has changed in its file and is set without a restart."""
    partitions: tuple[PlannedPartition, ...]
    """Every partition that has a replica on one of the brokers; none moves."""

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The brokers among the nodes."""
        return tuple(target.node.id for target in self.targets if target.node.is_broker)

    @property
    def planned(self) -> tuple[PlannedPartition, ...]:
        return self.partitions

    @property
    def total_bytes(self) -> int:
        return 0

    @property
    def promises(self) -> ExitPromises:
        return ExitPromises(
            in_sync_brokers=self.broker_ids, restarted_pods={target.pod: target.pod_uid for target in self.targets}
        )

    def throttled_entries(self) -> dict[str, EntryLease]:
        return {}
