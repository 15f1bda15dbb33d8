"""A producer and a consumer that check every record, and the data that a broker has to recover.

Runs inside the lab's network. `load` creates topics and fills them quickly. `run` produces with acks=all and idempotence until
SIGTERM, reads everything back, and checks that each acknowledged record is there, once, and in order: each record carries
its partition's next number, so missing, repeated or reordered records are detected.
"""

import json
import os
import signal
import struct
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_runbooks_lab.connection import ADMIN, TRAFFIC, librdkafka

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

MAPS = {(1001, 1002, 1003): ("events.clicks", "events.orders", "events.audit"), (1004, 1005, 1006): ("check_runs",)}
CHECKED = {(1001, 1002, 1003): "events.payments", (1004, 1005, 1006): "notifications"}
"""One topic of each map, with the records that are checked."""
PARTITIONS = 48
CHECKED_PARTITIONS = 12
RECORD_BYTES = 50_000
_HEADER = struct.Struct(">8sQ")


@app.command()
def load(
    size_bytes: Annotated[int, typer.Option(min=1, help="Total bytes, before replication.")] = 1_000_000_000,
) -> None:
    """Create every topic (RF 3, min.insync.replicas 2) and fill those of `MAPS` with bytes that don't compress."""
    began = time.monotonic()
    admin = AdminClient(librdkafka(ADMIN))
    for brokers, names in MAPS.items():
        _make(admin, brokers, {**dict.fromkeys(names, PARTITIONS), CHECKED[brokers]: CHECKED_PARTITIONS})
    producer = Producer(
        {
            **librdkafka(TRAFFIC),
            "acks": 1,
            "batch.size": 1_000_000,
            "linger.ms": 50,
            "queue.buffering.max.kbytes": 200_000,
        }
    )
    topics = [name for names in MAPS.values() for name in names]
    noise = os.urandom(4 * RECORD_BYTES)
    failed: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(str(error))

    for number in range(size_bytes // RECORD_BYTES):
        at = number * 977 % (3 * RECORD_BYTES)
        _produce(
            producer,
            topics[number % len(topics)],
            number // len(topics) % PARTITIONS,
            noise[at : at + RECORD_BYTES],
            delivered,
        )
    left = producer.flush(120)
    if left or failed:
        raise SystemExit(f"{left + len(failed)} records were not stored: {failed[:1]}")
    partitions = sum(len(names) * PARTITIONS + CHECKED_PARTITIONS for names in MAPS.values())
    print(json.dumps({"bytes": size_bytes, "partitions": partitions, "seconds": round(time.monotonic() - began, 1)}))


def _make(admin: AdminClient, brokers: tuple[int, ...], topics: dict[str, int]) -> None:
    """Create topics with replicas on these brokers only; existing ones are left unchanged."""
    count = len(brokers)
    wanted = [
        NewTopic(
            name,
            num_partitions=partitions,
            replica_assignment=[[brokers[(number + k) % count] for k in range(count)] for number in range(partitions)],
            config={"min.insync.replicas": "2"},
        )
        for name, partitions in topics.items()
    ]
    for future in admin.create_topics(wanted).values():
        try:
            future.result(60)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _produce(producer: Producer, topic: str, partition: int, value: bytes, delivered: Any) -> None:
    while True:
        try:
            producer.produce(topic, value=value, partition=partition, on_delivery=delivered)
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.2)


class Ledger:
    """The acknowledged and the consumed records, by partition."""

    def __init__(self) -> None:
        self.acknowledged: dict[tuple[str, int], set[int]] = {}
        self.read: dict[tuple[str, int], Counter[int]] = {}
        self.last: dict[tuple[str, int], int] = {}
        self.errors: Counter[str] = Counter()
        self.latencies_ms: list[tuple[float, float]] = []
        """When a record was acknowledged (seconds since the epoch), and how long that took."""
        self.overtaken = 0
        self.acknowledged_count = self.read_count = 0
        self.longest_gap_s = 0.0

    def note_acknowledged(self, place: tuple[str, int], number: int, sent_at: float) -> None:
        now = time.time()
        if self.latencies_ms:
            self.longest_gap_s = max(self.longest_gap_s, now - self.latencies_ms[-1][0])
        self.acknowledged.setdefault(place, set()).add(number)
        self.latencies_ms.append((now, (now - sent_at) * 1000))
        self.acknowledged_count += 1

    def note_read(self, place: tuple[str, int], number: int) -> None:
        seen = self.read.setdefault(place, Counter())
        seen[number] += 1
        self.read_count += 1
        if seen[number] == 1:
            if number < self.last.get(place, -1):
                self.overtaken += 1
            self.last[place] = max(number, self.last.get(place, -1))

    def p99_ms(self, begin: float, end: float) -> float | None:
        found = [latency for at, latency in self.latencies_ms if begin <= at < end]
        return round(float(np.percentile(found, 99)), 1) if found else None

    def report(self, windows: dict[str, tuple[float, float]]) -> dict[str, Any]:
        """The verdict. `windows` are named spans of time, in seconds since the epoch."""
        lost = sum(len(numbers - self.read.get(place, Counter()).keys()) for place, numbers in self.acknowledged.items())
        return {
            "acknowledged": self.acknowledged_count,
            "consumed": self.read_count,
            "lost": lost,
            "duplicated": sum(count - 1 for seen in self.read.values() for count in seen.values()),
            "out_of_order": self.overtaken,
            "produce_errors": sum(self.errors.values()),
            "errors": dict(self.errors),
            "longest_gap_s": round(self.longest_gap_s, 2),
            "p99_ms": {name: self.p99_ms(*window) for name, window in windows.items()},
        }


class Traffic:
    """The producer in the main thread, the consumer in another."""

    def __init__(self, topics: list[str], rate_per_s: float) -> None:
        self.ledger = Ledger()
        self._run = os.urandom(8)
        self._rate_per_s = rate_per_s
        metadata = AdminClient(librdkafka(ADMIN)).list_topics(timeout=30)
        self._places = [(topic, number) for topic in topics for number in sorted(metadata.topics[topic].partitions)]
        self._producer = Producer(
            {
                **librdkafka(TRAFFIC),
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "delivery.timeout.ms": 120_000,
                "request.timeout.ms": 10_000,
                "reconnect.backoff.max.ms": 1_000,
                "topic.metadata.refresh.interval.ms": 5_000,
            }
        )
        self._ends: dict[tuple[str, int], int] | None = None
        self._deadline = float("inf")
        self.stop = threading.Event()

    def produce(self, each_second: Any) -> None:
        """Produce until `stop`; then wait until each record was acknowledged or refused."""
        numbers = dict.fromkeys(self._places, 0)
        began, count, reported_at = time.monotonic(), 0, time.monotonic()
        while not self.stop.is_set():
            place = self._places[count % len(self._places)]
            self._send(place, numbers[place])
            numbers[place] += 1
            count += 1
            if time.monotonic() - reported_at >= 1:
                reported_at = time.monotonic()
                each_second()
            ahead = began + count / self._rate_per_s - time.monotonic()
            self._producer.poll(max(0.0, ahead))
            while (ahead := began + count / self._rate_per_s - time.monotonic()) > 0:
                self._producer.poll(ahead)
        left = self._producer.flush(150)
        if left:
            self.ledger.errors["not delivered at the end"] += left

    def _send(self, place: tuple[str, int], number: int) -> None:
        sent_at = time.time()

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self.ledger.note_acknowledged(place, number, sent_at)
            else:
                self.ledger.errors[error.name()] += 1

        _produce(self._producer, *place, _HEADER.pack(self._run, number).ljust(500, b"."), delivered)

    def consume(self) -> None:
        """Read every partition from its beginning, until the ends that `drain` has set."""
        consumer = Consumer(
            {
                **librdkafka(TRAFFIC),
                "group.id": f"traffic-{self._run.hex()}",
                "enable.auto.commit": False,
                "reconnect.backoff.max.ms": 1_000,
                "topic.metadata.refresh.interval.ms": 5_000,
            }
        )
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in self._places])
        reached: dict[tuple[str, int], int] = {}
        while time.monotonic() < self._deadline:
            for message in consumer.consume(500, timeout=0.5):
                if message.error() is not None:
                    continue
                place = (str(message.topic()), int(message.partition() or 0))
                reached[place] = int(message.offset() or 0) + 1
                value = message.value() or b""
                if len(value) >= _HEADER.size and value.startswith(self._run):
                    self.ledger.note_read(place, _HEADER.unpack_from(value)[1])
            if self._ends is not None and all(reached.get(place, 0) >= end for place, end in self._ends.items()):
                break
        consumer.close()

    def drain(self, seconds: float) -> None:
        """Let the consumer stop at the partitions' current ends, or after the timeout."""
        watermarks = Consumer({**librdkafka(TRAFFIC), "group.id": "watermarks"})
        self._deadline = time.monotonic() + seconds
        self._ends = {place: watermarks.get_watermark_offsets(TopicPartition(*place), timeout=30)[1] for place in self._places}
        watermarks.close()


@app.command()
def run(
    topics: Annotated[list[str], typer.Argument(help="Topics that exist already.")],
    stats: Annotated[Path, typer.Option(help="File for a JSON line each second.")],
    windows: Annotated[Path, typer.Option(help="Read at the end: JSON, name -> [begin, end] in seconds since the epoch.")],
    report: Annotated[Path, typer.Option(help="The final report, JSON.")],
    rate_per_s: Annotated[float, typer.Option(min=1, help="Records per second over all topics.")] = 300,
    drain_seconds: Annotated[float, typer.Option(min=1, help="How long the consumer may take at the end.")] = 90,
) -> None:
    """Produce and check until SIGTERM. Exit code 0 if no acknowledged record was lost."""
    traffic = Traffic(topics, rate_per_s)
    signal.signal(signal.SIGTERM, lambda *_: traffic.stop.set())
    consumer = threading.Thread(target=traffic.consume, name="consumer")
    consumer.start()
    ledger = traffic.ledger
    with stats.open("w") as file:

        def each_second() -> None:
            now = time.time()
            line = {
                "at": round(now, 1),
                "acknowledged": ledger.acknowledged_count,
                "consumed": ledger.read_count,
                "errors": sum(ledger.errors.values()),
                "p99_ms": ledger_p99(ledger, now),
                "longest_gap_s": round(ledger.longest_gap_s, 2),
            }
            file.write(json.dumps(line) + "\n")
            file.flush()

        traffic.produce(each_second)
    traffic.drain(drain_seconds)
    consumer.join()
    found = ledger.report(json.loads(windows.read_text()) if windows.exists() else {})
    report.write_text(json.dumps(found, indent=2))
    raise typer.Exit(1 if found["lost"] else 0)


def ledger_p99(ledger: Ledger, now: float) -> float | None:
    """Of the last five seconds; only the latest latencies are read."""
    found = [latency for at, latency in ledger.latencies_ms[-5_000:] if at >= now - 5]
    return round(float(np.percentile(found, 99)), 1) if found else None


if __name__ == "__main__":
    app()
