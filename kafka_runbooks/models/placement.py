"""What placement reads and reports at its edges: the snapshot file, the reassignment JSON, a plan's summary, reasons.

The reassignment JSON is the one that `kafka-reassign-partitions --reassignment-json-file` takes (ReassignPartitionsCommand):
`{"version": 1, "partitions": [{"topic": …, "partition": …, "replicas": […]}]}`.
"""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from kafka_runbooks.models.base import Model, OperatorInput

Measure = Literal["utilisation", "used bytes", "replica count", "bytes in", "bytes out"]
"""What a planner balances over brokers."""


class SnapshotBroker(Model):
    """A broker: total and free bytes of its log directories. `rack` None: it collides with no other rack."""

    id: int = Field(ge=0)
    rack: str | None = None
    capacity: int = Field(default=0, ge=0, description="bytes; 0: unknown, so that bytes are levelled instead of utilisation")
    free: int = Field(default=0, description="bytes")
    live: bool = True


class SnapshotPartition(Model):
    """A partition: replicas in preference order (-1: offline), bytes of its largest replica."""

    topic: str
    partition: int = Field(ge=0)
    replicas: tuple[int, ...]
    size: int = Field(default=0, ge=0, description="bytes")
    in_sync: tuple[int, ...] | None = None
    """None: every replica on a live broker is taken as in sync."""
    bytes_in: int = Field(default=0, ge=0, description="bytes per second produced")
    bytes_out: int = Field(default=0, ge=0, description="bytes per second consumed")
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()

    @field_validator("replicas")
    @classmethod
    def _distinct(cls, replicas: tuple[int, ...]) -> tuple[int, ...]:
        known = [broker for broker in replicas if broker >= 0]
        if len(set(known)) != len(known):
            raise ValueError(f"a broker appears twice in {list(replicas)}")
        return replicas


class Snapshot(Model):
    """A cluster snapshot file: what `place --snapshot` reads."""

    brokers: tuple[SnapshotBroker, ...]
    partitions: tuple[SnapshotPartition, ...]

    @model_validator(mode="after")
    def _unique(self) -> "Snapshot":
        ids = [broker.id for broker in self.brokers]
        if len(set(ids)) != len(ids):
            raise ValueError("brokers: an id appears twice")
        names = {(p.topic, p.partition) for p in self.partitions}
        if len(names) != len(self.partitions):
            raise ValueError("partitions: a partition appears twice")
        return self


class PartitionAssignment(OperatorInput):
    """One entry of a reassignment JSON. `log_dirs` is accepted, for Kafka's own tool writes it, and not used."""

    topic: str
    partition: int = Field(ge=0)
    replicas: tuple[int, ...] = Field(min_length=1)
    log_dirs: tuple[str, ...] | None = None


class ReassignmentMap(OperatorInput):
    """A reassignment JSON."""

    version: Literal[1] = 1
    partitions: tuple[PartitionAssignment, ...]


class PlacementReason(Model):
    """Why a map does not exist: the constraint that fails, where, and the smallest change that would help."""

    constraint: Literal["brokers", "racks", "capacity", "map", "live replicas"]
    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.constraint} on {self.where}: {self.problem}; {self.remedy}"


class BrokerLoad(Model):
    """One broker before and after a plan."""

    id: int
    rack: str | None
    capacity_bytes: int
    used_bytes_before: int
    used_bytes_after: int
    leaders_before: int
    leaders_after: int
    replicas_before: int
    replicas_after: int
    is_target: bool


class PlacementSummary(Model):
    """A plan in figures: what it moves, what had to move, how level it leaves the cluster, and what no plan could beat."""

    kind: str
    moved_bytes: int
    lower_bound_bytes: int
    """No plan that reaches `spread_after` (and what was asked) moves fewer bytes."""
    forced_bytes: int
    """The part that any valid map must move: lost or leaving replicas, added ones, rack repairs."""
    levelled: Measure
    spread_before: float
    """Highest minus lowest a fraction of capacity for utilisation, else bytes, replicas or bytes per second."""
    spread_after: float
    best_possible_spread: float
    best_possible_is_exact: bool = False
    utilisation_spread: float
    """Highest minus lowest used bytes over capacity, whatever was levelled; 0 where capacities are unknown."""
    used_range_bytes: int
    leaders_before: tuple[int, int]
    leaders_after: tuple[int, int]
    """Fewest and most preferred leaders on a target broker; after balancing no map with these sets has a smaller range."""
    leader_changes: int
    changed_partitions: int
    moved_replicas: int
    rack_violations: int
    brokers: tuple[BrokerLoad, ...]
    notices: tuple[str, ...] = ()
