"""What a look at the records of a large cluster in ZooKeeper mode costs: `uv run python -m benchmarks.ensemble [--json]`.

A real ensemble of three on loopback holds 2,000 topics of 100 partitions, as Kafka 3.9 writes them. Printed are:

- `states_seconds`: the whole of `partition_states`, the median of some; a look older than ten seconds decides nothing, and this
  is most of a look;
- `single_reads_ratio`: that time over that of reading the same znodes by a request for each, as kazoo has it, a hundred of them
  under way at once;
- `sessions_seconds`: sessions of 300 brokers, which are read before and after.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient

from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from tests.clients.local_zookeeper import LocalEnsemble

BROKERS, TOPICS, PARTITIONS = 300, 2_000, 100
LOOKS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Filling it keeps the members busy.
        patience = "tickTime=2000\nsyncLimit=30\n"
        ensemble = LocalEnsemble(Path(folder), properties=patience, java_options=("-Xmx1g", "-Dzookeeper.forceSync=no"))
        try:
            ensemble.start()
            fill(ensemble)
            figures = measure(ensemble)
        finally:
            ensemble.stop()
    print(json.dumps(figures) if given.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))


def measure(ensemble: LocalEnsemble) -> dict[str, Any]:
    client = ZooKeeperClient(ZookeeperSettings(hosts=ensemble.hosts))
    states = median(lambda: len(client.partition_states()), TOPICS * PARTITIONS)
    sessions = median(lambda: len(client.sessions().brokers), BROKERS)
    single = median(lambda: single_reads(ensemble), TOPICS * PARTITIONS)
    return {
        "partitions": TOPICS * PARTITIONS,
        "states_seconds": round(states, 2),
        "single_reads_ratio": round(states / single, 2),
        "sessions_seconds": round(sessions, 3),
    }


def median(look: Callable[[], int], expected: int) -> float:
    seconds = []
    for _ in range(LOOKS):
        began = time.monotonic()
        assert look() == expected
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds)


def single_reads(ensemble: LocalEnsemble) -> int:
    client = KazooClient(hosts=ensemble.hosts)
    client.start(timeout=20)
    try:
        read = 0
        for topic in range(TOPICS):
            paths = [path for path, _ in znodes(topic) if path.endswith("/state")]
            read += sum(1 for one in [client.get_async(path) for path in paths] if one.get(timeout=60))
        return read
    finally:
        client.stop()
        client.close()


def fill(ensemble: LocalEnsemble) -> None:
    client = KazooClient(hosts=ensemble.hosts)
    client.start(timeout=60)
    for folder in ("/brokers/ids", "/brokers/topics", "/admin/delete_topics"):
        client.ensure_path(folder)
    for nodes in (list(brokers()), *(list(znodes(topic)) for topic in range(TOPICS))):
        transaction = client.transaction()
        for path, data in nodes:
            transaction.create(path, data)
        refused = [one for one in transaction.commit() if isinstance(one, Exception)]
        assert not refused, refused[0]
    client.stop()
    client.close()


def brokers() -> Iterator[tuple[str, bytes]]:
    for number in range(BROKERS):
        endpoint = f"SSL://kafka-{number}.kafka.svc:9092"
        yield f"/brokers/ids/{1001 + number}", json.dumps({"endpoints": [endpoint], "rack": "a", "version": 5}).encode()


def znodes(topic: int) -> Iterator[tuple[str, bytes]]:
    """One topic's: a transaction, since a request has at most a megabyte."""
    root, partitions = f"/brokers/topics/events-{topic}", {str(number): replicas(topic, number) for number in range(PARTITIONS)}
    yield root, json.dumps({"version": 3, "partitions": partitions}).encode()
    yield f"{root}/partitions", b""
    for number, in_sync in partitions.items():
        state = {"controller_epoch": 3, "leader": in_sync[0], "version": 1, "leader_epoch": 7, "isr": in_sync}
        yield f"{root}/partitions/{number}", b""
        yield f"{root}/partitions/{number}/state", json.dumps(state).encode()


def replicas(topic: int, number: int) -> list[int]:
    return [1001 + (topic * 7 + number * 3 + one) % BROKERS for one in range(3)]


if __name__ == "__main__":
    main()
