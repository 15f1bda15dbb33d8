"""kafka-kit's znodes, read and written: partitions' sizes and brokers' free bytes, for whoever uses both tools side by side.

kafka-kit's metricsfetcher writes two znodes and its topicmappr reads them; either tool may be ours instead. Each value is JSON,
raw or gzipped (a reader tries both):

- `/<prefix>/partitionmeta`: `{"topic": {"0": {"Size": bytes}}}`
- `/<prefix>/brokermetrics`: `{"1001": {"StorageFree": bytes}}`

They hold no traffic. We may write a third field beside `StorageFree`, `Traffic` (a `BrokerTraffic`), which kafka-kit's JSON
reader ignores. The age of sizes is the older znode's modification time, by ZooKeeper's clock, as kafka-kit takes it; traffic
says itself when it was measured.
"""

import gzip
import json
import logging
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    InvalidACLError,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.handlers.threading import KazooTimeoutError

from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.clients.metrics import at, ids, report
from kafka_runbooks.clients.metrics_file import read_traffic
from kafka_runbooks.clients.metrics_settings import ZookeeperSource
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.traffic import FIGURES, TOTALS, BrokerTraffic, StorageReport, TrafficReport

CONNECT_SECONDS = 5.0
SIZES_MAX_AGE_SECONDS = 3600.0
"""topicmappr's `--metrics-age`: 60 minutes."""

LARGEST_VALUE_BYTES = 1_000_000
"""ZooKeeper drops the connection of who sends more than `jute.maxbuffer`, by default 1 MiB with all that is around it."""

_LOGGER = logging.getLogger("kafka_runbooks.kazoo")
_LOGGER.setLevel(logging.CRITICAL)
"""kazoo would tell of each refused connection; the error that we raise does, once."""


class Znode(NamedTuple):
    value: Any
    modified_at: datetime


class ZnodeMetrics:
    """Connects for each look, a few milliseconds: no session is left behind."""

    def __init__(self, settings: ZookeeperSource) -> None:
        self._settings = settings
        prefix = settings.prefix.strip("/")
        self._folder = f"/{prefix}" if prefix else ""
        self._partitions = f"{self._folder}/partitionmeta"
        self._brokers = f"{self._folder}/brokermetrics"

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        """What `write` put beside the sizes; metricsfetcher writes none, and each broker is a problem then."""
        with self._connected() as client:
            written = self._read(client, self._brokers).value
        with self._format(self._brokers):
            samples = read_traffic({name: metrics.get("Traffic") or {} for name, metrics in written.items()})
        names = {figure: f"{self._brokers} Traffic.{figure}" for figure in FIGURES}
        totals = {total: f"{self._brokers} Traffic.{total}" for total in TOTALS}
        return report(ids(pods), names, samples, datetime.now(UTC), self._settings.max_age_seconds, totals)

    def storage(self, max_age_seconds: float = SIZES_MAX_AGE_SECONDS) -> StorageReport:
        """Sizes and free bytes, whoever wrote them.

        Raises:
            Unreachable: no ZooKeeper, no znode, one that is older than `max_age_seconds`, or not in kafka-kit's format.
        """
        with self._connected() as client:
            partitions, brokers = self._read(client, self._partitions), self._read(client, self._brokers)
        for path, znode in ((self._partitions, partitions), (self._brokers, brokers)):
            age_seconds = (datetime.now(UTC) - znode.modified_at).total_seconds()
            if age_seconds > max_age_seconds:
                raise Unreachable(f"znode {path} is stale: {age_seconds:.0f} s old, at most {max_age_seconds:g} s")
        problems: list[str] = []
        with self._format(self._partitions):
            sizes = {
                TopicPartition(topic, int(partition)): meta.get("Size")
                for topic, of_topic in partitions.value.items()
                for partition, meta in of_topic.items()
            }
        with self._format(self._brokers):
            free = {int(broker_id): metrics.get("StorageFree") for broker_id, metrics in brokers.value.items()}
        return StorageReport(
            measured_at=min(partitions.modified_at, brokers.modified_at),
            size_bytes={name: n for name, size in sizes.items() if (n := _bytes(size, f"{name} Size", problems)) is not None},
            free_bytes={b: n for b, v in free.items() if (n := _bytes(v, f"broker {b} StorageFree", problems)) is not None},
            problems=tuple(problems),
        )

    def write(self, storage: StorageReport, traffic: TrafficReport | None = None, *, compress: bool = True) -> None:
        """Write both znodes in one transaction, so that nobody reads one new and one old; created where absent.

        A broker whose free bytes aren't known is left out, with its traffic: kafka-kit would read 0 free bytes.

        Raises:
            Unreachable: no ZooKeeper.
            Conflict: somebody else created or deleted a znode meanwhile; write again.
            Refused: not allowed, or too much for one znode.
        """
        known = {} if traffic is None else traffic.by_broker
        values = {
            self._partitions: encode(partition_meta(storage), compress),
            self._brokers: encode(broker_metrics(storage, known), compress),
        }
        for path, value in values.items():
            if len(value) > LARGEST_VALUE_BYTES:
                raise Refused(f"znode {path} would have {len(value)} bytes, at most {LARGEST_VALUE_BYTES}")
        with self._connected() as client:
            if self._folder:
                client.ensure_path(self._folder)
            transaction = client.transaction()
            for path, value in values.items():
                if client.exists(path):
                    transaction.set_data(path, value)
                else:
                    transaction.create(path, value)
            # Of a transaction that fails, one operation has the cause and the others were rolled back for it.
            failed = [result for result in transaction.commit() if isinstance(result, Exception)]
            causes = [result for result in failed if not isinstance(result, (RolledBackError, RuntimeInconsistency))]
            if any(isinstance(cause, (NodeExistsError, NoNodeError)) for cause in causes):
                raise Conflict(f"znodes {' and '.join(values)} changed while they were written: {causes[0]!r}")
            if failed:
                raise (causes or failed)[0]

    def _read(self, client: KazooClient, path: str) -> Znode:
        try:
            value, stat = client.get(path)
        except NoNodeError as error:
            raise Unreachable(f"no znode {path} on ZooKeeper {self._settings.hosts}: nobody has written metrics") from error
        modified_at = at(stat.mtime / 1000)
        assert modified_at is not None
        with self._format(path):
            return Znode(decode(value), modified_at)

    @contextmanager
    def _format(self, path: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, AttributeError, OSError, EOFError, zlib.error) as error:
            raise Unreachable(f"znode {path} isn't in kafka-kit's format: {error!r}") from error

    @contextmanager
    def _connected(self) -> Iterator[KazooClient]:
        who = f"ZooKeeper {self._settings.hosts}"
        client = KazooClient(hosts=self._settings.hosts, timeout=CONNECT_SECONDS, logger=_LOGGER)
        try:
            client.start(timeout=CONNECT_SECONDS)
            yield client
        except KazooTimeoutError as error:
            raise Unreachable(f"{who} doesn't answer in {CONNECT_SECONDS:g} s") from error
        except (NoAuthError, InvalidACLError, AuthFailedError) as error:
            raise Refused(f"{who} doesn't allow it: {error!r}") from error
        except KazooException as error:
            raise Unreachable(f"{who}: {error!r}") from error
        finally:
            client.stop()
            client.close()


def partition_meta(storage: StorageReport) -> dict[str, dict[str, dict[str, int]]]:
    """The value of `partitionmeta`."""
    topics: dict[str, dict[str, dict[str, int]]] = {}
    for name, size_bytes in sorted(storage.size_bytes.items()):
        topics.setdefault(name.topic, {})[str(name.partition)] = {"Size": size_bytes}
    return topics


def broker_metrics(storage: StorageReport, traffic: Mapping[int, BrokerTraffic]) -> dict[str, dict[str, Any]]:
    """The value of `brokermetrics`."""
    brokers: dict[str, dict[str, Any]] = {}
    for broker_id, free_bytes in sorted(storage.free_bytes.items()):
        brokers[str(broker_id)] = {"StorageFree": free_bytes}
        if broker_id in traffic:
            figures = traffic[broker_id].model_dump(mode="json", exclude={"broker_id"}, exclude_none=True)
            brokers[str(broker_id)]["Traffic"] = figures
    return brokers


def encode(value: object, compress: bool) -> bytes:
    data = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    return gzip.compress(data, mtime=0) if compress else data


def decode(data: bytes) -> Any:
    """Raises ValueError, OSError, EOFError or zlib.error where it is neither JSON nor JSON in gzip."""
    return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


def _bytes(value: object, name: str, problems: list[str]) -> int | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return int(value)
    problems.append(f"{name} is missing" if value is None else f"{name} is {value!r}")
    return None
