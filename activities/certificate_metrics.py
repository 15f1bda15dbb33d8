"""The days that certificates have left, as this worker saw them last, for Prometheus.

Days are counted when they are asked for. A look that is old says nothing: another worker may have made the newer ones, and what
was renewed or removed meanwhile would raise an alarm.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kafka_runbooks.models.certificate_ends import CertificateEnd

FORGOTTEN_SECONDS = 3 * 3600.0
"""After three looks of the default schedule that other workers have made."""


class CertificateEnds(Collector):
    """By cluster, what was seen last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, tuple[CertificateEnd, ...]]] = {}

    def tell(self, cluster: str, certificates: Iterable[CertificateEnd]) -> None:
        """Take what was seen in the place of what was seen before."""
        with self._lock:
            self._seen[cluster] = time.monotonic(), tuple(certificates)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        days = GaugeMetricFamily(
            "kafka_runbooks_certificate_days_left",
            "Days until a certificate ends, below 0 once it has",
            labels=["cluster", "holder", "where", "subject"],
        )
        with self._lock:
            seen = dict(self._seen)
        now = datetime.now(UTC)
        for cluster, (at, certificates) in seen.items():
            for one in certificates if time.monotonic() - at < FORGOTTEN_SECONDS else ():
                left = (one.not_after - now) / timedelta(days=1)
                days.add_metric([cluster, one.holder, one.where, one.subject], left)
        yield days


ENDS = CertificateEnds()
"""Of this worker."""
REGISTRY = CollectorRegistry()
REGISTRY.register(ENDS)
