"""Nodes of a cluster that restart together, within which limits, and in which rounds."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from kafka_runbooks.models.base import Model, OperatorInput
from kafka_runbooks.models.cluster import ClusterSnapshot, MetadataQuorum, Reassignment
from kafka_runbooks.models.results import Reason, Reasons

FETCH_TIMEOUT_SECONDS = 2.0
"""Kafka's default of `controller.quorum.fetch.timeout.ms`: a voter that is further behind starts an election."""


@dataclass(frozen=True)
class RestartObservation:
    """What was seen of a cluster, and how long ago."""

    snapshot: ClusterSnapshot
    quorum: MetadataQuorum | None
    """None in ZooKeeper mode only."""
    reassignments: Sequence[Reassignment]
    age_seconds: float
    """Since the first of the questions was asked."""
    fetch_timeout_seconds: float = FETCH_TIMEOUT_SECONDS
    """The controllers' `controller.quorum.fetch.timeout.ms`."""
    shutting_down: Sequence["KafkaNode"] = ()
    """Nodes whose pods somebody has told to end, whoever it was: each may still serve, and is about to be down."""

    @property
    def active_controller(self) -> int | None:
        """In KRaft the quorum's leader: a broker that is asked for metadata names any live broker."""
        return self.snapshot.controller_id if self.quorum is None else self.quorum.leader_id


class KafkaNode(Model):
    """One Kafka process: a broker, a controller, or both (KRaft's combined mode)."""

    id: int
    is_broker: bool = True
    is_controller: bool = False
    rack: str | None = None
    map: str | None = None
    is_ready: bool = True
    """A node that isn't is sick: sick ones restart first."""


class RestartLimits(OperatorInput):
    """How much may be down at once, besides what in-sync replicas and the quorum allow."""

    at_once: int | None = Field(
        default=None, ge=1, le=1000, description="nodes that restart together at most; default: as many as safety allows"
    )
    at_once_per_map: int | None = Field(default=None, ge=1, le=1000, description="the same for each map; default: no limit")
    one_rack_at_a_time: bool = Field(default=True, description="only nodes of one rack restart together")
    headroom: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="in-sync replicas to keep above min.insync.replicas, and voters above the majority; default: all others",
    )


class BlockedNode(Model):
    """A node that can't restart in any round of a plan, and why."""

    id: int
    reasons: Reasons


class RestartRounds(Model):
    """What restarts together, in order: each round is back and in sync before the next one begins."""

    rounds: tuple[tuple[int, ...], ...]
    blocked: tuple[BlockedNode, ...] = ()
    lower_bound_rounds: int = 0
    """No order of the same nodes within the same limits has fewer."""
    makespan_seconds: float = 0.0
    lower_bound_seconds: float = 0.0

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Of all that is blocked, each once."""
        return tuple(dict.fromkeys(reason for node in self.blocked for reason in node.reasons))
