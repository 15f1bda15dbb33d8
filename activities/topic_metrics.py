"""How many topics differ from their definitions, as this worker saw them last, for Prometheus.

A look that is old says nothing: another worker may have made the newer ones.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from activities.certificate_metrics import REGISTRY
from kafka_runbooks.models.topic_changes import DriftKind
from kafka_runbooks.topics.changes import Changes

FORGOTTEN_SECONDS = 3 * 3600.0
"""After three looks of the example's schedule that other workers have made."""


class TopicDrift(Collector):
    """By cluster, what was seen last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, dict[str, int]]] = {}

    def tell(self, cluster: str, found: Changes) -> None:
        """Take what was seen in the place of what was seen before."""
        stays = Counter(one.kind for one in found.drift)
        counted = {
            "missing": len(found.created),
            "partitions": len(found.grown),
            "configs": len(found.configs),
            "placement": len(found.moved),
            **{kind.value: stays[kind] for kind in DriftKind},
        }
        counted[DriftKind.DELETION] += len(found.deleted)
        with self._lock:
            self._seen[cluster] = time.monotonic(), counted

    def collect(self) -> Iterator[GaugeMetricFamily]:
        drift = GaugeMetricFamily(
            "kafka_runbooks_topic_drift", "Topics that differ from their definitions", labels=["cluster", "what"]
        )
        with self._lock:
            seen = dict(self._seen)
        for cluster, (at, counted) in seen.items():
            if time.monotonic() - at < FORGOTTEN_SECONDS:
                for what, number in counted.items():
                    drift.add_metric([cluster, what], number)
        yield drift


DRIFT = TopicDrift()
"""Of this worker."""
REGISTRY.register(DRIFT)
