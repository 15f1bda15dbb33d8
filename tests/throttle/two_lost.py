"""Two of a topic's three brokers are lost on a real Kafka, and one comes back with an empty disk: for tests and benchmarks."""

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from activities import ledgers, removal
from activities.throttle import Throttling
from kafka_runbooks.clients.clusters import ClusterClients, ClusterSettings
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.metrics.exporter import ExporterMetrics
from kafka_runbooks.models.cluster import ClusterSnapshot, ThrottledReplicas, ThrottleRates
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.throttles import AdaptiveThrottle
from kafka_runbooks.safety.urgency import urgent_among
from kafka_runbooks.throttle import controller, leases
from tests.clients.local_kafka import LocalKafka
from tests.fakes.fence import FakeFence
from tests.fakes.world import World
from tests.throttle.test_on_kafka import Pods

MEGABYTE = 1_000_000
RACKS = {1001: "zone-a", 1002: "zone-b", 1003: "zone-c", 1004: "zone-d"}
URGENT, REST = "events.urgent", "events.rest"
PARTITIONS = 6
LOST, GONE = 1003, 1002
THROTTLE = AdaptiveThrottle(
    floor_bytes_per_s=MEGABYTE, ceiling_bytes_per_s=2 * MEGABYTE, produce_p99_limit_ms=5_000, fetch_p99_limit_ms=10_000
)
"""The limits are those of a machine on which everything runs at once."""


class Recovered(NamedTuple):
    seconds: float
    """From the broker's start until every partition takes acks=all writes."""
    left_bytes: int
    """Of the rest, at that time."""
    lists: dict[str, list[ThrottledReplicas]]
    """Every state of a topic's lists, in order."""
    notes: list[str]


class TwoLost:
    """`URGENT` is on 1001, 1002 and 1003, `REST` on 1001, 1004 and 1003; 1003 comes back, 1002 doesn't."""

    def __init__(self, kafka: LocalKafka, *, urgent_bytes: int = 30 * MEGABYTE, rest_bytes: int = 90 * MEGABYTE) -> None:
        self.kafka = kafka
        self._bytes = {URGENT: urgent_bytes, REST: rest_bytes}
        self.admin = KafkaAdmin(kafka.bootstrap_servers)
        hosts = {1005: "127.0.9.9", 1006: "127.0.9.9", **kafka.metrics_hosts}  # The world has two brokers more.
        self.kubernetes = Pods(World(maps=("events", "checks"), advance_at_look=False), hosts)
        settings = ClusterSettings(bootstrap_servers=kafka.bootstrap_servers, namespace="kafka")
        self.clients = ClusterClients(self.admin, self.kubernetes, ExporterMetrics(kafka.metrics_port), settings)
        self.token = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")

    def lose(self) -> None:
        """Topics with data; then 1002 and 1003 die, 1003 with its disk."""
        creating = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers})
        brokers = {URGENT: [1001, GONE, LOST], REST: [1001, 1004, LOST]}
        topics = [
            NewTopic(
                topic, replica_assignment=[found] * PARTITIONS, num_partitions=PARTITIONS, config={"min.insync.replicas": "2"}
            )
            for topic, found in brokers.items()
        ]
        for future in creating.create_topics(topics).values():
            future.result()
        for topic, size_bytes in self._bytes.items():
            self.produce(topic, size_bytes)
        for broker in (LOST, GONE):
            self.kafka.kill(broker)
        shutil.rmtree(self.kafka.log_directory(LOST))
        self._until(lambda found: not {LOST, GONE} & found.live_broker_ids and len(self._refusing(found)) == PARTITIONS)

    def produce(self, topic: str, size_bytes: int) -> None:
        """Evenly, with acks=all."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "acks": "all", "log_level": 0})
        for number in range(max(PARTITIONS, size_bytes // 50_000)):
            producer.produce(topic, b"x" * 50_000, partition=number % PARTITIONS)
            producer.poll(0)
            if number % 200 == 0:
                producer.flush(60)
        assert producer.flush(60) == 0

    def recover(self, *, urgent_first: bool) -> Recovered:
        """Follow 1003 as a runbook does until every partition takes writes; else as if nobody knew what is urgent."""
        throttling = Throttling(self.clients, None, self.token, THROTTLE)  # type: ignore[arg-type]
        self._take_leases()
        lists: dict[str, list[ThrottledReplicas]] = {URGENT: [], REST: []}
        notes: list[str] = []
        self.kafka.start_broker(LOST)
        self._until(lambda found: LOST in found.live_broker_ids)
        began = time.monotonic()
        is_over = False
        while not is_over:
            assert time.monotonic() - began < 400, throttling.reason
            with contextlib.suppress(Unreachable):  # A look that fails is followed by the next one, as in a step.
                is_over = self._look(throttling, lists, urgent_first=urgent_first)
            notes.append(throttling.reason)
            time.sleep(0.2)
        seconds = time.monotonic() - began
        self.produce(URGENT, 0)
        return Recovered(seconds, self._left(REST), lists, notes)

    def _look(self, throttling: Throttling, lists: dict[str, list[ThrottledReplicas]], *, urgent_first: bool) -> bool:
        """Whether every partition takes writes."""
        snapshot = self.admin.snapshot()
        if not self._refusing(snapshot):
            return True
        copies = leases.catching_up(snapshot.partitions, {LOST})
        urgency = urgent_among((copy.partition for copy in copies), snapshot) if urgent_first else None
        throttling.adapt(copies, snapshot.live_broker_ids, followers=snapshot.followers, urgency=urgency)
        for topic, found in self.admin.throttled_replicas([URGENT, REST]).items():
            if lists[topic][-1:] != [found]:
                lists[topic].append(found)
        return False

    def give_back(self) -> tuple[str, ...]:
        ledger = ledgers.read(self.kubernetes, self.token)
        live = self.admin.snapshot().live_broker_ids
        return removal.release(self.admin, self.kubernetes, FakeFence(), ledger, live).left_behind

    def _take_leases(self) -> None:
        snapshot = self.admin.snapshot()
        live, ledger = snapshot.live_broker_ids, ledgers.read(self.kubernetes, self.token)
        copies = leases.catching_up(snapshot.partitions, {LOST})
        first = ThrottleRates(leader_bytes_per_s=controller.rate_before_data_flows(THROTTLE))
        rates = dict.fromkeys(leases.sources_of(copies, live), first)
        ledgers.throttle(self.admin, self.kubernetes, FakeFence(), ledger, copies, live, rates)

    def _refusing(self, snapshot: ClusterSnapshot) -> list[str]:
        return [str(name) for name in urgent_among(snapshot.by_topic[URGENT], snapshot)]

    def _left(self, topic: str) -> int:
        sizes = self.admin.replica_sizes([1001, LOST]).size_bytes
        held = {
            broker: sum(size for one, size in sizes.items() if one.topic == topic and one.broker_id == broker) for broker in RACKS
        }
        return held[1001] - held[LOST]

    def _until(self, holds: Callable[[ClusterSnapshot], bool]) -> None:
        ends, is_so = time.monotonic() + 180, False
        while not is_so:
            assert time.monotonic() < ends
            with contextlib.suppress(Unreachable):
                is_so = holds(self.admin.snapshot())
            time.sleep(0.2)


def started(folder: Path) -> LocalKafka:
    kafka = LocalKafka(folder, RACKS, exporter=True)
    try:
        kafka.start()
    except BaseException:
        kafka.stop()
        raise
    return kafka
