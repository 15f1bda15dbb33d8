"""Every reason not to carry out a plan of moves now, all at once, each with its remedy.

Pure: from the plan and the observed cluster to reasons. Why there is no plan at all (no space, too few racks), placement says.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, Reassignment, TopicPartition
from kafka_runbooks.models.kubernetes import BrokerPod, StatefulSet
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import listed, min_isr_of


def reasons_not_to_move(
    plan: MovePlan, snapshot: ClusterSnapshot, reassignments: Sequence[Reassignment], acknowledged_risks: Sequence[str] = ()
) -> list[Reason]:
    """All reasons, without the risks that are acknowledged."""
    planned = {move.name for move in plan.moves}
    found = [
        *foreign_reassignments([move for move in reassignments if move.name in planned]),
        *_destinations_down(plan, snapshot),
        *_leaderless(plan, snapshot),
        *_sources_down(plan, snapshot),
        *_below_minimum(plan, snapshot),
        *(_fewer_racks(plan, snapshot) if plan.checks_racks else ()),
    ]
    return [reason for reason in found if not (reason.can_be_acknowledged and reason.name in acknowledged_risks)]


def _destinations_down(plan: MovePlan, snapshot: ClusterSnapshot) -> list[Reason]:
    live = snapshot.live_broker_ids
    return [
        Reason(
            name=f"destination-is-down:{broker}",
            message=f"{len(moves)} moves lead onto broker {broker}, which is not registered with the cluster ({_names(moves)})",
            remedy=f"start broker {broker}, or plan onto live ones: {', '.join(map(str, sorted(live)))}",
        )
        for broker, moves in _by_broker(plan, lambda move: [b for b in move.arriving if b not in live]).items()
    ]


def _leaderless(plan: MovePlan, snapshot: ClusterSnapshot) -> list[Reason]:
    leaderless = {partition.name for partition in snapshot.partitions if partition.leader is None}
    return [
        Reason(
            name=f"no-leader:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: no leader, so there is nothing to copy from",
            remedy="bring back a broker that has an in-sync replica of it",
        )
        for topic, numbers in _by_topic([move for move in plan.moves if move.arriving and move.name in leaderless]).items()
    ]


def _sources_down(plan: MovePlan, snapshot: ClusterSnapshot) -> list[Reason]:
    live = snapshot.live_broker_ids
    return [
        Reason(
            name=f"broker-is-down:{broker}",
            message=f"broker {broker} is down: the plan copies {len(moves)} replicas again that would come back with it",
            remedy=f'bring broker {broker} back first, or acknowledge with acknowledged_risks ["broker-is-down:{broker}"]',
            can_be_acknowledged=True,
        )
        for broker, moves in _by_broker(
            plan, lambda move: [b for b in move.before if b not in live and b not in move.after and b not in plan.leaving]
        ).items()
    ]


def _below_minimum(plan: MovePlan, snapshot: ClusterSnapshot) -> list[Reason]:
    """Fewer replicas than `min.insync.replicas`: Kafka then lowers the minimum to their number, and none can be spared."""
    shrunk = [
        move for move in plan.moves if len(move.after) < len(move.before) and len(move.after) < min_isr_of(snapshot, move.topic)
    ]
    return [
        Reason(
            name=f"below-minimum:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: fewer replicas than min.insync.replicas "
            f"({min_isr_of(snapshot, topic)}): acks=all writes are refused while any of them is down",
            remedy=f'lower min.insync.replicas first, or acknowledge with acknowledged_risks ["below-minimum:{topic}"]',
            can_be_acknowledged=True,
        )
        for topic, numbers in _by_topic(shrunk).items()
    ]


def _fewer_racks(plan: MovePlan, snapshot: ClusterSnapshot) -> list[Reason]:
    racks = {broker.id: broker.rack or f"(broker {broker.id})" for broker in snapshot.brokers}
    return [
        Reason(
            name=f"fewer-racks:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: its replicas would span fewer racks than now",
            remedy=f'spread them over racks, or acknowledge with acknowledged_risks ["fewer-racks:{topic}"]',
            can_be_acknowledged=True,
        )
        for topic, numbers in _by_topic(
            [move for move in plan.moves if _racks(move.after, racks) < min(_racks(move.before, racks), len(move.after))]
        ).items()
    ]


def reasons_not_to_remove(
    leaving: Collection[int], pods: Sequence[BrokerPod], stateful_sets: Sequence[StatefulSet]
) -> list[Reason]:
    """A StatefulSet can lose only its highest ordinals: pods of other ones would come back as soon as they are deleted."""
    found = []
    sets = {one.name: one for one in stateful_sets}
    for name, going in sorted(_by_set(leaving, pods).items()):
        if (wanted := sets.get(name)) is None:
            found.append(
                Reason(
                    name=f"no-stateful-set:{name}",
                    message=f"remove_pods: {', '.join(pod.name for pod in going)}: no StatefulSet with a map's labels has them",
                    remedy="label it (docs/quickstart.md), or leave out remove_pods and delete the pods' owner yourself",
                )
            )
            continue
        first = wanted.end - len(going)
        wrong = [pod for pod in going if ordinal(pod) < first]
        if wrong:
            highest = [pod for pod in pods if pod.stateful_set == name and ordinal(pod) >= first]
            found.append(
                Reason(
                    name=f"not-the-highest-ordinals:{name}",
                    message=f"remove_pods: {', '.join(f'broker {pod.broker_id} is pod {pod.name}' for pod in wrong)}; "
                    f"StatefulSet {name} can lose only its highest ordinals: "
                    + ", ".join(f"{pod.name} (broker {pod.broker_id})" for pod in sorted(highest, key=ordinal)),
                    remedy="decommission those brokers instead, or leave out remove_pods and keep empty brokers",
                )
            )
        if len(going) == wanted.replicas:
            found.append(
                Reason(
                    name=f"last-pods:{name}",
                    message=f"remove_pods: StatefulSet {name} would have no pod left",
                    remedy="leave out remove_pods, and delete the StatefulSet yourself once its brokers are empty",
                )
            )
        if wanted.deletes_claims:
            found.append(
                Reason(
                    name=f"claims-are-deleted:{name}",
                    message=f"remove_pods: StatefulSet {name} has persistentVolumeClaimRetentionPolicy.whenScaled: Delete, so "
                    "the disks would go with the pods, before anyone could look whether they are still empty",
                    remedy="set whenScaled: Retain; the runbook deletes the claims",
                )
            )
    return found


def _by_set(leaving: Collection[int], pods: Sequence[BrokerPod]) -> dict[str, list[BrokerPod]]:
    found: dict[str, list[BrokerPod]] = {}
    for pod in pods:
        if pod.broker_id in leaving:
            found.setdefault(pod.stateful_set, []).append(pod)
    return found


def ordinal(pod: BrokerPod) -> int:
    """The number at the end of a StatefulSet's pod's name."""
    return int(pod.name.rsplit("-", 1)[1])


def foreign_reassignments(moving: Sequence[Reassignment]) -> list[Reason]:
    """Reassignments that someone else started on partitions of the plan."""
    if not moving:
        return []
    return [
        Reason(
            name="foreign-reassignment",
            message=f"{len(moving)} partitions are being reassigned by someone else: "
            + ", ".join(str(move.name) for move in moving[:10]),
            remedy='wait until they end (when_busy "wait" does), or cancel them where they were started',
        )
    ]


def _racks(brokers: Sequence[int], racks: Mapping[int, str]) -> int:
    return len({racks.get(broker, f"(broker {broker})") for broker in brokers})


def _names(moves: Sequence[Move]) -> str:
    return ", ".join(str(move.name) for move in moves[:5])


def _by_broker(plan: MovePlan, brokers_of: Callable[[Move], list[int]]) -> dict[int, list[Move]]:
    found: dict[int, list[Move]] = {}
    for move in plan.moves:
        for broker in brokers_of(move):
            found.setdefault(broker, []).append(move)
    return dict(sorted(found.items()))


def _by_topic(moves: Sequence[Move]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name in sorted(TopicPartition(move.topic, move.partition) for move in moves):
        found.setdefault(name.topic, []).append(name.partition)
    return found
