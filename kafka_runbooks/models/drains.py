"""A frozen plan of a drain: which nodes, what runs on each, and which of them may be without it at the same time."""

from pydantic import Field

from kafka_runbooks.models.base import Line, Model
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.plans import ExitPromises, Plan, PlannedPartition
from kafka_runbooks.models.restart_plan import RestartTarget
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits


class DrainedNode(Model):
    """A Kubernetes node with the brokers and controllers on it."""

    name: str
    uid: str
    why: Line
    """Asked for, or how somebody else has announced it."""
    targets: tuple[RestartTarget, ...]

    @property
    def kafka(self) -> tuple[KafkaNode, ...]:
        """The Kafka processes on it, which go down together."""
        return tuple(target.node for target in self.targets)


class DrainPlan(Plan):
    """Which nodes are emptied, and which of them together."""

    LONG_FIELD = "partitions"
    reason: str
    nodes: tuple[DrainedNode, ...]
    rounds: tuple[tuple[str, ...], ...]
    """Names of the nodes that are empty at the same time, in order. As planned: they are chosen anew before each round."""
    limits: RestartLimits
    is_announced: bool
    """Somebody else drains the nodes: they stay as they are, and nobody waits for their return."""
    partitions: tuple[PlannedPartition, ...] = Field(default=())
    """Every partition with a replica on one of the brokers that are waited for; none moves."""

    @property
    def broker_ids(self) -> tuple[int, ...]:
        """The brokers on the nodes."""
        return tuple(node.id for drained in self.nodes for node in drained.kafka if node.is_broker)

    @property
    def planned(self) -> tuple[PlannedPartition, ...]:
        return self.partitions

    @property
    def total_bytes(self) -> int:
        return 0

    @property
    def promises(self) -> ExitPromises:
        pods = {target.pod: target.pod_uid for drained in self.nodes for target in drained.targets}
        if self.is_announced:
            return ExitPromises(ended_pods=pods)
        return ExitPromises(in_sync_brokers=self.broker_ids, restarted_pods=pods)

    def throttled_entries(self) -> dict[str, EntryLease]:
        return {}
