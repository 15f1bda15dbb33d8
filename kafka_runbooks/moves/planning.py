"""From what an operator asks to a placement plan: which planner, on which maps, and what speaks against the rest of the request.

One function for each runbook that moves data. All of them take an observation of the cluster and the input, and none of them
changes anything.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kafka_runbooks.models.cluster import (
    ClusterSnapshot,
    MetadataQuorum,
    Reassignment,
    Replica,
    ReplicaSizes,
    TopicPartition,
)
from kafka_runbooks.models.inputs import (
    DecommissionInput,
    EvacuateLeadersInput,
    RebalanceInput,
    ScaleUpInput,
    SetReplicationFactorInput,
)
from kafka_runbooks.models.kubernetes import BrokerPod, StatefulSet
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.placement import PartitionAssignment, ReassignmentMap
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.steps import StepName
from kafka_runbooks.placement import planners
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.map_regions import regions
from kafka_runbooks.placement.maps import Regions
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import Options, given
from kafka_runbooks.placement.snapshots import assignments
from kafka_runbooks.safety.availability import leaders_that_stay
from kafka_runbooks.safety.given_plan import leaves_its_map
from kafka_runbooks.safety.moves import reasons_not_to_remove
from kafka_runbooks.safety.voters import (
    STATIC,
    joins_again,
    lacks_its_vote,
    reasons_not_to_leave,
    said_of_joining,
    said_of_leaving,
)

MOVE_STEPS = (StepName.REASSIGN, StepName.ELECT, StepName.RELEASE, StepName.PROVE)
EMPTY_STEPS = (StepName.CORDON_LOG_DIRECTORIES, *MOVE_STEPS)
REMOVE_STEPS = (
    StepName.CORDON_LOG_DIRECTORIES,
    StepName.REASSIGN,
    StepName.ELECT,
    StepName.REMOVE_PODS,
    StepName.UNREGISTER,
    StepName.RELEASE,
    StepName.PROVE,
)


LEAVE_STEPS = tuple(
    step for one in REMOVE_STEPS for step in ((StepName.LEAVE_QUORUM, one) if one is StepName.REMOVE_PODS else (one,))
)
JOIN_STEPS = (StepName.REASSIGN, StepName.ELECT, StepName.JOIN_QUORUM, StepName.RELEASE, StepName.PROVE)


@dataclass(frozen=True)
class ClusterObservation:
    """Everything that a plan is made from, as observed at one time."""

    snapshot: ClusterSnapshot
    sizes: ReplicaSizes
    reassignments: tuple[Reassignment, ...]
    map_of: Mapping[int, str]
    """Broker -> its map; a broker without a labelled pod is in none."""
    cluster: Cluster
    """The same as placement's arrays."""

    def size_bytes(self, topic: str, partition: int, brokers: Collection[int]) -> int:
        """A partition's size: its largest replica's."""
        return max((self.sizes.size_bytes.get(Replica(topic, partition, broker), 0) for broker in brokers), default=0)

    def regions(self, only: Collection[str] | None = None) -> Regions | None:
        """The regions of the cluster's maps; see `placement.map_regions`."""
        return regions(self.cluster, self.snapshot.partitions, self.map_of, only)

    def maps_of(self, brokers: Collection[int]) -> list[str] | None:
        """The maps of these brokers; None where they are in none."""
        return sorted({self.map_of[broker] for broker in brokers if broker in self.map_of}) or None


@dataclass(frozen=True)
class Controllers:
    """What is known of the controllers among the brokers that a runbook is about."""

    quorum: MetadataQuorum | None
    """None in ZooKeeper mode."""
    ids: frozenset[int] = frozenset()
    """Brokers that are controllers too, by their own word."""
    joining_by_themselves: frozenset[int] = frozenset()
    """Those that make themselves voters (KIP-1186)."""


@dataclass(frozen=True)
class PlannerResult:
    """What a planner made of a request."""

    plan: Plan
    title: str
    nothing: str
    """What to report where there is nothing to do."""
    steps: tuple[StepName, ...] = MOVE_STEPS
    leaving: tuple[int, ...] = ()
    reasons: Sequence[Reason] = ()
    """What speaks against what the runbook does besides moving."""
    continues_without_moves: bool = False
    """There is something to do although nothing moves."""
    leads_nothing: tuple[int, ...] = ()
    """Brokers that must lead nothing in the end."""
    leaving_voters: tuple[int, ...] = ()
    joining_voters: tuple[int, ...] = ()
    notices: tuple[str, ...] = ()
    """What is to be known of what the runbook does besides moving."""
    parts: tuple[Plan, ...] = ()
    """The plans that it is made of, where each asks something else of its partitions."""
    is_given: bool = False
    """An operator brought the assignment: what planners promise, preflight reports as risks."""


def rebalance(observed: ClusterObservation, request: RebalanceInput) -> PlannerResult:
    """Balance the brokers of a map, or of every map."""
    options = Options(
        topics=request.topics or None,
        regions=observed.regions(None if request.map is None else (request.map,)),
        measure=request.level,
        target_spread=request.target_spread,
        max_moved_bytes=request.max_moved_bytes,
        max_utilisation=request.max_utilisation,
    )
    what = f"map {request.map}" if request.map is not None else "every map" if options.regions is not None else "the cluster"
    plan = planners.rebalance(observed.cluster, options)
    return PlannerResult(plan, f"rebalance {what}", f"{what} is as balanced as it can be")


def scale_up(observed: ClusterObservation, request: ScaleUpInput, controllers: Controllers) -> PlannerResult:
    """Bring new brokers to the average of their map; those that are controllers too become voters."""
    new, live = listed(request.brokers), observed.snapshot.live_broker_ids
    if down := sorted(set(request.brokers) - live):
        raise InvalidRequest(f"brokers: {down} are not registered with the cluster; live: {sorted(live)}")
    options = Options(
        regions=observed.regions(observed.maps_of(request.brokers)),
        measure=request.level,
        target_spread=request.target_spread,
        max_moved_bytes=request.max_moved_bytes,
        max_utilisation=request.max_utilisation,
    )
    # An interrupted run has brought something already.
    resumed = any(set(request.brokers) & set(partition.replicas) for partition in observed.snapshot.partitions)
    plan = planners.scale_up(observed.cluster, request.brokers, options, resumed=resumed)
    joining, notices = _joining(controllers)
    return PlannerResult(
        plan,
        f"scale up with brokers {new}",
        f"brokers {new} have their share",
        steps=JOIN_STEPS if joining else MOVE_STEPS,
        joining_voters=joining,
        notices=notices,
        continues_without_moves=bool(joining),
    )


def _joining(controllers: Controllers) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Controllers that become voters, and what is to be said of that."""
    quorum = controllers.quorum
    joining = () if quorum is None else tuple(sorted(one for one in controllers.ids if lacks_its_vote(quorum, one)))
    if quorum is None or not joining:
        return (), ()
    if quorum.is_static:
        return (), (f"controller {listed(joining)} stays without a vote: {STATIC}",)
    return joining, (said_of_joining(quorum, joining),)


def decommission(
    observed: ClusterObservation,
    request: DecommissionInput,
    pods: Sequence[BrokerPod],
    stateful_sets: Sequence[StatefulSet],
    racks: Mapping[int, str | None],
    controllers: Controllers,
) -> PlannerResult:
    """Everything off some brokers, or off a rack; where their pods are to go, they leave the metadata quorum first.

    Args:
        racks: of every broker that is registered with Kafka or was ever given an id, up or down.
    """
    leaving = leaving_brokers(observed, request, pods, racks)
    # One that is down and holds nothing isn't in the metadata any more; there may still be a pod to remove.
    known = sorted(set(leaving) & set(observed.cluster.broker_ids.tolist()))
    options = Options(regions=observed.regions(observed.maps_of(known)), leaders="keep", max_utilisation=request.max_utilisation)
    if known:
        plan = planners.decommission(observed.cluster, known, options)
    else:
        plan = given(observed.cluster, ReassignmentMap(partitions=()))
    quorum = controllers.quorum
    voters = () if quorum is None else tuple(sorted(quorum.voter_ids.intersection(leaving)))
    result = PlannerResult(
        plan,
        f"decommission brokers {listed(leaving)}",
        f"brokers {listed(leaving)} hold no replica",
        steps=REMOVE_STEPS if request.remove_pods else EMPTY_STEPS,
        leaving=leaving,
        reasons=reasons_not_to_remove(leaving, pods, stateful_sets) if request.remove_pods else (),
        continues_without_moves=request.remove_pods,
    )
    if quorum is None or not voters:
        return result
    if not request.remove_pods:
        return replace(result, notices=(f"controller {listed(voters)} keeps its vote in the metadata quorum: its pod stays",))
    against = (*reasons_not_to_leave(quorum, voters), *joins_again(controllers.joining_by_themselves.intersection(voters)))
    return replace(
        result,
        steps=LEAVE_STEPS,
        reasons=(*result.reasons, *against),
        leaving_voters=voters,
        notices=(said_of_leaving(quorum, voters),),
    )


def leaving_brokers(
    observed: ClusterObservation, request: DecommissionInput, pods: Sequence[BrokerPod], racks: Mapping[int, str | None]
) -> tuple[int, ...]:
    """The brokers that are meant, by id or by rack. A broker that is down is of its rack still, if anything is left of it.

    Raises:
        InvalidRequest: nobody knows such a broker or rack, or the rack of a broker that is down isn't known.
    """
    snapshot = observed.snapshot
    there = {*observed.cluster.broker_ids.tolist(), *(pod.broker_id for pod in pods if pod.broker_id is not None)}
    if request.rack is None:
        known = there | racks.keys()
        if unknown := sorted(set(request.brokers) - known):
            raise InvalidRequest(f"brokers: {unknown} are unknown to the cluster; known: {sorted(known)}")
        return tuple(sorted(request.brokers))
    there |= snapshot.registered_broker_ids
    found = tuple(sorted(broker for broker in there if racks.get(broker) == request.rack))
    if not found:
        names = sorted({rack for rack in racks.values() if rack is not None})
        raise InvalidRequest(f"rack: no broker is in {request.rack!r}; known: {names}")
    if unknown := sorted(broker for broker in snapshot.down_broker_ids if racks.get(broker) is None):
        raise InvalidRequest(
            f"rack: brokers {unknown} hold replicas, are down, and their rack isn't known, so they may be of {request.rack!r} "
            f"too: give the brokers by id (live ones of it: {sorted(set(found) & snapshot.live_broker_ids)})"
        )
    return found


def replication_factor(observed: ClusterObservation, request: SetReplicationFactorInput) -> PlannerResult:
    """Another replication factor."""
    options = Options(topics=request.topics, regions=observed.regions(), leaders="keep", max_utilisation=request.max_utilisation)
    plan = planners.set_replication(observed.cluster, request.replication_factor, options)
    what = f"replication factor {request.replication_factor} for {', '.join(request.topics[:5])}"
    return PlannerResult(plan, what, f"{what}: it is so already", reasons=_left_as_they_are(observed, request, options))


def _left_as_they_are(observed: ClusterObservation, request: SetReplicationFactorInput, options: Options) -> tuple[Reason, ...]:
    """Partitions that keep their replicas since none of them is in sync: nobody can acknowledge that away."""
    names = planners.left_as_they_are(observed.cluster, request.replication_factor, options)
    message = f"{names} have no live in-sync replica: any other set would lose data"
    remedy = "bring back a broker that has an in-sync replica"
    return (Reason(name="no-in-sync-replica", message=message, remedy=remedy),) if names else ()


def evacuation(observed: ClusterObservation, request: EvacuateLeadersInput) -> PlannerResult:
    """No preferred leader on some brokers."""
    names = listed(request.brokers)
    plan = planners.evacuate_leaders(observed.cluster, request.brokers)
    after = {
        TopicPartition(topic, partition): replicas
        for topic, partition, replicas in assignments(plan.cluster, plan.after, range(plan.cluster.partition_count))
    }
    return PlannerResult(
        plan,
        f"evacuate leaders from brokers {names}",
        f"brokers {names} lead nothing and are no partition's preferred leader",
        reasons=leaders_that_stay(observed.snapshot, after, request.brokers),
        leads_nothing=tuple(sorted(request.brokers)),
        continues_without_moves=any(partition.leader in request.brokers for partition in observed.snapshot.partitions),
    )


def return_of_leaders(observed: ClusterObservation, request: EvacuateLeadersInput, evacuated: MovePlan | None) -> PlannerResult:
    """The orders of before the evacuation, for what is still as it left it.

    Raises:
        InvalidRequest: no evacuation of these brokers is known.
    """
    if evacuated is None:
        raise InvalidRequest(f"brokers: no evacuation of exactly the brokers {sorted(request.brokers)} is known")
    now = {partition.name: partition.replicas for partition in observed.snapshot.partitions}
    gone = evacuated.gone(observed.snapshot)
    wanted = ReassignmentMap(
        partitions=tuple(
            PartitionAssignment(topic=move.topic, partition=move.partition, replicas=move.before)
            for move in evacuated.moves
            if now.get(move.name) == move.after and move.name not in gone
        )
    )
    names = listed(request.brokers)
    plan = given(observed.cluster, wanted, "leaders back")
    return PlannerResult(
        plan, f"leaders back to brokers {names}", f"brokers {names} lead what they led before the evacuation", is_given=True
    )


def reassignment(observed: ClusterObservation, wanted: ReassignmentMap) -> PlannerResult:
    """The assignment that an operator brings, exactly as it is.

    Raises:
        InvalidRequest: unknown or repeated partitions or brokers; names each entry.
    """
    if not wanted.partitions:
        raise InvalidRequest("plan.partitions: it is empty")
    known = {(partition.topic, partition.partition) for partition in observed.snapshot.partitions}
    brokers = set(observed.cluster.broker_ids.tolist())
    first_of: dict[tuple[str, int], int] = {}
    wrong = []
    for number, entry in enumerate(wanted.partitions):
        where = f"plan.partitions.{number}"
        if (entry.topic, entry.partition) not in known:
            wrong.append(f"{where}: {entry.topic}-{entry.partition} is unknown to the cluster")
        if (first := first_of.setdefault((entry.topic, entry.partition), number)) != number:
            wrong.append(f"{where}: {entry.topic}-{entry.partition} is in plan.partitions.{first} already")
        if len(set(entry.replicas)) != len(entry.replicas):
            wrong.append(f"{where}.replicas: a broker appears twice in {list(entry.replicas)}")
        if unknown := sorted(set(entry.replicas) - brokers):
            wrong.append(f"{where}.replicas: {unknown} are unknown to the cluster; known: {sorted(brokers)}")
    if wrong:
        raise InvalidRequest("; ".join(wrong[:20]) + (f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""))
    what = f"{len(wanted.partitions)} partitions"
    plan = given(observed.cluster, wanted)
    now = {partition.name: partition.replicas for partition in observed.snapshot.partitions}
    named = [(TopicPartition(entry.topic, entry.partition), entry.replicas) for entry in wanted.partitions]
    return PlannerResult(
        plan,
        f"run the given plan of {what}",
        f"{what} are where the plan wants them",
        reasons=leaves_its_map([(name, now[name], replicas) for name, replicas in named], observed.map_of),
        is_given=True,
    )


def listed(brokers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(brokers)))
