"""The clusters that a worker may touch, listed by name in one file, and their clients, opened on first use.

An operator's input names a cluster, never an address: a worker reaches only what its owners wrote into the file.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from kafka_runbooks.clients.certificates.protocols import Handshakes, Issuer, Secrets
from kafka_runbooks.clients.certificates.settings import (
    CertificatesSettings,
    CertManagerSettings,
    IssuerSettings,
    KubernetesSettings,
    PrivateSettings,
    StepSettings,
)
from kafka_runbooks.clients.errors import Refused, UnknownCluster
from kafka_runbooks.clients.metrics.settings import (
    DatadogSource,
    ExporterSource,
    FileSource,
    MetricsSource,
    PrometheusSource,
    ZookeeperSource,
)
from kafka_runbooks.clients.protocols import BrokerMetrics, ControllerMetrics, Kafka, Kubernetes, ZooKeeper
from kafka_runbooks.clients.security.settings import Security, read_yaml
from kafka_runbooks.clients.snapshots import Snapshots
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.certificates import ClientSecret

if TYPE_CHECKING:
    from kafka_runbooks.clients.kubernetes.connection import Connection


class TopicsSettings(BaseModel):
    """What may be done to a cluster's topics by their definitions."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    may_delete: bool = False
    """A topic that its definition marks may be deleted, once nothing is produced to it any more."""


class ClusterSettings(BaseModel):
    """How to reach one cluster, and the network capacity of its machines."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap_servers: str = Field(min_length=1)
    namespace: str = Field(min_length=1)
    security: Security = Field(default_factory=Security)
    """How brokers are connected to."""
    capacity_bytes_per_s: dict[str, int] = Field(default_factory=dict)
    """Network capacity by instance type of the nodes."""
    metrics_port: int = Field(default=9404, ge=1, le=65535)
    """The port of each broker's JMX exporter."""
    address_cache_seconds: float = Field(default=30, ge=0, le=600)
    """For how long others may connect to a restarted node's former address: Java's default, `networkaddress.cache.ttl`."""
    two_person: bool = False
    """A plan needs the approval of somebody else than the requester; a run that wouldn't wait for one is refused."""
    metrics: MetricsSource = Field(default_factory=ExporterSource)
    """The metrics backend."""
    certificates: CertificatesSettings | None = None
    """Who issues the certificates of its nodes; None where no runbook may."""
    topics: TopicsSettings | None = None
    """None where topics aren't made by definitions."""
    zookeeper: ZookeeperSettings | None = None
    """The ensemble of a cluster in ZooKeeper mode; None in KRaft mode."""


class ClustersFile(BaseModel):
    """The clusters file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    clusters: dict[str, ClusterSettings]


class ClustersFileSetting(BaseSettings):
    """The path of the clusters file, from `KAFKA_RUNBOOKS_CLUSTERS_FILE`."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_RUNBOOKS_")

    clusters_file: Path


@dataclass(frozen=True)
class CertificateClients:
    """The issuers of a cluster's certificates by name, the Secrets that these live in, and what shows which are in use."""

    secrets: Secrets
    issuers: Mapping[str, Issuer]
    issuer: str
    """The one that is asked unless a runbook is told another."""
    handshakes: Handshakes
    clients: tuple[ClientSecret, ...] = ()
    """Our own."""


@dataclass(frozen=True)
class ClusterClients:
    """The clients and settings of one cluster."""

    kafka: Kafka
    kubernetes: Kubernetes
    metrics: BrokerMetrics
    settings: ClusterSettings
    certificates: CertificateClients | None = None
    """None where the cluster's entry has none."""
    zookeeper: ZooKeeper | None = None
    """None where the cluster's entry has none: it runs in KRaft mode."""
    controllers: ControllerMetrics | None = None
    """What KRaft controllers tell during a migration; None where there is no ensemble to migrate from."""
    snapshots: Snapshots = field(init=False)
    """What is known of the cluster, for all its runs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "snapshots", Snapshots(self.kafka))


class Clusters(Protocol):
    """Clusters by name."""

    def names(self) -> tuple[str, ...]:
        """Every configured name, sorted."""

    def open(self, name: str) -> ClusterClients:
        """The clients of a cluster; the same ones on each call.

        Raises:
            UnknownCluster: no cluster of this name is configured.
        """


class ConfiguredClusters:
    """The clusters of a clusters file."""

    def __init__(self, clusters: Mapping[str, ClusterSettings]) -> None:
        self._settings = dict(clusters)
        self._opened: dict[str, ClusterClients] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_file(cls, path: Path | None = None) -> "ConfiguredClusters":
        """Read a clusters file.

        Args:
            path: by default that of `KAFKA_RUNBOOKS_CLUSTERS_FILE`.

        Raises:
            Refused: it can't be read, or a field is wrong; the message names the field.
        """
        try:
            path = path or ClustersFileSetting().clusters_file
        except ValidationError as error:
            raise Refused("no clusters file: set KAFKA_RUNBOOKS_CLUSTERS_FILE to its path") from error
        return cls(read_yaml(path, ClustersFile, "clusters file").clusters)

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
    """Make one cluster's clients; nothing connects yet."""
    from kafka_runbooks.clients.kafka import KafkaAdmin
    from kafka_runbooks.clients.kubernetes import KubernetesApi
    from kafka_runbooks.clients.kubernetes.connection import Connection

    connection = Connection()
    return ClusterClients(
        kafka=KafkaAdmin(settings.bootstrap_servers, settings.security),
        kubernetes=KubernetesApi(name, settings.namespace, connection),
        metrics=open_metrics(settings),
        settings=settings,
        certificates=open_certificates(settings, connection),
        zookeeper=open_zookeeper(settings),
        controllers=open_controllers(settings),
    )


def open_zookeeper(settings: ClusterSettings) -> ZooKeeper | None:
    """Make the client of the cluster's ensemble. Its library is imported here, only where it is used."""
    if settings.zookeeper is None:
        return None
    from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient

    return ZooKeeperClient(settings.zookeeper)


def open_controllers(settings: ClusterSettings) -> ControllerMetrics | None:
    """Make the client of controllers that migrate a cluster. Its library is imported here, only where it is used."""
    if settings.zookeeper is None:
        return None
    from kafka_runbooks.clients.metrics.controllers import ExporterControllers

    return ExporterControllers(settings.metrics_port)


def open_certificates(settings: ClusterSettings, connection: "Connection") -> CertificateClients | None:
    """Make the clients of what the cluster's entry says about certificates."""
    from kafka_runbooks.clients.certificates.handshakes import TlsHandshakes
    from kafka_runbooks.clients.kubernetes.secrets import KubernetesSecrets

    if settings.certificates is None:
        return None
    secrets = KubernetesSecrets(settings.namespace, connection)
    issuers = {
        name: open_issuer(one, secrets, connection, settings.namespace) for name, one in settings.certificates.issuers.items()
    }
    own = tuple(ClientSecret(name=name, **one.model_dump()) for name, one in settings.certificates.clients.items())
    return CertificateClients(secrets, issuers, settings.certificates.issuer, TlsHandshakes(), own)


def open_issuer(settings: IssuerSettings, secrets: Secrets, connection: "Connection", namespace: str) -> Issuer:
    """Make the client of one issuer. Its library is imported here, only where it is used."""
    match settings:
        case PrivateSettings():
            from kafka_runbooks.clients.certificates.private import PrivateIssuer

            return PrivateIssuer(secrets, settings)
        case KubernetesSettings():
            from kafka_runbooks.clients.certificates.kubernetes import KubernetesIssuer

            return KubernetesIssuer(connection, settings)
        case StepSettings():
            from kafka_runbooks.clients.certificates.step import StepIssuer

            return StepIssuer(settings)
        case CertManagerSettings():
            from kafka_runbooks.clients.certificates.cert_manager import CertManagerIssuer

            return CertManagerIssuer(connection, namespace, settings)


def open_metrics(settings: ClusterSettings) -> BrokerMetrics:
    """Make the metrics backend that the cluster's entry names. Its library is imported here, only where it is used."""
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
