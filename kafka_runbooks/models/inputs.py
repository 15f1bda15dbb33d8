"""What an operator asks of a runbook: one input model each."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AwareDatetime, Field, StringConstraints, field_validator, model_validator

from kafka_runbooks.models import patterns
from kafka_runbooks.models.base import Name, OperatorInput
from kafka_runbooks.models.change_windows import ChangeWindow
from kafka_runbooks.models.placement import MAX_UTILISATION, ReassignmentMap
from kafka_runbooks.models.restarts import RestartLimits
from kafka_runbooks.models.rotations import Mode
from kafka_runbooks.models.throttles import AdaptiveThrottle, Throttle

Level = Literal["utilisation", "used bytes", "replica count"]
BrokerIds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=1000)]
TopicItem = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
"""A topic's name (up to 249 characters), or a regular expression."""
Topics = Annotated[tuple[TopicItem, ...], Field(max_length=300)]
MOST_INLINE_PARTITIONS = 300
"""In a reassignment JSON that is part of an input, since the history keeps it."""
SHOWN_TARGETS = 3
"""Of what a run is about, in its workflow ID."""

T = TypeVar("T")


def _distinct(named: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(named)) != len(named):
        raise ValueError("one appears twice")
    return named


def _shown(named: Sequence[object]) -> str:
    more = len(named) - SHOWN_TARGETS
    return "+".join(map(str, named[:SHOWN_TARGETS])) + (f"+{more}" if more > 0 else "")


class NodeState(StrEnum):
    """What happened to the broker's node, as the operator knows it."""

    LOST = "lost"
    """The node and its disk are gone for good: the data must come from the other replicas."""
    RETURNS = "returns"
    """The node is drained or restarts and its disk comes back: only what was produced in the meantime must be copied."""


class RunbookInput(OperatorInput):
    """Input common to every runbook."""

    cluster: Name = Field(description="the cluster's name, as clusters.yaml has it")
    requester: Name = Field(description="who asks for the run; recorded in the history")
    ticket: str | None = Field(default=None, max_length=200, description="incident or change ticket; recorded")
    when_busy: Literal["fail", "wait", "skip"] = Field(
        default="fail",
        description="another runbook holds the cluster: fail immediately, wait in line, or end without a failure; with skip a "
        "run that waits for approval also gives way to any other",
    )

    @property
    def target(self) -> str:
        """What a run is about, for its workflow ID; empty where the cluster says enough."""
        return ""


class PlannedInput(RunbookInput):
    """Input common to runbooks that carry out a plan."""

    wait_for_approval: bool = Field(default=True, description="wait with the plan until someone approves it")
    acknowledged_risks: tuple[str, ...] = Field(default=(), max_length=1000, description="names of risks that preflight reports")


class CopyInput(PlannedInput):
    """Input common to runbooks whose plan copies data."""

    throttle: Throttle = Field(default_factory=AdaptiveThrottle)


class BrokerSelection(OperatorInput):
    """Brokers that have failed: by id, by the nodes they ran on, or all that a zone has lost.

    One can be given without brackets, also under the singular name: `"broker_id": 1002`, `"node": "kafka-7"`.
    """

    broker_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(),
        max_length=1000,
        description="the brokers' ids; or give nodes or zone",
        json_schema_extra={"option": "broker-id"},
    )
    nodes: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = Field(
        default=(),
        max_length=1000,
        description="the nodes they ran on; or give broker_ids or zone",
        json_schema_extra={"option": "node"},
    )
    zone: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="every broker of this zone whose node is gone (or, where node_state is returns, that isn't in sync)",
    )
    node_is_gone: bool = Field(
        default=False,
        description="confirms that the nodes will not come back: volumes are released without observing the nodes gone twice",
    )
    allow_other_rack: bool = Field(default=False, description="brokers may come back in another rack without a question")

    @model_validator(mode="before")
    @classmethod
    def _singular(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        found = dict(given)
        for one, many in (("broker_id", "broker_ids"), ("node", "nodes")):
            if found.get(one) is not None and found.get(many):
                raise ValueError(f"give {one} or {many}, not both")
            value = found.pop(one, None)
            value = found.get(many) if value is None else value
            if value is not None:
                found[many] = value if isinstance(value, list | tuple) else (value,)
        return found

    @field_validator("broker_ids", "nodes")
    @classmethod
    def _once(cls, named: tuple[Any, ...]) -> tuple[Any, ...]:
        return _distinct(named)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum((bool(self.broker_ids), bool(self.nodes), self.zone is not None)) != 1:
            raise ValueError("give exactly one of broker_ids, nodes and zone")
        return self


class ReplaceBrokerInput(CopyInput, BrokerSelection):
    """Bring brokers back whose nodes were lost, drained or restarted; or put another broker in the place of one.

    Name them by `broker_ids`, by the `nodes` they ran on, or by the `zone` that was lost. With `replacement_broker_id` the
    broker's partitions are reassigned onto that other, running broker instead of bringing the lost one back.
    """

    node_state: NodeState = Field(default=NodeState.LOST, description="lost: the disks are gone; returns: the disks come back")
    replacement_broker_id: int | None = Field(default=None, ge=0, description="reassign one broker's partitions onto this one")
    join: bool = Field(
        default=True, description="where a ReplaceBroker holds the cluster, it takes these brokers along; else when_busy applies"
    )

    @model_validator(mode="after")
    def _one_to_replace(self) -> Self:
        if self.replacement_broker_id is None:
            return self
        if len(self.broker_ids) + len(self.nodes) != 1:
            raise ValueError("replacement_broker_id takes the place of one broker; give one broker_id or node")
        if self.replacement_broker_id in self.broker_ids:
            raise ValueError("replacement_broker_id is broker_id itself; leave it out to bring the broker back")
        return self

    @property
    def target(self) -> str:
        """The brokers, the nodes they ran on, or the zone."""
        return _shown((*self.broker_ids, *self.nodes)) or str(self.zone)


class ClearLeftoversInput(RunbookInput):
    """Remove what terminated runs have left on a cluster: throttles, reassignments, cordons."""

    only_expired: bool = Field(default=False, description="only what is past its lease, for a schedule that runs often")


class CertificateWatchInput(OperatorInput):
    """See when the certificates of a cluster end, and have those renewed that are due."""

    cluster: Name = Field(description="the cluster's name, as clusters.yaml has it")
    when_due: Literal["report", "ask", "renew"] = Field(
        default="report",
        description="report: only say what is due; ask: start a renewal that waits for approval; renew: start one that doesn't",
    )


class HealthCheckInput(OperatorInput):
    """See what is wrong with a cluster now."""

    cluster: Name = Field(description="the cluster's name, as clusters.yaml has it")


class ThrottleRecoveryInput(RunbookInput):
    """Throttle brokers that catch up on their own, without any reassignment, until they are in sync."""

    brokers: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, max_length=1000, description="ids of the brokers")
    throttle: Throttle = Field(default_factory=AdaptiveThrottle)


class MoveLimits(OperatorInput):
    """How much may be in flight at once. A partition larger than a byte limit moves alone.

    A broker's `in` is what arrives on it, its `out` what it sends as leader (a new replica fetches from the leader). Moves that
    copy nothing (another order, fewer replicas) end at once and count against no broker.
    """

    moves_in_per_broker: int = Field(default=5, ge=1, le=1000, description="moves arriving on one broker at the same time")
    moves_out_per_broker: int = Field(default=5, ge=1, le=1000, description="moves sent by one broker at the same time")
    moves_at_once: int = Field(default=100, ge=1, le=10_000, description="moves in the whole cluster at the same time")
    bytes_in_per_broker: int | None = Field(default=None, ge=1, description="bytes arriving on one broker at the same time")
    bytes_out_per_broker: int | None = Field(default=None, ge=1, description="bytes sent by one broker at the same time")
    bytes_at_once: int | None = Field(default=None, ge=1, description="bytes in the whole cluster at the same time")

    def halved(self) -> "MoveLimits":
        """Half of every limit, at least one move: a partition of the cluster is at its min.insync.replicas."""
        return MoveLimits(
            moves_in_per_broker=max(1, self.moves_in_per_broker // 2),
            moves_out_per_broker=max(1, self.moves_out_per_broker // 2),
            moves_at_once=max(1, self.moves_at_once // 2),
            bytes_in_per_broker=_half(self.bytes_in_per_broker),
            bytes_out_per_broker=_half(self.bytes_out_per_broker),
            bytes_at_once=_half(self.bytes_at_once),
        )


def _half(limit: int | None) -> int | None:
    return None if limit is None else max(1, limit // 2)


class MoveInput(CopyInput):
    """Input common to runbooks that move data."""

    limits: MoveLimits = Field(default_factory=MoveLimits, description="how much may be in flight at once")
    change_windows: tuple[ChangeWindow, ...] = Field(
        default=(),
        max_length=50,
        description="when moves may start; a move that can't end in time is not started. Default: any time",
    )


class PlacementInput(MoveInput):
    """Input common to runbooks that choose where replicas go."""

    max_utilisation: float = Field(
        default=MAX_UTILISATION,
        gt=0,
        le=1,
        description="how full moves may make a disk, as a share of its capacity; a fuller one gets nothing",
    )


def _regexes(topics: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(patterns.check(topic) for topic in topics)


class RebalanceInput(PlacementInput):
    """Balance the brokers of a map, or of every map, by copying as few bytes as possible."""

    map: str | None = Field(default=None, max_length=200, description="only this map's brokers and topics; default: every map")
    topics: Topics = Field(default=(), description="names or whole-name regexes; default: all")
    target_spread: float | None = Field(
        default=None, ge=0, description="how far above the best possible spread is balanced enough (share of capacity, or bytes)"
    )
    level: Level = Field(default="utilisation", description="what to balance; utilisation is used bytes over capacity")
    max_moved_bytes: int | None = Field(default=None, ge=0, description="upper limit on bytes copied")

    _topics = field_validator("topics")(_regexes)


class ScaleUpInput(PlacementInput):
    """Give brokers that have joined, and hold nothing yet, their share of the data of their map."""

    brokers: BrokerIds = Field(description="ids of the new brokers")
    target_spread: float | None = Field(
        default=None, ge=0, description="how far above the best possible spread is balanced enough"
    )
    level: Level = Field(default="utilisation", description="what to balance; utilisation is used bytes over capacity")
    max_moved_bytes: int | None = Field(default=None, ge=0, description="upper limit on bytes copied")

    _brokers = field_validator("brokers")(_distinct)


class DecommissionInput(PlacementInput):
    """Empty brokers, or a rack, in one plan. With `remove_pods` their pods go too, where they are the highest ordinals."""

    brokers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), max_length=1000, description="ids; or give rack")
    rack: str | None = Field(default=None, max_length=200, description="every broker of this rack; or give brokers")
    remove_pods: bool = Field(default=False, description="scale the StatefulSet down once they are empty, and unregister them")

    _brokers = field_validator("brokers")(_distinct)

    @model_validator(mode="after")
    def _one(self) -> "DecommissionInput":
        if bool(self.brokers) == (self.rack is not None):
            raise ValueError("give exactly one of brokers and rack")
        return self


class SetReplicationFactorInput(PlacementInput):
    """Change the replication factor of topics. Lowering it copies nothing; raising it copies only the new replicas."""

    topics: Topics = Field(min_length=1, description="names, or regexes that match whole names")
    replication_factor: int = Field(ge=1, le=100, description="replicas of each partition")

    _topics = field_validator("topics")(_regexes)


class EvacuateLeadersInput(MoveInput):
    """Move leadership off brokers while their replicas stay; or, with `back`, return it as it was before the last evacuation."""

    brokers: BrokerIds = Field(description="ids of the brokers that should lead nothing")
    back: bool = Field(default=False, description="undo the evacuation of these brokers")

    _brokers = field_validator("brokers")(_distinct)


class RunPlanInput(MoveInput):
    """Carry out a reassignment JSON, in the format of kafka-reassign-partitions."""

    plan: ReassignmentMap | None = Field(default=None, description="the reassignment JSON; or give config_map")
    config_map: str | None = Field(
        default=None, max_length=253, description="a ConfigMap in the cluster's namespace that has it under one key"
    )

    @field_validator("plan")
    @classmethod
    def _small(cls, plan: ReassignmentMap | None) -> ReassignmentMap | None:
        if plan is not None and len(plan.partitions) > MOST_INLINE_PARTITIONS:
            raise ValueError(
                f"{len(plan.partitions)} partitions are too many for the history (at most {MOST_INLINE_PARTITIONS}): "
                "put it into a ConfigMap (kubectl create configmap NAME --from-file plan.json) and give config_map"
            )
        return plan

    @model_validator(mode="after")
    def _one(self) -> "RunPlanInput":
        if (self.plan is None) == (self.config_map is None):
            raise ValueError("give exactly one of plan and config_map")
        return self


class TopicReconcileInput(MoveInput):
    """Bring topics to what the definitions in the cluster's ConfigMaps say: make, configure, grow and move them.

    What no definition has is named and left alone.
    """

    adopt: bool = Field(default=False, description="reset configs that somebody set by hand and no definition has")
    when_harmless: Literal["ask", "go"] = Field(
        default="ask",
        description="a plan that only makes topics and sets configs: ask waits for approval like any other, go carries it out",
    )


class RestartInput(PlannedInput):
    """Input common to runbooks that restart nodes in rounds."""

    reason: str = Field(min_length=1, max_length=500, description="why; recorded in the history")
    limits: RestartLimits = Field(default_factory=RestartLimits, description="how many may be down at once")
    wait_for: Literal["in sync", "preferred leaders"] = Field(
        default="preferred leaders",
        description="when a round is over: its brokers are in sync, or lead again what they are preferred for",
    )


class RollingRestartInput(RestartInput):
    """Restart brokers and controllers in rounds, each as large as safety allows.

    What to restart is everything, or a `map`, or `node_ids`; of these, with `only_outdated` or `started_before`, those that need
    it.
    """

    node_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), max_length=1000, description="ids of brokers and controllers; default: all of them"
    )
    map: str | None = Field(default=None, max_length=200, description="only this map's brokers; default: every node")
    only_outdated: bool = Field(
        default=False, description="only those whose pod template or configuration file has changed since they started"
    )
    started_before: AwareDatetime | None = Field(default=None, description="only those that started before this time (RFC 3339)")

    _node_ids = field_validator("node_ids")(_distinct)

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if self.node_ids and self.map is not None:
            raise ValueError("give node_ids or map, not both")
        return self

    @property
    def target(self) -> str:
        """The nodes, or the map."""
        return self.map or _shown(self.node_ids)


class RestartEnsembleInput(PlannedInput):
    """Restart the members of the ZooKeeper ensemble, one after the other, the leader last.

    What to restart is every member, or `server_ids`; of these, with `only_outdated`, those whose pod template or TLS files have
    changed.
    """

    reason: str = Field(min_length=1, max_length=500, description="why; recorded in the history")
    server_ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), max_length=100, description="server ids of members; default: all of them"
    )
    only_outdated: bool = Field(
        default=False, description="only those whose pod template or TLS files have changed since they started"
    )

    _server_ids = field_validator("server_ids")(_distinct)

    @property
    def target(self) -> str:
        """The members."""
        return _shown(self.server_ids)


class MigrateToKraftInput(RestartInput):
    """Migrate a cluster of Kafka 3.9 from ZooKeeper to KRaft, or back, as long as the migration hasn't ended.

    Manifests are applied by whoever deploys the cluster. Each leg of the way says at its gate what to apply, waits until it sees
    that, and restarts what has to. Where the migration is, is told by the cluster: a new run goes on from there.
    """

    back: bool = Field(default=False, description="back to ZooKeeper mode, from wherever the migration is")

    @property
    def target(self) -> str:
        """The way."""
        return "zookeeper" if self.back else "kraft"


class UpgradeInput(RestartInput):
    """Roll out a changed pod template (another image of Kafka, above all), with a canary first and the features at the end.

    The template is changed by whoever deploys the cluster; under `OnDelete` that alone restarts nothing. Every node whose pod is
    of an older template is restarted.
    """

    canary_soak_seconds: float = Field(
        default=600,
        ge=0,
        le=86_400,
        description="how long the first broker is compared with its peers before the others follow; 0: no canary",
    )
    canary_node_id: int | None = Field(
        default=None, ge=0, description="the canary; default: an average broker of the map with the most outdated brokers"
    )
    tolerated_slowdown: float = Field(
        default=1.5,
        ge=1,
        le=100,
        description="how much slower than its peers the canary's requests (p99) may be, over what was usual before",
    )
    finalise_features: bool = Field(
        default=True,
        description="at the end finalise metadata.version and the other features as far as all brokers support them; "
        "there is no way back from that, so it is asked for on its own",
    )


class RotateCertificatesInput(RestartInput):
    """Renew the certificates of all nodes, have another authority issue them, or change their names.

    Nodes load them without a restart. Each phase begins with one broker, and goes on once handshakes prove it; what isn't proven
    is taken back.
    """

    mode: Mode = Field(
        description="renew: the same authority and names; change-authority: another one, trusted by all before it is used, and "
        "the old one dropped at the end; change-names: other subjects or subject alternative names"
    )
    issuer: str | None = Field(
        default=None,
        max_length=200,
        description="the issuer, as clusters.yaml names it; default: the one that it names as `issuer`",
    )
    subject: str | None = Field(
        default=None, max_length=500, description="the new subject, for change-names; {pod} stands for the pod's name"
    )
    names: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = Field(
        default=(),
        max_length=20,
        description="the new subject alternative names, for change-names; {pod} stands for the pod's name",
    )
    ending_within_days: float | None = Field(
        default=None, gt=0, description="renew only certificates that end within so many days; default: all"
    )
    canary_node_id: int | None = Field(default=None, ge=0, description="the broker that begins; default: one with average load")
    at_once: int = Field(default=5, ge=1, le=100, description="brokers that change together, after the first")
    restarts: Literal["now", "later"] = Field(
        default="now",
        description="change-authority: restart nodes where only that makes connections of the quorum use the new authority; "
        "later: none restarts, and the old authority is trusted until a run that may",
    )

    break_glass: bool = Field(
        default=False,
        description="renew: certificates have expired, so that nobody can ask Kafka which nodes may be down: those nodes restart "
        "one after the other without that, controllers first",
    )

    @model_validator(mode="after")
    def _fits_mode(self) -> Self:
        if self.break_glass and (self.mode != "renew" or not self.wait_for_approval):
            raise ValueError("break_glass is for mode renew, and waits for approval")
        if (self.subject is not None or bool(self.names)) != (self.mode == "change-names"):
            raise ValueError("subject and names are for mode change-names, which needs at least one of them")
        if self.ending_within_days is not None and self.mode != "renew":
            raise ValueError("ending_within_days is for mode renew")
        return self

    @property
    def target(self) -> str:
        """What changes."""
        return self.mode


class DrainInput(PlannedInput):
    """Take brokers and controllers off nodes before maintenance, and bring them back; or let those go that a drain waits for.

    With `nodes` the run cordons them, shuts down what runs on them as soon as that is safe, and holds them until you send
    `uncordon`. With `announced` it does the same for nodes that somebody else drains, leaves them as they are, and ends.
    """

    reason: str = Field(min_length=1, max_length=500, description="why; recorded in the history")
    nodes: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = Field(
        default=(),
        max_length=1000,
        description="names of Kubernetes nodes; or give announced",
        json_schema_extra={"option": "node"},
    )
    announced: bool = Field(
        default=False,
        description="every node that somebody else has cordoned, or that an autoscaler or a spot notice has tainted",
    )
    limits: RestartLimits = Field(default_factory=RestartLimits, description="how many may be down at once")

    _nodes = field_validator("nodes")(_distinct)

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if bool(self.nodes) == self.announced:
            raise ValueError("give exactly one of nodes and announced")
        return self

    @property
    def target(self) -> str:
        """The nodes, or that it is about all that are announced."""
        return "announced" if self.announced else _shown(self.nodes)
