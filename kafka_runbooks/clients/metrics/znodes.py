"""Traffic from kafka-kit's znode `/<prefix>/brokermetrics`.

kafka-kit's metricsfetcher writes `{"1001": {"StorageFree": bytes}}` there, raw or gzipped, and no traffic. This backend reads
`Traffic` (the fields of `BrokerTraffic`) beside `StorageFree`: a field that kafka-kit's own reader ignores, so that a job of the
operator's can write it into the same znode. Each entry carries the time at which it was measured.
"""

import gzip
import json
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.metrics.file import read_traffic
from kafka_runbooks.clients.metrics.report import broker_ids_of, no_recovery, report
from kafka_runbooks.clients.metrics.settings import ZookeeperSource
from kafka_runbooks.clients.zookeeper.connection import Connection
from kafka_runbooks.models.kubernetes import BrokerPod
from kafka_runbooks.models.recovery import RecoveryReport
from kafka_runbooks.models.traffic import FIGURES, TOTALS, TrafficReport


class ZnodeMetrics:
    """Connects for each poll, which takes milliseconds, and leaves no session behind."""

    def __init__(self, settings: ZookeeperSource) -> None:
        self._settings = settings
        self._connection = Connection(settings)
        prefix = settings.prefix.strip("/")
        self._path = f"/{prefix}/brokermetrics" if prefix else "/brokermetrics"

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        with self._connection.session() as session:
            value = session.read(self._path)
        if value is None:
            raise Unreachable(f"no znode {self._path} on ZooKeeper {self._settings.hosts}: nothing has written metrics")
        try:
            by_broker = {name: metrics.get("Traffic") or {} for name, metrics in decode(value).items()}
            samples = read_traffic(by_broker)
        except (ValueError, TypeError, AttributeError, OSError, EOFError, zlib.error) as error:
            raise Unreachable(f"znode {self._path} isn't in kafka-kit's format: {error!r}") from error
        names = {figure: f"{self._path} Traffic.{figure}" for figure in FIGURES}
        optional = {total: f"{self._path} Traffic.{total}" for total in TOTALS}
        return report(broker_ids_of(pods), names, samples, datetime.now(UTC), self._settings.max_age_seconds, optional)

    def recovery(self, pods: Iterable[BrokerPod]) -> RecoveryReport:
        return no_recovery(pods, "zookeeper")


def decode(data: bytes) -> Any:
    """JSON, gzipped or not.

    Raises:
        ValueError, OSError, EOFError, zlib.error: it is neither.
    """
    return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
