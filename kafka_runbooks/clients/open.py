"""The clusters that a worker may touch, by name, as one file lists them; and their clients, opened when first needed.

An operator's input names a cluster, never an address: what a worker can reach is what its owners wrote into the file.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from kafka_runbooks.clients.errors import Refused, UnknownCluster
from kafka_runbooks.clients.protocols import BrokerMetrics, Kafka, Kubernetes


class ClusterSettings(BaseModel):
    """How to reach one cluster, and what its machines can carry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(min_length=1)
    namespace: str = Field(min_length=1)
    capacity_bytes_per_s: dict[str, int] = Field(default_factory=dict)
    """Network capacity by the nodes' instance type."""
    metrics_port: int = 9404
    """Where each broker's Prometheus exporter listens."""


class ClustersFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    clusters: dict[str, ClusterSettings]


class ClustersFileSetting(BaseSettings):
    """`KAFKA_RUNBOOKS_CLUSTERS_FILE`."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_RUNBOOKS_")

    clusters_file: Path


@dataclass(frozen=True)
class ClusterClients:
    """Everything about one cluster."""

    kafka: Kafka
    kubernetes: Kubernetes
    metrics: BrokerMetrics
    settings: ClusterSettings


class Clusters(Protocol):
    """Clusters by name."""

    def names(self) -> tuple[str, ...]: ...

    def open(self, name: str) -> ClusterClients:
        """The clients of a cluster; the same ones each time.

        Raises:
            UnknownCluster: no such name.
        """


class ConfiguredClusters:
    """The clusters of a file."""

    def __init__(self, clusters: Mapping[str, ClusterSettings]) -> None:
        self._settings = dict(clusters)
        self._opened: dict[str, ClusterClients] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_file(cls, path: Path | None = None) -> "ConfiguredClusters":
        """Read the file of `KAFKA_RUNBOOKS_CLUSTERS_FILE`, or the one given.

        Raises:
            Refused: it can't be read, or a field is wrong; the message names it.
        """
        try:
            path = path or ClustersFileSetting().clusters_file
            return cls(ClustersFile.model_validate(yaml.safe_load(path.read_text())).clusters)
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise Refused(f"clusters file {path}: {error}") from error

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._settings))

    def open(self, name: str) -> ClusterClients:
        with self._lock:
            if name not in self._settings:
                raise UnknownCluster(f"{name!r} is not configured; known are {', '.join(self.names()) or 'none'}")
            if name not in self._opened:
                self._opened[name] = open_clients(name, self._settings[name])
            return self._opened[name]


def open_clients(name: str, settings: ClusterSettings) -> ClusterClients:
    """Connect to one cluster; nothing is asked of it yet."""
    from kafka_runbooks.clients.kafka import KafkaAdmin
    from kafka_runbooks.clients.kubernetes import KubernetesApi
    from kafka_runbooks.clients.metrics import PrometheusMetrics

    return ClusterClients(
        kafka=KafkaAdmin(settings.bootstrap_servers),
        kubernetes=KubernetesApi(name, settings.namespace),
        metrics=PrometheusMetrics(settings.metrics_port),
        settings=settings,
    )
