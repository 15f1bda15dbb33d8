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
from kafka_runbooks.clients.metrics.settings import (
    DatadogSource,
    ExporterSource,
    FileSource,
    MetricsSource,
    PrometheusSource,
    ZookeeperSource,
)
from kafka_runbooks.clients.protocols import BrokerMetrics, Kafka, Kubernetes


class ClusterSettings(BaseModel):
    """How to reach one cluster, and what its machines can carry."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap_servers: str = Field(min_length=1)
    namespace: str = Field(min_length=1)
    capacity_bytes_per_s: dict[str, int] = Field(default_factory=dict)
    """Network capacity by the nodes' instance type."""
    metrics_port: int = Field(default=9404, ge=1, le=65535)
    """Where each broker's Prometheus exporter listens."""
    metrics: MetricsSource = Field(default_factory=ExporterSource)
    """Where figures about the brokers come from."""


class ClustersFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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
        except ValidationError as error:
            raise Refused("no clusters file: set KAFKA_RUNBOOKS_CLUSTERS_FILE to its path") from error
        try:
            return cls(ClustersFile.model_validate(yaml.safe_load(path.read_text())).clusters)
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"clusters file {path}: can't be read: {error}") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = "" if mark is None else f" in line {mark.line + 1}"
            raise Refused(f"clusters file {path}: isn't YAML: {getattr(error, 'problem', 'unreadable')}{where}") from None
        except ValidationError as error:
            raise Refused(f"clusters file {path}: {faults(error)}") from error

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._settings))

    def open(self, name: str) -> ClusterClients:
        with self._lock:
            if name not in self._settings:
                raise UnknownCluster(f"{name!r} is not configured; known are {', '.join(self.names()) or 'none'}")
            if name not in self._opened:
                self._opened[name] = open_clients(name, self._settings[name])
            return self._opened[name]


def faults(error: ValidationError) -> str:
    """Every fault by its field. What stands in the field is left out: it may be a secret in the wrong place."""
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors())


def open_clients(name: str, settings: ClusterSettings) -> ClusterClients:
    """Connect to one cluster; nothing is asked of it yet."""
    from kafka_runbooks.clients.kafka import KafkaAdmin
    from kafka_runbooks.clients.kubernetes import KubernetesApi

    return ClusterClients(
        kafka=KafkaAdmin(settings.bootstrap_servers),
        kubernetes=KubernetesApi(name, settings.namespace),
        metrics=open_metrics(settings),
        settings=settings,
    )


def open_metrics(settings: ClusterSettings) -> BrokerMetrics:
    """The backend that the cluster's entry names; its library is imported here, for those who use it alone."""
    source = settings.metrics
    match source:
        case ExporterSource():
            from kafka_runbooks.clients.metrics.exporter import ExporterMetrics

            return ExporterMetrics(settings.metrics_port)
        case PrometheusSource():
            from kafka_runbooks.clients.metrics.prometheus import PrometheusMetrics

            return PrometheusMetrics(source)
        case DatadogSource():
            from kafka_runbooks.clients.metrics.datadog import DatadogMetrics

            return DatadogMetrics(source)
        case ZookeeperSource():
            from kafka_runbooks.clients.metrics.znodes import ZnodeMetrics

            return ZnodeMetrics(source)
        case FileSource():
            from kafka_runbooks.clients.metrics.file import FileMetrics

            return FileMetrics(source)
