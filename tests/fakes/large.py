"""A `World` of hundreds of brokers and some hundred thousand partitions: only what moves is looked at when something happens."""

from kafka_runbooks.models.cluster import ThrottledReplicas, TopicPartition
from tests.fakes.world import MEGABYTE, World, WorldPartition, WorldPod

PARTITIONS_PER_TOPIC = 4


class LargeWorld(World):
    """Maps of three brokers in three zones. Each topic is on one map, in two copies, which leaves one broker for a third.

    Nothing is copied by itself: whoever uses it lets what is in flight `arrive`.
    """

    def __init__(self, *, maps: int, partitions: int) -> None:
        self._pods_by_broker: dict[int, WorldPod] = {}
        super().__init__(maps=tuple(f"map{number:03d}" for number in range(maps)), advance_at_look=False)
        self._pods_by_broker = {pod.broker_id: pod for pod in self.pods.values()}
        brokers = sorted(self._pods_by_broker)
        disks = {broker_id: self.disk_of(broker_id) for broker_id in brokers}
        for topic_number in range(-(-partitions // PARTITIONS_PER_TOPIC)):
            topic, first = f"events.topic-{topic_number:05d}", 3 * (topic_number % maps)
            self.minimum_in_sync[topic], self.lists[topic], self.topic_ids[topic] = 1, ThrottledReplicas(), self.new_uid()
            for number in range(min(PARTITIONS_PER_TOPIC, partitions - PARTITIONS_PER_TOPIC * topic_number)):
                name = TopicPartition(topic, number)
                replicas = [brokers[first + (number + shift) % 3] for shift in (0, 1)]
                self.partitions[name] = WorldPartition(replicas, set(replicas), replicas[0], MEGABYTE)
                for broker_id in replicas:
                    disk = disks[broker_id]
                    assert disk is not None
                    disk[name] = MEGABYTE

    def other_broker(self, name: TopicPartition) -> int:
        """The one of its map that has no replica of it."""
        replicas = self.partitions[name].replicas
        start = min(replicas) - (min(replicas) - 1001) % 3
        (other,) = set(range(start, start + 3)) - set(replicas)
        return other

    def arrive(self) -> int:
        """Everything in flight is in sync, and ends; returns how many."""
        moving = self.moving()
        for name, partition in moving.items():
            for broker_id in partition.adding:
                disk = self.disk_of(broker_id)
                assert disk is not None
                disk[name] = partition.size_bytes
            partition.in_sync |= set(partition.adding)
            self._end_reassignment(name, partition)
            partition.leader = partition.replicas[0]
        return len(moving)

    def moving(self) -> dict[TopicPartition, WorldPartition]:
        return {name: partition for name, partition in self.partitions.items() if partition.adding or partition.removing}

    def pod_of(self, broker_id: int) -> WorldPod | None:
        return self._pods_by_broker.get(broker_id) or super().pod_of(broker_id)

    def settle(self) -> None:
        """Nothing by itself."""

    def is_in_sync(self, broker_id: int) -> bool:
        return self.is_up(broker_id)
