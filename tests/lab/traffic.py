"""Checked traffic, run inside the lab: an acks=all producer until SIGTERM, then every acknowledged record is looked for.

Usage: python traffic.py TOPIC RECORDS_PER_SECOND. Prints "ready" once its first records are acknowledged, and JSON at its end.
"""

import json
import signal
import sys
import time
from collections import Counter
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from kafka_runbooks_lab.connection import TRAFFIC, librdkafka

TIMEOUT_SECONDS = 60.0
WARM_UP_SECONDS = 3.0
"""Latencies count once what was produced in so long is acknowledged: connections and a producer id are had by then, which takes
longer where a broker has just been restarted."""


def main(topic: str, per_second: int) -> None:
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    acknowledged: set[int] = set()
    errors: list[str] = []
    latencies_ms: list[float] = []
    first = set(range(int(WARM_UP_SECONDS * per_second)))
    is_warm = False

    def delivered(sequence: int, began: float) -> Any:
        counts = is_warm

        def note(error: Any, message: Any) -> None:
            first.discard(sequence)
            if error is not None:
                errors.append(str(error))
            else:
                acknowledged.add(sequence)
                if counts:
                    latencies_ms.append(1000 * (time.monotonic() - began))

        return note

    producer = Producer(
        {
            **librdkafka(TRAFFIC),
            "acks": "all",
            "enable.idempotence": True,
            "delivery.timeout.ms": 120_000,
            "linger.ms": 5,
        }
    )
    sequence, began = 0, time.monotonic()
    while not stopping:
        producer.produce(topic, key=str(sequence), value=str(sequence), on_delivery=delivered(sequence, time.monotonic()))
        sequence += 1
        # `poll` returns with the first record that is acknowledged, which would make the rate whatever the brokers can take.
        while not stopping and (ahead := began + sequence / per_second - time.monotonic()) > 0:
            producer.poll(ahead)
            if not first and not is_warm:
                is_warm = True
                print("ready", flush=True)
    producer.flush(TIMEOUT_SECONDS)
    seen = consume(topic)
    latencies_ms.sort()
    print(
        json.dumps(
            {
                "acknowledged": len(acknowledged),
                "lost": len(acknowledged - set(seen)),
                "duplicated": sum(count - 1 for count in seen.values()),
                "produce_errors": len(errors),
                "p99_ms": latencies_ms[int(0.99 * (len(latencies_ms) - 1))] if latencies_ms else None,
            }
        ),
        flush=True,
    )


def consume(topic: str) -> "Counter[int]":
    """Every record's sequence, from the beginning of every partition to its end now."""
    consumer = Consumer({**librdkafka(TRAFFIC), "group.id": f"check-{time.time()}", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions
    ends = {one: consumer.get_watermark_offsets(TopicPartition(topic, one), timeout=TIMEOUT_SECONDS)[1] for one in partitions}
    consumer.assign([TopicPartition(topic, one, 0) for one in partitions])
    seen: Counter[int] = Counter()
    left = sum(ends.values())
    gives_up = time.monotonic() + TIMEOUT_SECONDS
    while left and time.monotonic() < gives_up:
        for message in consumer.consume(1000, timeout=1.0):
            value = message.value()
            if message.error() is None and value is not None:
                seen[int(value)] += 1
                left -= 1
    consumer.close()
    return seen


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
