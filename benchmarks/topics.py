"""How long topics take: `uv run python -m benchmarks.topics [--json]`.

On a real Kafka of three brokers on this machine, with Temporal and a worker; Kubernetes is in memory. 2,000 topics of one
partition in three copies are defined in ConfigMaps:

- `create_2000_seconds`: the run that makes all of them, from its start until it is closed, proof included;
- `noop_2000_seconds`: the next one, which has nothing to do.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.results import Outcome
from tests.clients.local_kafka import RACKS, LocalKafka, running
from tests.fakes.world import World
from tests.temporal_env import Bench, bench, start_server

TOPICS, PER_CONFIG_MAP = 2_000, 500


def definitions() -> dict[str, dict[str, str]]:
    """ConfigMaps: name -> data."""
    found: dict[str, dict[str, str]] = {}
    for number in range(TOPICS):
        name = f"topics-{number // PER_CONFIG_MAP}"
        data = found.setdefault(name, {"topics.yaml": "topics:\n"})
        entry = f"{{name: events.{number:04}, partitions: 1, replication_factor: 3, configs: {{retention.ms: 3600000}}}}"
        data["topics.yaml"] += f"  - {entry}\n"
    return found


async def seconds(ready: Bench, expected: Outcome) -> float:
    """Of a run that ends so."""
    began = time.monotonic()
    result = await (await ready.start_runbook("TopicReconcile", when_harmless="go")).result()
    if result.outcome is not expected:
        raise SystemExit(f"{result.outcome}: {result.summary}")
    return time.monotonic() - began


async def measure() -> dict[str, float]:
    """Both figures."""
    world = World(maps=("events",), zones=tuple(RACKS.values()))
    world.definitions = definitions()
    with tempfile.TemporaryDirectory() as folder, running(LocalKafka(Path(folder), RACKS)) as kafka:
        admin = KafkaAdmin(kafka.bootstrap_servers)
        try:
            async with await start_server(with_search_attributes=True) as server, bench(server, world, admin) as ready:
                create = await seconds(ready, Outcome.DONE)
                noop = await seconds(ready, Outcome.NOTHING_TO_DO)
        finally:
            admin.close()
    return {"create_2000_seconds": round(create, 1), "noop_2000_seconds": round(noop, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    figures = asyncio.run(measure())
    print(json.dumps(figures) if arguments.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
