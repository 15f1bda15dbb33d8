"""Watches, inside the lab, whether every partition takes acks=all writes; until SIGTERM, then prints one JSON line.

Usage: python minimum_in_sync.py SAMPLES_PER_SECOND. It asks any broker that answers.
"""

import json
import signal
import sys
import time
from contextlib import suppress

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from kafka_runbooks_lab.connection import librdkafka


def main(per_second: float) -> None:
    stopping: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    admin = AdminClient(librdkafka())
    minimum = minimums(admin)
    samples, below = 0, set[str]()
    while not stopping:
        with suppress(KafkaException):
            for topic in admin.list_topics(timeout=2).topics.values():
                for one in topic.partitions.values():
                    if len(one.isrs) < min(minimum.get(topic.topic, 1), len(one.replicas)):
                        below.add(f"{topic.topic}-{one.id}: {one.isrs} of {one.replicas}")
            samples += 1
        time.sleep(1 / per_second)
    print(json.dumps({"samples": samples, "below": sorted(below)}), flush=True)


def minimums(admin: AdminClient) -> dict[str, int]:
    """Topic -> its `min.insync.replicas`."""
    found = {}
    for name in admin.list_topics(timeout=20).topics:
        ((_, future),) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).items()
        found[name] = int(future.result(20)["min.insync.replicas"].value)
    return found


if __name__ == "__main__":
    main(float(sys.argv[1]))
