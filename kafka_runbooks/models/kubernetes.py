"""Where a broker lives in Kubernetes: its pod, the claim and volume of its disk, the node underneath."""

from datetime import datetime

from kafka_runbooks.models.base import Model


class BrokerPod(Model):
    """A broker's pod. `uid` tells one pod from the next of the same name; `node` is None until it is scheduled."""

    name: str
    uid: str
    broker_id: int | None
    map: str | None
    stateful_set: str
    claim: str
    node: str | None = None
    pod_ip: str | None = None
    phase: str = "Pending"
    is_ready: bool = False
    is_terminating: bool = False
    why_pending: str | None = None
    """The scheduler's or kubelet's message, where the pod is not running."""
    force_ready: str | None = None
    """The break-glass annotation's raw JSON, where there is one."""


class Node(Model):
    """A node: `zone` is the brokers' rack, `map` the node group it belongs to."""

    name: str
    uid: str
    zone: str | None
    map: str | None
    instance_type: str | None
    is_ready: bool
    not_ready_since: datetime | None = None
    is_cordoned: bool = False
    cordoned_by: str | None = None
    """The raw JSON of the owner annotation, where a runbook cordoned it."""
    broker_id: int | None = None
    """The broker that its label says it carries; the label stays when the pod is gone."""


class Claim(Model):
    """A persistent volume claim and the volume bound to it; `volume_nodes` are the only nodes that can mount a local volume."""

    name: str
    uid: str
    is_terminating: bool = False
    volume: str | None = None
    volume_nodes: tuple[str, ...] = ()


class StatefulSet(Model):
    """A map's StatefulSet. It can lose only its highest ordinals: pod `<name>-<replicas - 1>` goes first."""

    name: str
    version: str
    """The object's resource version: a concurrent change is noticed."""
    replicas: int


class BrokerPlace(Model):
    """A broker as it was found before anything was changed: its pod, disk, node, map and rack."""

    broker_id: int
    pod: str
    claim: str
    claim_uid: str | None = None
    volume: str | None = None
    node: str | None = None
    node_uid: str | None = None
    map: str | None = None
    rack: str | None = None
