"""What one look at a cluster costs: `uv run python -m benchmarks.looks [--json]`.

Two clusters, the clients, the mover, the throttle and the ledger are real in both; Temporal and Kubernetes are fakes in memory.

- **Real**: Kafka of 3 brokers on loopback, 2,000 topics of 5 partitions in 2 copies; 30 partitions of 2 MB move under a
  throttle of 250 kB/s on each source. `mover_look_wall_seconds` is the median of the mover's looks, `lists_500_seconds` the time
  to add entries to the throttled replica lists of 500 topics and to see them on the brokers. `apply_seconds` runs from the
  answer to a changed rate until the broker reports it.
- **Sockets** (`benchmarks.sockets`): 300 brokers, 10,000 topics, 200,000 partitions in 3 copies, of which the last broker's
  2,000 leave, 100 of them in flight. Real requests over real sockets, answered by another process, so that
  `mover_look_cpu_seconds` (the worst of some looks, each of which also adapts the rates; all threads of the process) and
  `peak_memory_bytes` are what a worker pays. `first_look_cpu_seconds` is the one that learns everything, `refresh_cpu_seconds`
  what asking for the whole cluster costs, which happens once in some looks and is not in those measured. How long brokers take
  to answer is not real here.
- **30 brokers**, by sockets as well: `rates_30_brokers_seconds` is the time to record, set and confirm both rates of 30, each of
  which reports a new rate `apply_seconds` after it has accepted it, as measured on the real cluster.

The time that real brokers need to answer is in the first; that 30 of them would be slower than 3 is in neither.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from temporalio.testing import ActivityEnvironment

from activities import ledgers, looks
from activities.mover import Mover
from activities.plan_store import save
from activities.step import Access, Steps, step
from benchmarks.sockets import FIRST_BROKER, IN_FLIGHT, Layout
from kafka_runbooks.clients import snapshots
from kafka_runbooks.clients.clusters import ClusterClients, ClusterSettings
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import ThrottleRates, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.ledger import EntryLease, OwnedReassignment
from kafka_runbooks.models.messages import StepRequest, Token
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.throttles import AdaptiveThrottle, FixedThrottle
from tests.clients.local_kafka import LocalKafka
from tests.fakes.fence import FakeFence
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.link import FakeLink
from tests.fakes.metrics import FakeMetrics
from tests.fakes.world import World

TOKEN = Token(cluster="bench", workflow_id="w", run_id="r", permit_run_id="p")
REAL_TOPICS, REAL_PARTITIONS, REAL_MOVES = 2_000, 5, 30
RECORD, RECORDS = b"x" * 100_000, 20
REAL_RATE_BYTES_PER_S = 250_000
BROKERS, TOPICS, PARTITIONS = 300, 10_000, 20
LISTED_TOPICS, RATED_BROKERS = 500, 30
LOOKS = 5
TOPICS_AT_ONCE = 50
T = TypeVar("T")


class Cost:
    """Seconds of some calls."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def of(self, call: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        found = call()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return found


def once(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    cost = Cost()
    cost.of(call)
    return cost.wall[0]


class Site:
    """One cluster with everything around it."""

    def __init__(self, bootstrap_servers: str, world: World | None = None) -> None:
        world = world or World()
        self.kafka, self.kubernetes = KafkaAdmin(bootstrap_servers), FakeKubernetes(world)
        settings = ClusterSettings(bootstrap_servers=bootstrap_servers, namespace="kafka")
        self.clients = ClusterClients(self.kafka, self.kubernetes, FakeMetrics(world), settings)

    def looks(self, plan: MovePlan, count: int = LOOKS) -> tuple[Cost, Cost]:
        """The first look, which learns everything and submits, and the following ones. Each adapts the rates."""
        first, others = Cost(), Cost()

        def run(request: StepRequest) -> None:
            mover = Mover(self.clients, link, request, plan)
            for number in range(1 + count):
                mover._throttling._due = 0.0
                decision, _ = (first if number == 0 else others).of(mover.advance)
                if not decision.is_done and not (decision.in_flight or decision.submit):
                    raise RuntimeError(f"nothing moves: {decision.hold}")
                time.sleep(0.5)

        class Looks(Steps):
            @step
            def look(self, request: StepRequest) -> None:
                run(request)

        link: Any = FakeLink()
        clusters: Any = None
        request = StepRequest(token=TOKEN, plan=save(self.kubernetes, plan, TOKEN))
        ActivityEnvironment().run(Looks(Access(clusters, link)).look, request)
        return first, others


def plan_of(
    moves: list[Move], throttle: FixedThrottle | AdaptiveThrottle, limits: MoveLimits, leaving: tuple[int, ...]
) -> MovePlan:
    return MovePlan(
        cluster="bench",
        kind="Decommission",
        title="benchmark",
        moves=tuple(moves),
        throttle=throttle,
        limits=limits,
        leaving=leaving,
        made_at="2026-01-01T00:00:00+00:00",
    )


def real() -> dict[str, Any]:
    """The cluster of three brokers."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = LocalKafka(Path(folder), heap_megabytes=400)
        try:
            cluster.start()
            confluent = AdminClient(
                {"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0, "socket.timeout.ms": 300_000}
            )
            create(confluent, cluster.bootstrap_servers)
            site = Site(cluster.bootstrap_servers)
            try:
                return {"apply_seconds": apply_seconds(confluent), **real_looks(site), **lists(site), **questions(site)}
            finally:
                site.kafka.close()
        finally:
            cluster.stop()


def create(confluent: AdminClient, bootstrap_servers: str) -> None:
    pairs = [[1001, 1002], [1002, 1001]]
    made = [
        NewTopic(
            f"events.t{number:04d}", num_partitions=REAL_PARTITIONS, replica_assignment=[pairs[number % 2]] * REAL_PARTITIONS
        )
        for number in range(REAL_TOPICS)
    ]
    for start in range(0, len(made), TOPICS_AT_ONCE):
        for future in confluent.create_topics(made[start : start + TOPICS_AT_ONCE], request_timeout=300).values():
            future.result()
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all"})
    for number in range(REAL_MOVES):
        for _ in range(RECORDS):
            producer.produce(f"events.t{number:04d}", RECORD, partition=0)
            producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("not everything was written")


def real_looks(site: Site) -> dict[str, Any]:
    moves = [
        Move(
            topic=f"events.t{number:04d}",
            partition=0,
            before=before,
            after=(before[0], 1003),
            size_bytes=len(RECORD) * RECORDS,
            in_sync=before,
        )
        for number in range(REAL_MOVES)
        for before in [(1001, 1002) if number % 2 == 0 else (1002, 1001)]
    ]
    limits = MoveLimits(moves_in_per_broker=REAL_MOVES, moves_out_per_broker=REAL_MOVES)
    first, others = site.looks(plan_of(moves, FixedThrottle(rate_bytes_per_s=REAL_RATE_BYTES_PER_S), limits, ()))
    return {
        "mover_look_wall_seconds": statistics.median(others.wall),
        "mover_look_real_cpu_seconds": statistics.median(others.cpu),
        "first_look_wall_seconds": first.wall[0],
    }


def lists(site: Site) -> dict[str, Any]:
    """The median of three times as many topics; those that move have entries already and are left out."""
    seconds, entries = [], EntryLease(leader=("0:1001", "0:1002"), follower=("0:1003",))
    ledger = ledgers.read(site.kubernetes, TOKEN)
    for start in (REAL_MOVES, REAL_MOVES + LISTED_TOPICS, REAL_MOVES + 2 * LISTED_TOPICS):
        topics = [f"events.t{number:04d}" for number in range(start, start + LISTED_TOPICS)]
        began = time.perf_counter()
        ledger = ledgers.list_entries(site.kafka, site.kubernetes, FakeFence(), ledger, dict.fromkeys(topics, entries))
        seconds.append(time.perf_counter() - began)
        # A broker on a busy machine may show them only after the time for which a change is waited for.
        while {one.leader for one in site.kafka.throttled_replicas(topics).values()} != {",".join(entries.leader)}:
            time.sleep(1.0)
    return {"lists_500_seconds": statistics.median(seconds), "lists_500_first_seconds": seconds[0]}


def questions(site: Site) -> dict[str, Any]:
    """Single questions."""
    topics = [f"events.t{number:04d}" for number in range(REAL_TOPICS)]
    snapshot = Cost()
    snapshot.of(site.kafka.snapshot)
    return {
        "snapshot_wall_seconds": snapshot.wall[0],
        "snapshot_cpu_seconds": snapshot.cpu[0],
        "sizes_wall_seconds": once(lambda: site.kafka.replica_sizes([1001, 1002, 1003])),
        "lists_2000_read_seconds": once(lambda: site.kafka.throttled_replicas(topics)),
    }


def apply_seconds(confluent: AdminClient) -> float:
    """From the answer to a changed rate until the broker reports it; the median of some."""
    key, found = "leader.replication.throttled.rate", []
    for rate in range(5_000_001, 5_000_010):
        change = ConfigEntry(key, str(rate), incremental_operation=AlterConfigOpType.SET)
        broker = ConfigResource(ResourceType.BROKER, "1001", incremental_configs=[change])
        for future in confluent.incremental_alter_configs([broker]).values():
            future.result()
        began = time.perf_counter()
        while True:
            (future,) = confluent.describe_configs([ConfigResource(ResourceType.BROKER, "1001")]).values()
            entry = future.result().get(key)
            if entry is not None and entry.value == str(rate):
                break
        found.append(time.perf_counter() - began)
    change = ConfigEntry(key, "", incremental_operation=AlterConfigOpType.DELETE)
    for future in confluent.incremental_alter_configs(
        [ConfigResource(ResourceType.BROKER, "1001", incremental_configs=[change])]
    ).values():
        future.result()
    time.sleep(1.0)
    return statistics.median(found)


@contextmanager
def sockets(brokers: int, topics: int, partitions: int, applies_in_seconds: float, in_flight: int = IN_FLIGHT) -> Iterator[str]:
    """Bootstrap servers of such a cluster."""
    sizes = ["--brokers", str(brokers), "--topics", str(topics), "--partitions", str(partitions), "--in-flight", str(in_flight)]
    command = [sys.executable, "-m", "benchmarks.sockets", *sizes, "--apply-seconds", str(applies_in_seconds)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield ",".join(f"127.0.0.1:{port}" for port in list(ports.values())[:3])
    finally:
        process.kill()
        process.communicate()


@contextmanager
def without_refresh() -> Iterator[None]:
    """What is known of the whole cluster is never too old: on a busy machine each look would ask for it, a worker's do not."""
    kept = snapshots.REFRESH_SECONDS, looks.LOOK_SECONDS, looks.ACT_SECONDS
    snapshots.REFRESH_SECONDS = looks.LOOK_SECONDS = looks.ACT_SECONDS = float("inf")
    try:
        yield
    finally:
        snapshots.REFRESH_SECONDS, looks.LOOK_SECONDS, looks.ACT_SECONDS = kept


def synthetic(applies_in_seconds: float) -> dict[str, Any]:
    """300 brokers and 200,000 partitions."""
    layout = Layout(BROKERS, TOPICS, PARTITIONS)
    moves = [
        Move(topic=topic, partition=number, before=tuple(before), after=tuple(after), size_bytes=10**9, in_sync=tuple(before))
        for topic, number, before, after in layout.moves
    ]
    leaving, submitted = layout.leaving, set(layout.in_flight)
    del layout
    with sockets(BROKERS, TOPICS, PARTITIONS, applies_in_seconds) as servers:
        site = Site(servers)
        ledger = ledgers.read(site.kubernetes, TOKEN)
        owned = [
            OwnedReassignment(topic=move.topic, partition=move.partition, before=move.before, after=move.after)
            for move in moves
            if move.name in {TopicPartition(*name) for name in submitted}
        ]
        ledgers.write(site.kubernetes, ledger.model_copy(update={"reassignments": tuple(owned)}))
        at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        try:
            with without_refresh():
                first, others = site.looks(plan_of(moves, AdaptiveThrottle(), MoveLimits(), (leaving,)))
            refresh = Cost()
            refresh.of(lambda: site.clients.snapshots.recent(0.001))
        finally:
            site.kafka.close()
    return {
        "moves_planned": len(moves),
        "moves_in_flight": len(owned),
        "mover_look_cpu_seconds": max(others.cpu),
        "mover_look_median_cpu_seconds": statistics.median(others.cpu),
        "mover_look_sockets_wall_seconds": statistics.median(others.wall),
        "first_look_cpu_seconds": first.cpu[0],
        "refresh_cpu_seconds": refresh.cpu[0],
        "memory_before_bytes": at_first,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def rates(applies_in_seconds: float) -> dict[str, Any]:
    """30 brokers' rates."""
    with sockets(RATED_BROKERS, 10, 3, applies_in_seconds) as servers:
        site = Site(servers)
        brokers = range(FIRST_BROKER, FIRST_BROKER + RATED_BROKERS)
        seconds = []
        try:
            ledger = ledgers.read(site.kubernetes, TOKEN)
            for rate in (5_000_000, 6_000_000, 4_000_000):
                wanted = ThrottleRates(leader_bytes_per_s=rate, follower_bytes_per_s=rate)
                began = time.perf_counter()
                ledger = ledgers.set_rates(site.kafka, site.kubernetes, FakeFence(), ledger, dict.fromkeys(brokers, wanted))
                seconds.append(time.perf_counter() - began)
                if set(site.kafka.throttle_rates(brokers).values()) != {wanted}:
                    raise RuntimeError("the rates are not set")
        finally:
            site.kafka.close()
    return {"rates_30_brokers_seconds": max(seconds[1:]), "rates_30_brokers_first_seconds": seconds[0]}


PARTS: dict[str, Callable[[float], dict[str, Any]]] = {"real": lambda _: real(), "synthetic": synthetic, "rates": rates}


def part(name: str, applies_in_seconds: float) -> dict[str, Any]:
    """In a process of its own, so that CPU and memory are its own."""
    command = [sys.executable, "-m", "benchmarks.looks", "--part", name, "--apply-seconds", str(applies_in_seconds)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.looks", description="What one look at a cluster costs.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--part", choices=PARTS, help="only this one")
    parser.add_argument(
        "--apply-seconds", type=float, default=0.05, help="of the brokers that are sockets, without the real part"
    )
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(PARTS[asked.part](asked.apply_seconds)))
        return
    found = part("real", 0.0)
    for name in ("synthetic", "rates"):
        found |= part(name, found["apply_seconds"])
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:34} {value:,.3f}" if isinstance(value, float) else f"{name:34} {value:,}")


if __name__ == "__main__":
    main()
