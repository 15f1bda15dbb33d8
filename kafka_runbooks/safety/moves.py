"""Every reason not to carry out a plan of moves now, all at once, each with its remedy.

Pure: from the plan and the observed cluster to reasons. Why there is no plan at all (no space, too few racks), placement says.
"""

from collections.abc import Callable, Collection, Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, Reassignment
from kafka_runbooks.models.kubernetes import BrokerPod, StatefulSet
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import by_topic, effective_min_isr, listed, min_isr_margin, min_isr_of
from kafka_runbooks.safety.given_plan import less_spread, taken_at_its_word


def reasons_not_to_move(
    plan: MovePlan, snapshot: ClusterSnapshot, reassignments: Sequence[Reassignment], acknowledged_risks: Sequence[str] = ()
) -> list[Reason]:
    """All reasons, without the risks that are acknowledged."""
    planned = {move.name for move in plan.moves}
    found = [
        *foreign_reassignments([move for move in reassignments if move.name in planned]),
        *_destinations_down(plan, snapshot),
        *_leaderless(plan, snapshot),
        *_without_good_replica(plan, snapshot),
        *_sources_down(plan, snapshot),
        *_refuses_writes_meanwhile(plan, snapshot),
        *_below_minimum(plan, snapshot),
        *(taken_at_its_word(plan, snapshot) if plan.is_given else ()),
        *(less_spread(plan, snapshot) if plan.checks_racks else ()),
    ]
    return unacknowledged(found, acknowledged_risks)


def unacknowledged(reasons: Sequence[Reason], acknowledged_risks: Collection[str]) -> list[Reason]:
    """Without those that an operator has acknowledged, and that can be."""
    return [reason for reason in reasons if not (reason.can_be_acknowledged and reason.name in acknowledged_risks)]


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
        for topic, numbers in by_topic([move for move in plan.moves if move.arriving and move.name in leaderless]).items()
    ]


def _without_good_replica(plan: MovePlan, snapshot: ClusterSnapshot) -> list[Reason]:
    """Moves that would take a partition's last good replica, the one on a live broker that is in sync.

    Kafka carries out a reassignment that only removes replicas at once, whoever is in sync. Nobody can acknowledge it: what a
    broker that is down has alone comes back with it, and is lost for good once its replica is removed.
    """
    partitions = {partition.name: partition for partition in snapshot.partitions}
    found: dict[str, tuple[list[int], set[int]]] = {}
    for move in plan.moves:
        partition = partitions.get(move.name)
        if partition is None or set(move.after) == set(move.before):
            continue
        good = [broker for broker in partition.in_sync if broker in snapshot.live_broker_ids]
        # With a leader, what arrives is in sync before anything leaves; without one nothing arrives (`no-leader`).
        if move.arriving or set(good) & set(move.after):
            continue
        numbers, holders = found.setdefault(move.topic, ([], set()))
        numbers.append(move.partition)
        holders.update(good or partition.in_sync)
    return [
        Reason(
            name=f"last-in-sync-replica:{topic}",
            message=f"topic {topic}, partition {listed(sorted(numbers))}: no live in-sync replica would be left; the data is on "
            f"broker {listed(sorted(holders)) or 'none'} alone",
            remedy=f"bring back broker {listed(sorted(holders))} and wait until the others are in sync"
            if holders
            else "bring back a broker that has an in-sync replica",
        )
        for topic, (numbers, holders) in sorted(found.items())
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


def _refuses_writes_meanwhile(plan: MovePlan, snapshot: ClusterSnapshot) -> list[Reason]:
    """Partitions that take acks=all writes now and won't until their move ends.

    Kafka asks for `min.insync.replicas` in-sync replicas or all there are, whichever is less; the ones that arrive count among
    those there are from the start, and are in sync only at the end. So one of two replicas with a minimum of three, all in sync,
    takes writes, but not while a third one arrives.
    """
    partitions, live = {partition.name: partition for partition in snapshot.partitions}, snapshot.live_broker_ids
    refusing = []
    for move in plan.moves:
        partition, minimum = partitions.get(move.name), min_isr_of(snapshot, move.topic)
        if partition is None or not move.arriving or min_isr_margin(partition, minimum, live) < 0:
            continue
        in_sync = sum(1 for broker in partition.in_sync if broker in live)
        if in_sync < effective_min_isr({*move.before, *move.after}, minimum):
            refusing.append(move)
    return [
        Reason(
            name=f"refuses-writes-meanwhile:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: in-sync replicas are fewer than min.insync.replicas "
            f"({min_isr_of(snapshot, topic)}): acks=all writes are refused while its replicas move",
            remedy="lower min.insync.replicas first, wait until more are in sync, or acknowledge with acknowledged_risks "
            f'["refuses-writes-meanwhile:{topic}"]',
            can_be_acknowledged=True,
        )
        for topic, numbers in by_topic(refusing).items()
    ]


def _below_minimum(plan: MovePlan, snapshot: ClusterSnapshot) -> list[Reason]:
    """No more replicas than `min.insync.replicas`: none can be spared. (With fewer, Kafka lowers the minimum to their number.)"""
    shrunk = [move for move in plan.moves if len(move.after) < len(move.before)]
    exact = [move for move in shrunk if len(move.after) == min_isr_of(snapshot, move.topic)]
    shrunk = [move for move in shrunk if len(move.after) < min_isr_of(snapshot, move.topic)]
    return [
        *(
            Reason(
                name=f"no-spare-replica:{topic}",
                message=f"topic {topic}, partition {listed(numbers)}: as many replicas as min.insync.replicas "
                f"({min_isr_of(snapshot, topic)}): acks=all writes are refused while any of them is down",
                remedy=f'lower min.insync.replicas first, or acknowledge with acknowledged_risks ["no-spare-replica:{topic}"]',
                can_be_acknowledged=True,
            )
            for topic, numbers in by_topic(exact).items()
        ),
        *_fewer_than_minimum(shrunk, snapshot),
    ]


def _fewer_than_minimum(shrunk: Sequence[Move], snapshot: ClusterSnapshot) -> list[Reason]:
    return [
        Reason(
            name=f"below-minimum:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: fewer replicas than min.insync.replicas "
            f"({min_isr_of(snapshot, topic)}): acks=all writes are refused while any of them is down",
            remedy=f'lower min.insync.replicas first, or acknowledge with acknowledged_risks ["below-minimum:{topic}"]',
            can_be_acknowledged=True,
        )
        for topic, numbers in by_topic(shrunk).items()
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


def _names(moves: Sequence[Move]) -> str:
    return ", ".join(str(move.name) for move in moves[:5])


def _by_broker(plan: MovePlan, brokers_of: Callable[[Move], list[int]]) -> dict[int, list[Move]]:
    found: dict[int, list[Move]] = {}
    for move in plan.moves:
        for broker in brokers_of(move):
            found.setdefault(broker, []).append(move)
    return dict(sorted(found.items()))
