"""Clusters for restarts, drawn by hypothesis: brokers, controllers, combined nodes; lagging, down, cut off, being reassigned."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from kafka_runbooks.models.cluster import MetadataQuorum, Partition, QuorumReplica, Reassignment
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation
from tests.safety.builders import cluster, part

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTROLLERS = (101, 102, 103, 104, 105)
RISKS = ("no-spare-replica:a", "no-spare-replica:b", "already-below-min-isr:a", "already-below-min-isr:c", "already-no-majority")


def quorum_of(
    voters: Sequence[int],
    leader: int | None = None,
    behind: Sequence[int] = (),
    observers: Sequence[int] = (),
    seconds: float = 60.0,
) -> MetadataQuorum:
    """`behind` are voters and observers that last had everything so many seconds ago."""

    def replica(one: int) -> QuorumReplica:
        at = NOW - timedelta(seconds=seconds) if one in behind else NOW
        return QuorumReplica(id=one, log_end_offset=1, last_caught_up_at=at)

    return MetadataQuorum(
        leader_id=voters[0] if leader is None else leader,
        leader_epoch=1,
        high_watermark=1,
        voters=tuple(map(replica, voters)),
        observers=tuple(map(replica, observers)),
    )


@st.composite
def limits(draw: st.DrawFn) -> RestartLimits:
    return RestartLimits(
        at_once=draw(st.none() | st.integers(1, 4)),
        one_rack_at_a_time=draw(st.booleans()),
        at_once_per_map=draw(st.none() | st.integers(1, 3)),
        headroom=draw(st.none() | st.integers(0, 2)),
    )


@st.composite
def sites(draw: st.DrawFn, most_brokers: int = 8, most_partitions: int = 12) -> tuple[RestartObservation, tuple[KafkaNode, ...]]:
    """What is seen of a cluster, and nodes of it to restart."""
    brokers = list(range(1, draw(st.integers(1, most_brokers)) + 1))
    is_healthy = draw(st.booleans())
    partitions: list[Partition] = []
    minimum: dict[str, int] = {}
    for number in range(draw(st.integers(0, most_partitions))):
        topic = draw(st.sampled_from("abc"))
        minimum.setdefault(topic, draw(st.integers(1, 3)))
        replicas = draw(st.permutations(brokers))[: draw(st.integers(1, 5))]
        in_sync = [broker for broker in replicas if is_healthy or draw(st.integers(0, 5))]
        partitions.append(part(replicas, in_sync, number, topic))
    live = [broker for broker in brokers if is_healthy or draw(st.integers(0, 6))]
    snapshot = replace(
        cluster(*partitions, minimum=1, live=live), minimum_in_sync=minimum, controller_id=draw(st.sampled_from(brokers))
    )
    combined = draw(st.integers(0, min(3, len(brokers))))
    pure = draw(st.integers(0 if combined else 1, 5 - combined))
    voters = [*brokers[:combined], *CONTROLLERS[:pure]]
    everyone = [*brokers, *CONTROLLERS[:pure]]
    quorum = None
    if draw(st.integers(0, 5)):
        leader = draw(st.sampled_from(voters))
        behind = [] if is_healthy else [one for one in everyone if one != leader and not draw(st.integers(0, 5))]
        quorum = quorum_of(voters, leader, behind, [one for one in brokers if one not in voters])
    moving = () if is_healthy else tuple(one for one in partitions if not draw(st.integers(0, 9)))
    observation = RestartObservation(
        snapshot=snapshot,
        quorum=quorum,
        reassignments=tuple(
            Reassignment(topic=one.topic, partition=one.partition, replicas=one.replicas, adding=(), removing=one.replicas[:1])
            for one in moving
        ),
        age_seconds=0.0,
    )
    nodes = tuple(
        KafkaNode(
            id=one,
            is_broker=one in brokers,
            is_controller=quorum is not None and one in voters,
            rack=draw(st.sampled_from(("x", "y", "z", None))) if one not in CONTROLLERS else "xyz"[one % 3],
            map=draw(st.sampled_from(("m", "n", None))),
            is_ready=bool(draw(st.integers(0, 5))),
        )
        for one in everyone
        if draw(st.integers(0, 5)) and (quorum is not None or one in brokers)
    )
    return observation, nodes


def brokers_of(*ids: int, racks: Sequence[str] = ("x", "y", "z"), name: str | None = None) -> tuple[KafkaNode, ...]:
    return tuple(KafkaNode(id=one, rack=racks[one % len(racks)], map=name) for one in ids)


def healthy(*partitions: Partition, minimum: int, live: Sequence[int]) -> RestartObservation:
    """In ZooKeeper mode, for what has nothing to do with a quorum."""
    return RestartObservation(cluster(*partitions, minimum=minimum, live=live), None, (), 0.0)
