"""Small clusters: by hand, and drawn by hypothesis."""

from collections.abc import Collection
from dataclasses import replace

from hypothesis import strategies as st

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition

BROKERS = (1, 2, 3, 4)


def part(replicas: Collection[int], in_sync: Collection[int], number: int = 0, topic: str = "t") -> Partition:
    leader = next(iter(in_sync), None)
    return Partition(topic=topic, partition=number, leader=leader, replicas=tuple(replicas), in_sync=tuple(in_sync))


def cluster(*partitions: Partition, minimum: int, live: Collection[int] = BROKERS) -> ClusterSnapshot:
    return ClusterSnapshot(
        cluster_id="c",
        brokers=tuple(Broker(id=broker, host="h", port=1) for broker in live),
        partitions=partitions,
        minimum_in_sync={partition.topic: minimum for partition in partitions},
    )


@st.composite
def clusters(draw: st.DrawFn) -> ClusterSnapshot:
    brokers = list(range(1, draw(st.integers(1, 9)) + 1))
    partitions: list[Partition] = []
    minimum: dict[str, int] = {}
    for number in range(draw(st.integers(0, 12))):
        topic = draw(st.sampled_from("abc"))
        minimum.setdefault(topic, draw(st.integers(1, 4)))
        replicas = draw(st.permutations(brokers))[: draw(st.integers(1, 5))]
        in_sync = [broker for broker in replicas if draw(st.integers(0, 3))]
        partitions.append(part(replicas, in_sync, number, topic))
    live = [broker for broker in brokers if draw(st.integers(0, 4))]
    return replace(cluster(*partitions, minimum=1, live=live), minimum_in_sync=minimum)
