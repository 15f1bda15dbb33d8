"""What may be requested of a planner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kafka_runbooks.models.placement import Measure
from kafka_runbooks.placement.arrays import Cluster, Flags
from kafka_runbooks.placement.maps import Regions
from kafka_runbooks.placement.problem import Rules


@dataclass(frozen=True)
class Options:
    """Options of every planner."""

    topics: Sequence[str] | None = None
    """Names or anchored regexes; None: all."""
    exclude: Sequence[str] = ()
    regions: Regions | None = None
    """Maps; None: a single map of all live brokers."""
    measure: Measure = "utilisation"
    """What to balance."""
    min_racks: int | None = None
    """Racks a set must span; None: as many as it can, 1: no requirement."""
    leaders: Literal["balance", "keep"] = "balance"
    """`keep` chooses a new preferred leader only where the old one is lost."""
    on_target: bool = False
    """Plan on the target of reassignments in progress, instead of refusing them."""
    target_spread: float | None = None
    """How far above the best possible spread is balanced enough; a fraction of capacity, or in the measure's unit."""
    max_moved_bytes: int | None = None
    within_racks: bool = False
    """Moves that are not forced stay inside a rack (topicmappr's `--locality-scoped`)."""
    smallest_moved_bytes: int = 0
    """Smaller partitions are not moved to balance (topicmappr's `--partition-size-threshold`)."""
    prove: bool = False
    """Compute the best possible spread exactly where the cluster is small enough, instead of bounding it."""
    max_utilisation: float = 1.0
    """How full a plan may make a disk, as a share of its capacity; a fuller one gets nothing until it is below."""
    size_factor: float = 1.0
    """Plan as if partitions were larger by this factor, for example ahead of a longer retention."""

    def rules(self, replication: int | None = None) -> Rules:
        """The rules of a problem with these options."""
        return Rules(replication, self.min_racks, self.measure, self.within_racks, self.smallest_moved_bytes)


DEFAULTS = Options()


@dataclass(frozen=True)
class Request:
    """What a planner asks of the pipeline: its options applied to a cluster."""

    kind: str
    cluster: Cluster
    options: Options
    allowed: Flags
    """B: brokers that may hold replicas."""
    replication: int | None = None
    """None: as observed."""
    moves: bool = False
    """Whether replicas may move to balance, beyond those that must."""
    substitutes: Mapping[int, int] | None = None
    """Index of a leaving broker -> the broker that takes over its replicas."""
    leaving: Flags | None = None
    """B: brokers to empty, dead or alive; None: every live one that isn't allowed."""
    new: Flags | None = None
    """B: brokers that should lead their share, and get the replicas for it."""
    levels: bool = False
    """Whether the plan balances: then partitions that aren't in sync stay where they are."""
    without_set: Flags | None = None
    """P: partitions that were found to have no valid set, and that nobody asked to move."""
    refused: tuple[str, ...] = ()
    """Why they have none, by example."""
