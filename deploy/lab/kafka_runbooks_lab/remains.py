"""Finds what a runbook must not leave behind, without using its code: throttles, reassignments, ledgers, cordons.

`main` runs inside the lab's network.
"""

import json
import sys

from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from kafka import KafkaAdminClient

from kafka_runbooks_lab import connection
from kafka_runbooks_lab.errors import LabError
from kafka_runbooks_lab.lab import Lab


def remains(lab: Lab) -> list[str]:
    """Descriptions of everything left behind.

    Raises:
        LabError: Kafka could not be queried.
    """
    done = lab.exec([sys.executable, "-m", "kafka_runbooks_lab.remains"], timeout=120)
    if done.returncode:
        raise LabError(f"Kafka could not be queried for leftovers: {done.stderr[-1000:]}")
    found = list(json.loads(done.stdout.strip().splitlines()[-1]))
    ledgers = lab.kubectl("-n", "kafka", "get", "configmap", "-l", "kafka-runbooks.io/record=ledger", "-o", "name").split()
    cordoned = lab.kubectl("get", "nodes", "-o", "jsonpath={.items[?(@.spec.unschedulable==true)].metadata.name}").split()
    pending = lab.kubectl("-n", "kafka", "get", "pods", "--field-selector=status.phase!=Running", "-o", "name").split()
    return [*found, *ledgers, *(f"node {name} is cordoned" for name in cordoned), *(f"{name} does not run" for name in pending)]


def main() -> None:
    """Print Kafka's leftovers, as a JSON list."""
    admin = AdminClient(connection.librdkafka())
    metadata = admin.list_topics(timeout=20)
    found = []
    names = [(ResourceType.TOPIC, name) for name in metadata.topics] + [(ResourceType.BROKER, str(id)) for id in metadata.brokers]
    for kind, name in names:
        for future in admin.describe_configs([ConfigResource(kind, name)]).values():
            for key, entry in future.result(20).items():
                if "throttled" in key and entry.value and not entry.is_default:
                    found.append(f"{kind.name.lower()} {name}: {key}={entry.value[:100]}")
    late = [
        f"{topic.topic}-{partition.id} has {len(partition.isrs)} of {len(partition.replicas)} replicas in sync"
        for topic in metadata.topics.values()
        for partition in topic.partitions.values()
        if len(partition.isrs) < len(partition.replicas)
    ]
    moves = KafkaAdminClient(**connection.kafka_python()).list_partition_reassignments()
    if moves:
        found.append(f"reassignments: {moves}"[:200])
    if late:
        found.append(f"{len(late)} partitions are not in sync: {'; '.join(late[:3])}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
