"""What is set on the lab's cluster, read from Kafka, Kubernetes and Temporal directly: none of the runbooks' code takes part."""

import json
from typing import Any

from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.chaos.audit import Found, Setting

_KAFKA = """
import json, sys
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource, ResourceType
from kafka import KafkaAdminClient
admin = AdminClient(librdkafka())
metadata = admin.list_topics(timeout=20)
found, silent = [], []
own = {ConfigSource.DYNAMIC_TOPIC_CONFIG.value: 'own', ConfigSource.DYNAMIC_BROKER_CONFIG.value: 'own',
       ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG.value: 'default'}
asked = [ConfigResource(ResourceType.TOPIC, name) for name in metadata.topics]
asked += [ConfigResource(ResourceType.BROKER, str(broker)) for broker in metadata.brokers]
futures = {}
for resource in asked:
    futures.update(admin.describe_configs([resource], request_timeout=10))
for resource, future in futures.items():
    try:
        entries = future.result(20)
    except Exception as error:
        silent.append(resource.name)
        continue
    for key, entry in entries.items():
        level = own.get(int(entry.source))
        if level and entry.value and ('replication.throttled' in key or key == 'cordoned.log.dirs'):
            found.append([resource.name, key, entry.value, level])
moving = KafkaAdminClient(**kafka_python()).list_partition_reassignments()
partitions = [{'name': f'{t.topic}-{p.id}', 'replicas': p.replicas, 'in_sync': p.isrs, 'leader': p.leader}
              for t in metadata.topics.values() for p in t.partitions.values()]
print(json.dumps({'settings': found, 'silent': silent, 'moving': [f'{one.topic}-{one.partition}' for one in moving],
                  'partitions': partitions, 'brokers': sorted(metadata.brokers)}))
"""


def kafka(lab: Lab) -> dict[str, Any]:
    """Settings, reassignments, partitions and brokers."""
    found: dict[str, Any] = json.loads(runs.kafka(lab, _KAFKA))
    return found


def everything(lab: Lab) -> Found:
    """All that a run can set."""
    seen = kafka(lab)
    settings = [Setting("reassignment", name) for name in seen["moving"]]
    for name, key, value, level in seen["settings"]:
        if key.endswith("throttled.replicas"):
            direction = key.split(".", 1)[0]
            settings += [Setting("list entry", name, direction, entry.strip()) for entry in value.split(",")]
        elif key == "cordoned.log.dirs":
            settings.append(Setting("log directory cordon", name, "", value))
        else:
            settings.append(Setting("rate", "default" if level == "default" else name, key, value))
    return Found(frozenset([*settings, *_kubernetes(lab), *_permits()]), frozenset(seen["silent"]))


def _kubernetes(lab: Lab) -> list[Setting]:
    records = json.loads(lab.kubectl("-n", "kafka", "get", "configmap", "-l", "kafka-runbooks.io/record", "-o", "json"))["items"]
    found = []
    for record in records:
        kind, name = record["metadata"]["labels"]["kafka-runbooks.io/record"], record["metadata"]["name"]
        if kind == "ledger":
            found.append(Setting("ledger", name.removeprefix("kafka-runbooks-ledger-")))
        elif kind == "overrides":
            found.append(Setting("override", name, "", record.get("data", {}).get("summary", "")))
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return found + [Setting("cordon", node["metadata"]["name"]) for node in nodes if node["spec"].get("unschedulable")]


def plans(lab: Lab) -> int:
    """How many frozen plans are kept."""
    return len(lab.kubectl("-n", "kafka", "get", "configmap", "-l", "kafka-runbooks.io/record=plan", "-o", "name").split())


def _permits() -> list[Setting]:
    query = 'ExecutionStatus="Running"'
    listed = json.loads(runs.temporal("workflow", "list", "--query", query, "-o", "json").stdout or "[]")
    names = [one["execution"] for one in listed]
    return [Setting("permit", name["workflowId"]) for name in names if name["workflowId"].startswith("kafka-permit/")]


def not_whole(lab: Lab, brokers: int) -> str:
    """Why the cluster isn't whole: brokers that are missing, partitions that aren't in sync; empty where it is."""
    seen = kafka(lab)
    late = [one["name"] for one in seen["partitions"] if set(one["replicas"]) != set(one["in_sync"]) or one["leader"] < 0]
    wrong = [] if len(seen["brokers"]) == brokers else [f"brokers {seen['brokers']}"]
    return "; ".join([*wrong, *([f"not in sync: {', '.join(late[:10])}"] if late else [])])
