"""What `feasibility` says of Kafka's quotas, on a real one: in-sync followers' fetches of a listed partition use up the rate."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import Partition, ReplicaSizes, ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.throttle import feasibility, leases, measuring
from tests.clients.local_kafka import LocalKafka

MEGABYTE = 1_000_000
TOPIC = "events.a"
NAME = TopicPartition(TOPIC, 0)
LEFT_BYTES = 30 * MEGABYTE
PRODUCED_BYTES_PER_S = MEGABYTE


class Producing:
    """A steady producer, in a thread of its own."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "compression.type": "none"})
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def fill(self, size_bytes: int) -> None:
        for _ in range(size_bytes // 50_000):
            self._producer.produce(TOPIC, b"x" * 50_000)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._producer.flush(60)

    def _run(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._done.wait(0.02):
            while sent < (time.monotonic() - began) * PRODUCED_BYTES_PER_S:
                self._producer.produce(TOPIC, b"x" * 20_000)
                sent += 20_000
            self._producer.poll(0)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    folder: Path = tmp_path_factory.mktemp("kafka")
    cluster = LocalKafka(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def look(admin: KafkaAdmin) -> tuple[float, Partition, ReplicaSizes]:
    (partition,) = [partition for partition in admin.snapshot().partitions if partition.name == NAME]
    return time.monotonic(), partition, admin.replica_sizes([1001, 1002, 1003])


def judged(admin: KafkaAdmin, seconds: float, rate_bytes_per_s: int) -> tuple[feasibility.Feasibility, float, float]:
    """The verdict after so long, and what is missing on 1003 before and after."""
    began, partition, before = look(admin)
    time.sleep(seconds)
    ended, partition, after = look(admin)
    moves = [(partition, (1003,))]
    produced = measuring.produced(before, after, ended - began, [partition])
    copying = feasibility.copying_of(moves, after.size_bytes, produced)
    rates = {1001: ThrottleRates(leader_bytes_per_s=rate_bytes_per_s)}
    lags = [measuring.lag(sizes.size_bytes, moves).follower[1003] for sizes in (before, after)]
    return feasibility.judge(copying, rates), lags[0], lags[1]


def test_a_rate_between_the_produce_rate_and_twice_that_never_ends_and_a_higher_one_ends_when_it_says(kafka: LocalKafka) -> None:
    topic = NewTopic(TOPIC, replica_assignment=[[1001, 1002]], num_partitions=1)
    creating = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in creating.create_topics([topic]).values():
        future.result()
    producing = Producing(kafka.bootstrap_servers)
    producing.fill(LEFT_BYTES)
    admin = KafkaAdmin(kafka.bootstrap_servers)
    try:
        too_slow, enough = int(1.5 * PRODUCED_BYTES_PER_S), 6 * MEGABYTE
        _, partition, _ = look(admin)
        entries = leases.entries_for([(partition, (1003,))], frozenset({1001, 1002, 1003}))[TOPIC]
        admin.set_throttled_replicas(
            {TOPIC: ThrottledReplicas(leader=",".join(entries.leader), follower=",".join(entries.follower))}
        )
        admin.set_throttle_rates(1001, ThrottleRates(leader_bytes_per_s=too_slow))
        with producing:
            admin.alter_reassignments({NAME: [1001, 1002, 1003]})
            time.sleep(8)
            verdict, lag_before, lag_after = judged(admin, 20, too_slow)
            (source,) = [need for need in verdict.needs if need.broker_id == 1001]
            assert source.keeps_up_bytes_per_s == pytest.approx(2 * PRODUCED_BYTES_PER_S, rel=0.3)
            assert verdict.never_ends == (source,), verdict
            assert lag_after > lag_before, "it is faster than what is produced, and falls behind all the same"

            admin.set_throttle_rates(1001, ThrottleRates(leader_bytes_per_s=enough))
            verdict, lag_before, _ = judged(admin, 2, enough)
            assert verdict.seconds is not None, verdict
            began = time.monotonic()
            while 1003 not in look(admin)[1].in_sync and time.monotonic() - began < 90:
                time.sleep(0.5)
            took = time.monotonic() - began
            assert verdict.seconds * 0.6 < took < verdict.seconds * 2 + 10, (verdict, took, lag_before)
    finally:
        admin.close()
