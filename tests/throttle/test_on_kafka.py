"""On a real Kafka: `feasibility` against its quotas, and rates that adapt to its brokers' metrics."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from activities import ledgers, removal, throttle
from activities.throttle import Throttling
from kafka_runbooks.clients.clusters import ClusterClients, ClusterSettings
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.kafka.admin import FOLLOWER_RATE, LEADER_RATE
from kafka_runbooks.clients.metrics.exporter import ExporterMetrics
from kafka_runbooks.models.cluster import Partition, ReplicaSizes, ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.throttles import AdaptiveThrottle
from kafka_runbooks.throttle import feasibility, leases, measurements
from tests.clients.local_kafka import JAVA, LocalKafka, running
from tests.fakes.fence import FakeFence
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World

MEGABYTE = 1_000_000
TOPIC = "events.a"
NAME = TopicPartition(TOPIC, 0)
TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")
LEFT_BYTES = 30 * MEGABYTE
PRODUCED_BYTES_PER_S = MEGABYTE


class Producing:
    """A steady producer, in a thread of its own."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all", "compression.type": "none"})
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def fill(self, size_bytes: int) -> None:
        for _ in range(size_bytes // 50_000):
            self._producer.produce(self._topic, b"x" * 50_000)
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
                self._producer.produce(self._topic, b"x" * 20_000)
                sent += 20_000
            self._producer.poll(0)


class Pods(FakeKubernetes):
    """The world's pods, with the addresses at which the real brokers' exporters listen."""

    def __init__(self, world: World, hosts: Mapping[int, str]) -> None:
        super().__init__(world)
        self._hosts = hosts

    def broker_pods(self) -> tuple[BrokerPod, ...]:
        found = super().broker_pods()
        return tuple(pod.model_copy(update={"pod_ip": self._hosts[pod.broker_id or 0]}) for pod in found)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    folder: Path = tmp_path_factory.mktemp("kafka")
    with running(LocalKafka(folder, exporter=True)) as cluster:
        yield cluster


def observe(admin: KafkaAdmin) -> tuple[float, Partition, ReplicaSizes]:
    (partition,) = [partition for partition in admin.snapshot().partitions if partition.name == NAME]
    return time.monotonic(), partition, admin.replica_sizes([1001, 1002, 1003])


def judged(admin: KafkaAdmin, seconds: float, rate_bytes_per_s: int) -> tuple[feasibility.Feasibility, float, float]:
    """The verdict after `seconds`, and the bytes missing on 1003 before and after."""
    began, partition, before = observe(admin)
    time.sleep(seconds)
    ended, partition, after = observe(admin)
    moves = [Copy(partition, (1003,))]
    produced = measurements.produced(before, after, ended - began, [partition])
    copying = feasibility.copying_of(moves, after.size_bytes, produced)
    rates = {1001: ThrottleRates(leader_bytes_per_s=rate_bytes_per_s)}
    lags = [measurements.lag(sizes.size_bytes, moves).follower[1003] for sizes in (before, after)]
    return feasibility.judge(copying, rates), lags[0], lags[1]


def create(kafka: LocalKafka, topic: str) -> None:
    creating = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    new = NewTopic(topic, replica_assignment=[[1001, 1002]], num_partitions=1)
    for future in creating.create_topics([new]).values():
        future.result()


def test_rates_adapt_to_what_real_brokers_measure_and_are_restored(kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "ADAPT_SECONDS", 2.0)
    monkeypatch.setattr(throttle, "Fence", FakeFence)
    name = TopicPartition("events.b", 0)
    create(kafka, name.topic)
    producing = Producing(kafka.bootstrap_servers, name.topic)
    producing.fill(LEFT_BYTES)
    admin = KafkaAdmin(kafka.bootstrap_servers)
    kubernetes = Pods(World(maps=("events",), advance_at_look=False), kafka.metrics_hosts)
    settings = ClusterSettings(bootstrap_servers=kafka.bootstrap_servers, namespace="kafka")
    clients = ClusterClients(admin, kubernetes, ExporterMetrics(kafka.metrics_port), settings)
    relaxed = AdaptiveThrottle(
        floor_bytes_per_s=MEGABYTE,
        ceiling_bytes_per_s=13 * MEGABYTE,
        produce_p99_limit_ms=600_000,
        fetch_p99_limit_ms=600_000,
    )

    def throttling(throttle: AdaptiveThrottle) -> Throttling:
        return Throttling(clients, None, TOKEN, throttle)  # type: ignore[arg-type]

    def rates() -> tuple[int | None, int | None]:
        now = admin.throttle_rates([1001, 1003])
        return now[1001].leader_bytes_per_s, now[1003].follower_bytes_per_s

    try:
        with producing:
            going, found = throttling(relaxed), []
            is_moving = False
            began = time.monotonic()
            while time.monotonic() - began < 120:
                snapshot = admin.snapshot()
                (partition,) = [partition for partition in snapshot.partitions if partition.name == name]
                if 1003 in partition.in_sync:
                    break
                going.adapt([Copy(partition, (1003,))], snapshot.live_broker_ids, followers=snapshot.followers)
                if not is_moving:
                    admin.alter_reassignments({name: [1001, 1002, 1003]})
                    is_moving = True
                found.append(rates())
                time.sleep(0.5)
            took = time.monotonic() - began
            assert 1003 in partition.in_sync, (found, going.reason)
            assert found[0] == (MEGABYTE, MEGABYTE)
            into = [follower or 0 for _, follower in found]
            assert max(into) > 3 * MEGABYTE, (found, going.reason)
            assert all(after - before <= 2 * MEGABYTE for before, after in pairwise(into)), found
            assert took > LEFT_BYTES / max(into), "it was never faster than the highest rate"

            strict = throttling(relaxed.model_copy(update={"produce_mean_limit_ms": 0.001}))
            monkeypatch.setattr(throttle, "ADAPT_SECONDS", 0.0)
            whys = []
            for _ in range(3):
                time.sleep(2)
                strict.adapt([Copy(partition, (1003,))], admin.snapshot().live_broker_ids)
                whys.append(strict.reason)
            assert "produce took" in whys[-1] and "since the last observation" in whys[-1], whys
            assert (rates()[0] or 0) <= max(MEGABYTE, (found[-1][0] or 0) // 2), whys
        ledger = ledgers.read(kubernetes, TOKEN)
        assert removal.release(admin, kubernetes, FakeFence(), ledger, frozenset(kafka.racks)).left_behind == ()
        assert rates() == (None, None)
        assert admin.throttled_replicas([name.topic])[name.topic] == ThrottledReplicas()
    finally:
        admin.close()


def test_a_rate_between_the_produce_rate_and_twice_that_never_ends_and_a_higher_one_ends_when_it_says(kafka: LocalKafka) -> None:
    create(kafka, TOPIC)
    producing = Producing(kafka.bootstrap_servers, TOPIC)
    producing.fill(LEFT_BYTES)
    admin = KafkaAdmin(kafka.bootstrap_servers)
    try:
        too_slow, enough = int(1.5 * PRODUCED_BYTES_PER_S), 6 * MEGABYTE
        _, partition, _ = observe(admin)
        entries = leases.entries_for([Copy(partition, (1003,))], frozenset({1001, 1002, 1003}))[TOPIC]
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
            assert lag_after > lag_before, "it falls behind although the rate is above the produce rate"

            admin.set_throttle_rates(1001, ThrottleRates(leader_bytes_per_s=enough))
            verdict, lag_before, _ = judged(admin, 2, enough)
            assert verdict.seconds is not None, verdict
            began = time.monotonic()
            while 1003 not in observe(admin)[1].in_sync and time.monotonic() - began < 90:
                time.sleep(0.5)
            took = time.monotonic() - began
            assert verdict.seconds * 0.6 < took < verdict.seconds * 2 + 10, (verdict, took, lag_before)
    finally:
        admin.close()


def set_for_the_whole_cluster(kafka: LocalKafka, key: str, value: str | None) -> None:
    """By Kafka's own tool; None deletes."""
    change = ["--add-config", f"{key}={value}"] if value is not None else ["--delete-config", key]
    tool = [
        *JAVA.split(),
        "-cp",
        f"{kafka.libraries}/*",
        "kafka.admin.ConfigCommand",
        "--entity-type",
        "brokers",
        "--entity-default",
    ]
    command = [*tool, "--bootstrap-server", kafka.bootstrap_servers, "--alter", *change]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60)


def test_a_rate_for_the_whole_cluster_is_obeyed_named_and_still_there_afterwards(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the run's own on the broker took precedence: 100 MB/s where 2 were meant. 1002 has one in its file too."""
    monkeypatch.setattr(throttle, "ADAPT_SECONDS", 0.0)
    monkeypatch.setattr(throttle, "Fence", FakeFence)
    create(kafka, "events.c")
    kafka.kill(1002)
    kafka.start_broker(1002, f"{FOLLOWER_RATE}=1500000\n")
    kafka.wait_for_brokers(3)
    admin = KafkaAdmin(kafka.bootstrap_servers)
    kubernetes = Pods(World(maps=("events",), advance_at_look=False), kafka.metrics_hosts)
    settings = ClusterSettings(bootstrap_servers=kafka.bootstrap_servers, namespace="kafka")
    clients = ClusterClients(admin, kubernetes, ExporterMetrics(kafka.metrics_port), settings)
    whole = {
        1001: ThrottleRates(leader_bytes_per_s=2 * MEGABYTE),
        1002: ThrottleRates(leader_bytes_per_s=2 * MEGABYTE, follower_bytes_per_s=1_500_000),
    }

    def inherited() -> dict[int, ThrottleRates]:
        with contextlib.suppress(Unreachable):  # 1002 has just restarted, and a snapshot shows it to the client.
            admin.snapshot()
            return {broker: rates.inherited for broker, rates in admin.rates([1001, 1002]).items()}
        return {}

    try:
        until(lambda: inherited().get(1001) == ThrottleRates())
        set_for_the_whole_cluster(kafka, LEADER_RATE, "2000000")
        until(lambda: inherited() == whole)
        admin.set_throttle_rates(1001, ThrottleRates(leader_bytes_per_s=5 * MEGABYTE))
        assert inherited() == whole and admin.throttle_rates([1001])[1001].leader_bytes_per_s == 5 * MEGABYTE
        admin.set_throttle_rates(1001, ThrottleRates())
        going = Throttling(clients, None, TOKEN, AdaptiveThrottle(floor_bytes_per_s=10 * MEGABYTE))  # type: ignore[arg-type]
        snapshot = admin.snapshot()
        (partition,) = [partition for partition in snapshot.partitions if partition.topic == "events.c"]
        going.adapt([Copy(partition, (1003,))], snapshot.live_broker_ids, followers=snapshot.followers)
        assert set(admin.throttle_rates([1001, 1002]).values()) == {ThrottleRates()}
        assert "broker 1001: leader 2 MB/s set for the whole cluster, obeyed" in going.reason
        ledger = ledgers.read(kubernetes, TOKEN)
        assert removal.release(admin, kubernetes, FakeFence(), ledger, frozenset(kafka.racks)).left_behind == ()
        assert inherited() == whole
    finally:
        set_for_the_whole_cluster(kafka, LEADER_RATE, None)
        kafka.kill(1002)
        kafka.start_broker(1002)
        kafka.wait_for_brokers(3)
        admin.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
