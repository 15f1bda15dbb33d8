"""What placement reads and reports at its edges: the snapshot file, the reassignment JSON, a plan's summary, reasons.

The reassignment JSON is the one that `kafka-reassign-partitions --reassignment-json-file` takes (ReassignPartitionsCommand):
`{"version": 1, "partitions": [{"topic": …, "partition": …, "replicas": […]}]}`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from kafka_runbooks.models.base import Model, OperatorInput

Measure = Literal["utilisation", "used bytes", "replica count", "bytes in", "bytes out"]
"""What a planner balances over brokers."""


MOST_BYTES = 2**60
"""An exbibyte: sums of bytes, and of those times small factors, stay exact in 64 bits."""
MOST_REPLICAS = 100
MAX_UTILISATION = 0.85
"""How full a plan may make a disk unless told otherwise: what is left takes growth until more brokers are there."""
Bytes = Annotated[int, Field(ge=0, le=MOST_BYTES)]
BrokerId = Annotated[int, Field(ge=0, lt=2**31)]
PROBLEM_KEYS = frozenset({"name", "family", "target_brokers", "replication"})


class SnapshotLogDirectory(OperatorInput):
    """One log directory of a broker (KIP-113, KIP-827)."""

    path: str = ""
    capacity: Bytes = Field(default=0, description="bytes of its volume; 0: unknown")
    free: Bytes = Field(default=0, description="bytes")
    failed: bool = False
    """Offline: its replicas are gone until the disk is replaced, and Kafka tells neither its size nor what is free."""


class SnapshotBroker(OperatorInput):
    """A broker: total and free bytes of its log directories. `rack` None: it collides with no other rack."""

    id: BrokerId
    rack: str | None = None
    capacity: Bytes = Field(default=0, description="bytes; 0: unknown, so that bytes are levelled instead of utilisation")
    free: Bytes = Field(default=0, description="bytes")
    live: bool = True
    log_dirs: tuple[SnapshotLogDirectory, ...] = ()
    """Where given, `capacity` and `free` follow from them. Two with equal sizes and free bytes are on one volume."""

    @model_validator(mode="after")
    def _of_volumes(self) -> "SnapshotBroker":
        volumes = self.volumes
        if volumes and not self.capacity:
            known = all(one.capacity for one in volumes)
            object.__setattr__(self, "capacity", sum(one.capacity for one in volumes) if known else 0)
            object.__setattr__(self, "free", sum(one.free for one in volumes) if known else 0)
        if self.free > self.capacity > 0:
            raise ValueError(f"free: {self.free} bytes are more than the capacity of {self.capacity}")
        return self

    @property
    def volumes(self) -> list[SnapshotLogDirectory]:
        """Its working volumes, each once: a volume that holds two log directories is reported by both."""
        return list({(one.capacity, one.free) if one.capacity else (one.path, 0): one for one in self.working}.values())

    @property
    def working(self) -> list[SnapshotLogDirectory]:
        return [one for one in self.log_dirs if not one.failed]

    @property
    def failed(self) -> list[SnapshotLogDirectory]:
        return [one for one in self.log_dirs if one.failed]


class SnapshotPartition(OperatorInput):
    """A partition: replicas in preference order (-1: offline), bytes of its largest replica."""

    topic: str = Field(min_length=1)
    partition: int = Field(ge=0, lt=2**31)
    replicas: tuple[Annotated[int, Field(ge=-1, lt=2**31)], ...] = Field(min_length=1, max_length=MOST_REPLICAS)
    size: Bytes = Field(default=0, description="bytes")
    sizes: tuple[Bytes, ...] | None = Field(default=None, description="bytes of each replica, in the order of replicas")
    in_sync: tuple[int, ...] | None = None
    """None: every replica on a live broker is taken as in sync."""
    leader: int | None = Field(default=None, description="who leads now; default: the first in-sync live replica")
    bytes_in: Bytes = Field(default=0, description="bytes per second produced")
    bytes_out: Bytes = Field(default=0, description="bytes per second consumed")
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()

    @field_validator("replicas")
    @classmethod
    def _distinct(cls, replicas: tuple[int, ...]) -> tuple[int, ...]:
        known = [broker for broker in replicas if broker >= 0]
        if len(set(known)) != len(known):
            raise ValueError(f"a broker appears twice in {list(replicas)}")
        return replicas

    @model_validator(mode="after")
    def _one_size_each(self) -> "SnapshotPartition":
        if self.sizes is not None and len(self.sizes) != len(self.replicas):
            raise ValueError(f"sizes: {len(self.sizes)} for {len(self.replicas)} replicas")
        return self


class Snapshot(OperatorInput):
    """A cluster snapshot file: what `place --snapshot` reads."""

    brokers: tuple[SnapshotBroker, ...]
    partitions: tuple[SnapshotPartition, ...]

    @model_validator(mode="before")
    @classmethod
    def _without_problem(cls, data: Any) -> Any:
        """A benchmark's problem file is a snapshot with a task, which isn't read here."""
        return {key: value for key, value in data.items() if key not in PROBLEM_KEYS} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _consistent(self) -> "Snapshot":
        ids = [broker.id for broker in self.brokers]
        if len(set(ids)) != len(ids):
            raise ValueError("brokers: an id appears twice")
        names = {(p.topic, p.partition) for p in self.partitions}
        if len(names) != len(self.partitions):
            raise ValueError("partitions: a partition appears twice")
        if sum(p.size * len(p.replicas) for p in self.partitions) > MOST_BYTES:
            raise ValueError(f"partitions: the sizes of all replicas add up to more than {MOST_BYTES} bytes")
        return self


class PartitionAssignment(OperatorInput):
    """One entry of a reassignment JSON. Kafka's own tool writes `log_dirs` too: which log directory each replica goes to."""

    topic: str
    partition: int = Field(ge=0, lt=2**31)
    replicas: tuple[Annotated[int, Field(lt=2**31)], ...] = Field(min_length=1, max_length=MOST_REPLICAS)
    log_dirs: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _in_any_directory(self) -> "PartitionAssignment":
        if self.log_dirs is None:
            return self
        if len(self.log_dirs) != len(self.replicas):
            raise ValueError(f"log_dirs: {len(self.log_dirs)} for {len(self.replicas)} replicas; give one each, or leave it out")
        if named := [one for one in self.log_dirs if one != "any"]:
            raise ValueError(
                f'log_dirs: {named[0]!r} can\'t be asked for, Kafka chooses the directory; write "any" or leave it out'
            )
        return self


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
