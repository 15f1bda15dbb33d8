"""The agent's environment, as the pod's manifest sets it."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode

Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(lambda text: text.split(",") if text else ())]


class PodSettings(BaseSettings):
    """`POD_NAME`, `POD_NAMESPACE` and `CLUSTER` come from the downward API."""

    pod_name: str = Field(min_length=1)
    pod_namespace: str = Field(min_length=1)
    cluster: str = Field(min_length=1)


class MemberSettings(PodSettings):
    """Of the agent beside a member of a ZooKeeper ensemble."""

    ensemble_size: int = Field(ge=1, le=255)
    """How many members there are, as many as the StatefulSet has replicas: each one's configuration lists all."""
    servers_file: Path = Path("/identity/servers.cfg")
    """The list, which the start script appends to `zoo.cfg`."""
    data_folder: Path = Path("/data/zookeeper")
    """ZooKeeper's `dataDir`."""
    pod_uid: str = Field(min_length=1)
    """From the downward API."""
    tls_folder: Path = Path("/etc/zookeeper-tls")
    """The Secret of the members' certificate, as cert-manager writes one: `tls.crt`, `tls.key`, `ca.crt`, `tls-combined.pem`."""
    started_tls_files: Path = Path("/identity/started-tls")
    """The folder in which the start script keeps the certificates that the member was started with."""


class AgentSettings(PodSettings):
    """Of the agent beside a broker or a controller; `NODE_NAME` comes from the downward API too."""

    node_name: str = Field(min_length=1)
    first_broker_id: int | None = Field(default=None, ge=0)
    """Of ordinal 0 of the pod's StatefulSet; a broker's agent needs it."""
    identity_file: Path = Path("/identity/broker.properties")
    kafka_bootstrap: str = Field(default="localhost:9092", min_length=1)
    """This broker. It lists the others, and those are asked."""
    kafka_config: Path | None = None
    """A file that says how to connect, with the fields of `clients.security.settings.Security`; without it by plain TCP."""
    properties_files: Paths = ()
    """What the start script makes the broker's properties of, in its order, separated by commas; empty: no changes are seen."""
    tls_files: Paths = ()
    """Kafka's PEM keystores and truststores, separated by commas, mounted into the agent's container too; empty: nobody knows."""
    started_tls_files: Path = Path("/identity/started-tls")
    """The folder in which the start script keeps the certificates that the broker was started with."""
    started_properties: Path = Path("/identity/started.properties")
    """Where the start script keeps what they were together when it started the broker."""
