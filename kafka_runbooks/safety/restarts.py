"""May these nodes restart together now? Every reason why not, each with the partitions that block and what unblocks them.

Brokers go by in-sync replicas (`availability.may_go_down`), controllers by the quorum (`quorum.controllers_may_go_down`), a node
that is both by both. Beyond Strimzi's roller: any number of nodes at once, racks and maps, reassignments, which take replicas
away and need the ones that they copy from, and nodes that somebody else shuts down, which are in sync until they stop.

An answer holds for what was seen. Between the look and the stop one more broker may die, so the caller looks again before each
stop, and an old look, or one by a broker that doesn't follow the controllers, is refused. What passes on a fresh look is at worst
one failure away from its margin, and the next look refuses.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import by_topic, listed, may_go_down
from kafka_runbooks.safety.freshness import LONGEST_LAG_SECONDS, stale_brokers
from kafka_runbooks.safety.moves import unacknowledged
from kafka_runbooks.safety.quorum import caught_up_voters, controllers_may_go_down

OLDEST_LOOK_SECONDS = LONGEST_LAG_SECONDS
"""A broker that dies is fenced after `broker.session.timeout.ms`, 9 s by default: an older look may know none of it."""


def cut_off_brokers(observation: RestartObservation) -> dict[int, str]:
    """Brokers that are registered as live but don't follow the controllers -> why; they will be fenced."""
    quorum, live = observation.quorum, observation.snapshot.live_broker_ids
    return {} if quorum is None else stale_brokers(quorum, live)


def reasons_not_to_restart(
    observation: RestartObservation,
    going: Collection[KafkaNode],
    limits: RestartLimits,
    *,
    later: Collection[KafkaNode] = (),
    acknowledged_risks: Collection[str] = (),
) -> list[Reason]:
    """Why these nodes may not all be down at the same time now; empty: they may.

    Args:
        observation: made just now.
        going: all that are to be down together, those that are down already for this included.
        limits: as the operator gave them.
        later: nodes that are to restart after these: the active controller waits for them.
        acknowledged_risks: names of reasons that an operator has accepted.
    """
    cut_off = cut_off_brokers(observation)
    down = (*going, *_shut_down_by_others(observation, going))
    found = [
        *_stale(observation, cut_off),
        *_too_many(down, limits),
        *_several_racks(down, limits),
        *_of_the_quorum(observation, [node.id for node in down if node.is_controller], limits),
        *_active_not_last(observation, going, later),
        *_being_reassigned(observation, [node.id for node in going if node.is_broker]),
        *_of_the_replicas(observation.snapshot, cut_off, [node.id for node in down if node.is_broker], limits),
    ]
    return unacknowledged(found, acknowledged_risks)


def _shut_down_by_others(observation: RestartObservation, going: Collection[KafkaNode]) -> list[KafkaNode]:
    """Those that are still up. A pod on a lost node ends for ever; its broker is known to be down, and in the way of nobody."""
    ids = {node.id for node in going}
    up = observation.snapshot.live_broker_ids
    if observation.quorum is not None:
        up |= caught_up_voters(observation.quorum, observation.fetch_timeout_seconds)
    return [node for node in observation.shutting_down if node.id in up and node.id not in ids]


def _stale(observation: RestartObservation, cut_off: Mapping[int, str]) -> list[Reason]:
    """What was seen may not be so any more."""
    found, asked = [], observation.snapshot.answered_by
    if observation.age_seconds > OLDEST_LOOK_SECONDS:
        found.append(f"the cluster was looked at {observation.age_seconds:.0f} s ago")
    if asked is not None and asked in cut_off:
        found.append(f"the metadata are those of broker {asked}: {cut_off[asked]}")
    return [Reason(name="stale-observation", message=why, remedy="look again, at another broker") for why in found]


def _too_many(going: Collection[KafkaNode], limits: RestartLimits) -> list[Reason]:
    reasons, ids = [], sorted(node.id for node in going)
    if limits.at_once is not None and len(ids) > limits.at_once:
        reasons.append(
            Reason(
                name="too-many-at-once",
                message=f"nodes {listed(ids)} together are {len(ids)}; at_once is {limits.at_once}",
                remedy=f"restart at most {limits.at_once} together, or raise at_once",
            )
        )
    for name in sorted({node.map for node in going if node.map is not None}):
        own = sorted(node.id for node in going if node.map == name)
        if limits.at_once_per_map is not None and len(own) > limits.at_once_per_map:
            reasons.append(
                Reason(
                    name=f"too-many-of-map:{name}",
                    message=f"nodes {listed(own)} of map {name} are {len(own)}; at_once_per_map is {limits.at_once_per_map}",
                    remedy=f"restart at most {limits.at_once_per_map} of a map together, or raise at_once_per_map",
                )
            )
    return reasons


def _several_racks(going: Collection[KafkaNode], limits: RestartLimits) -> list[Reason]:
    """A node whose rack isn't known may be in any."""
    racks = {node.rack for node in going}
    if not limits.one_rack_at_a_time or len(going) < 2 or (len(racks) == 1 and None not in racks):
        return []
    listing = ", ".join(f"{node.id} in {node.rack or 'an unknown one'}" for node in sorted(going, key=lambda node: node.id)[:10])
    return [
        Reason(
            name="several-racks",
            message=f"nodes of more than one rack: {listing}",
            remedy="restart nodes of one rack together, or turn one_rack_at_a_time off",
        )
    ]


def _of_the_quorum(observation: RestartObservation, controllers: Collection[int], limits: RestartLimits) -> list[Reason]:
    if not controllers:
        return []
    if observation.quorum is None:
        return [
            Reason(
                name="controllers-in-zookeeper-mode",
                message=f"nodes {listed(sorted(controllers))} are KRaft controllers, of whose quorum brokers in ZooKeeper mode "
                "know nothing",
                remedy="restart brokers only (map, or node_ids) until the migration to KRaft has ended",
            )
        ]
    return controllers_may_go_down(
        observation.quorum,
        controllers,
        headroom=limits.headroom,
        fetch_timeout_seconds=observation.fetch_timeout_seconds,
    )


def _active_not_last(observation: RestartObservation, going: Collection[KafkaNode], later: Collection[KafkaNode]) -> list[Reason]:
    """Each controller that restarts before it saves an election; a new one may be elected at any time, so ask before each."""
    active, in_zookeeper = observation.active_controller, observation.quorum is None
    before = [node for node in (*going, *later) if node.id != active and (in_zookeeper or node.is_controller)]
    if active is None or not before or active not in {node.id for node in going}:
        return []
    return [
        Reason(
            name="active-controller-last",
            message=f"node {active} is the active controller",
            remedy=f"restart node {listed(sorted(node.id for node in before))} first",
        )
    ]


def _being_reassigned(observation: RestartObservation, brokers: Collection[int]) -> list[Reason]:
    going = set(brokers)
    moving = [one for one in observation.reassignments if going.intersection(one.replicas)]
    return [
        Reason(
            name=f"being-reassigned:{topic}",
            message=f"topic {topic}, partition {listed(numbers)}: being reassigned, to or from broker {listed(sorted(going))}",
            remedy="wait until the reassignment ends, or cancel it where it was started",
        )
        for topic, numbers in by_topic(moving).items()
    ]


def _of_the_replicas(
    snapshot: ClusterSnapshot, cut_off: Mapping[int, str], brokers: Collection[int], limits: RestartLimits
) -> list[Reason]:
    """A broker that is cut off counts as down. One that is to restart doesn't: it may still serve, and so be missed."""
    gone = cut_off.keys() - set(brokers)
    if gone:
        snapshot = replace(snapshot, brokers=tuple(broker for broker in snapshot.brokers if broker.id not in gone))
    found = may_go_down(snapshot, brokers, headroom=limits.headroom)
    if all(reason.can_be_acknowledged for reason in found):
        return found
    shared = [partition for partition in snapshot.partitions if not set(brokers).isdisjoint(partition.replicas)]
    missed = sorted(broker for broker in gone if any(broker in partition.in_sync for partition in shared))
    if missed:
        found.append(
            Reason(
                name="cut-off-brokers",
                message=f"not counted as in sync: {'; '.join(cut_off[broker] for broker in missed[:10])}",
                remedy="wait until they follow the controllers again, or restart them first",
            )
        )
    return found
