"""Where a broker lives in Kubernetes: its pod, the claims and volumes of its disks, the node underneath.

Names are given again: to the next pod of a StatefulSet, to the claim that follows a deleted one, to a new machine in an old
machine's place. What identifies an object is its uid, and a machine what its firmware or cloud calls it (`Machine`).
"""

from datetime import datetime

from pydantic import Field

from kafka_runbooks.models.base import Model


class Machine(Model):
    """What tells a machine from the next one of the same name, as far as its kubelet reports it (`status.nodeInfo`).

    A kubelet that registers again makes a Node with another uid on the same machine, whose disks are what they were.
    """

    machine_id: str | None = None
    """/etc/machine-id: of the installed system; another one after an installation, and images are known to be cloned with it."""
    system_uuid: str | None = None
    """Of the firmware, or of the virtual machine."""
    provider_id: str | None = None
    """Of the cloud's instance."""

    def is_same(self, other: "Machine") -> bool | None:
        """Whether both are one machine with its system as it was; None where that can't be told.

        An instance with a newly installed system may have kept its disks or not, so that can't be told either.
        """
        hardware = [(self.system_uuid, other.system_uuid), (self.provider_id, other.provider_id)]
        known = [(mine, its) for mine, its in hardware if mine and its]
        if any(mine != its for mine, its in known):
            return False
        is_reinstalled = self.machine_id and other.machine_id and self.machine_id != other.machine_id
        return True if known and not is_reinstalled else None


class ConfigMap(Model):
    """A ConfigMap of somebody else's."""

    name: str
    uid: str
    data: dict[str, str]
    annotations: dict[str, str]


class SecretMount(Model):
    """A Secret in the file system of Kafka's container."""

    secret: str
    path: str
    """Where it is mounted: a directory, or with `subPath` a file."""
    is_sub_path: bool = False
    """Only one file of it, which never changes while the pod lives."""
    files: dict[str, str] = Field(default_factory=dict)
    """File -> key, where the volume names them (`items`); none: each file is called like its key."""

    def key_of(self, file: str) -> str | None:
        """The key of the Secret that a file has its content from; None: the file isn't of this Secret."""
        if self.is_sub_path:
            return file.rpartition("/")[2] if file == self.path else None
        folder, _, name = file.rpartition("/")
        if folder != self.path.rstrip("/"):
            return None
        return self.files.get(name) if self.files else name


class KafkaPod(Model):
    """A pod in which Kafka runs. `node` is None until it is scheduled; it is a name, as the scheduler binds pods to names."""

    name: str
    uid: str
    stateful_set: str
    node: str | None = None
    scheduled_at: datetime | None = None
    pod_ip: str | None = None
    phase: str = "Pending"
    is_ready: bool = False
    is_terminating: bool = False
    why_pending: str | None = None
    """The scheduler's or kubelet's message, where the pod is not running."""
    revision: str | None = None
    """Of its StatefulSet's template when it was made: outdated where it isn't the set's `update_revision`."""
    started_at: datetime | None = None
    """When Kafka's process started that runs now; None while it doesn't run. It may not serve yet."""
    restarts: int = 0
    """How often the kubelet has started Kafka again in this pod, whose uid stays the same meanwhile."""
    stuck: str | None = None
    """Why a container can't start or doesn't stay up, of the reasons that don't pass by themselves: `kafka: ErrImagePull: …`."""
    is_controller: bool = False
    """It is a KRaft controller, by its label; a combined node is a broker too."""
    secrets: tuple[SecretMount, ...] = ()
    """The Secrets that Kafka's container has in its file system."""
    quorum_tls: str | None = None
    """`QUORUM_TLS` of ZooKeeper's container (`models.ensemble.QuorumTls`), which it was started with; None: it has none."""


class BrokerPod(KafkaPod):
    """A broker's pod, or a combined node's, whose node id is its broker id."""

    broker_id: int | None
    map: str | None
    claims: tuple[str, ...] = ()
    """The claims made from its StatefulSet's templates: its disks."""
    force_ready: str | None = None
    """The break-glass annotation's raw JSON, where there is one."""

    @property
    def node_id(self) -> int | None:
        return self.broker_id


class ControllerPod(KafkaPod):
    """The pod of a KRaft controller that is no broker. Its zone is its node's."""

    node_id: int | None
    """In the quorum; None where the pod doesn't tell."""
    is_controller: bool = True


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
    machine: Machine = Machine()
    created_at: datetime | None = None
    taints: tuple[str, ...] = ()
    """Keys of its taints: what drains, autoscalers and clouds announce (`ToBeDeletedByClusterAutoscaler`), and its own state."""


class Claim(Model):
    """A persistent volume claim and the volume bound to it; `volume_nodes` are the only nodes that can mount a local volume."""

    name: str
    uid: str
    is_terminating: bool = False
    volume: str | None = None
    volume_nodes: tuple[str, ...] = ()
    volume_zone: str | None = None
    """The only zone in which the volume can be mounted, where it is bound to one."""


class StatefulSet(Model):
    """A StatefulSet of brokers or controllers. It can lose only its highest ordinals."""

    name: str
    version: str
    """The object's resource version: a concurrent change is noticed."""
    replicas: int
    first_ordinal: int = 0
    """`spec.ordinals.start`."""
    claim_templates: tuple[str, ...] = ("data",)
    """Each pod has a claim `<template>-<pod>` of each."""
    deletes_claims: bool = False
    """`whenScaled: Delete`: the claims of the pods that it loses are deleted by Kubernetes, whatever is on them."""
    update_revision: str | None = None
    """Of the template that new pods are made from; None until Kubernetes has taken note of the newest one."""
    update_strategy: str = "RollingUpdate"
    """Under any other than `OnDelete`, Kubernetes restarts pods whose template changes, whatever that does to partitions."""
    marks: dict[str, str] = Field(default_factory=dict)
    """Those of its labels by which runbooks find things."""
    has_brokers: bool = True
    """By its labels; it may have controllers too."""
    readiness: str | None = None
    """What the readiness probe of Kafka's container asks by HTTP: `8099/readyz` is the agent. None: it asks something else."""
    marks_pods: bool = True
    """Its template has those of our labels that it has itself; pods without them are found by nobody."""
    quorum_tls: str | None = None
    """`QUORUM_TLS` of ZooKeeper's container, which new pods are started with."""

    @property
    def end(self) -> int:
        """The ordinal after its highest."""
        return self.first_ordinal + self.replicas

    def claims_of(self, pod: str) -> tuple[str, ...]:
        return tuple(f"{template}-{pod}" for template in self.claim_templates)


class LastStart(Model):
    """Where a broker was when it started last, as its agent recorded it. It stays when pod and node are gone."""

    rack: str | None
    node: str
    node_uid: str
    machine: Machine = Machine()


class FileChanges(Model):
    """How a broker's properties file differs from what it was started with, as the agent in its pod found.

    The kubelet brings a changed ConfigMap into a running pod within a minute or two; a broker reads its file at its start only.
    """

    pod_uid: str
    started_at: datetime
    """When the broker read its file."""
    changed: dict[str, str | None] = Field(default_factory=dict)
    """Key -> its value in the file now, where Kafka can apply it without a restart. None where only a restart applies it: Kafka
    calls it read-only or sensitive, or doesn't know it, or it is no longer in the file. So no secret is among the values."""

    def is_of(self, pod: KafkaPod) -> bool:
        """Whether it is about the process that runs in the pod now; what an earlier one was started with says nothing."""
        return self.pod_uid == pod.uid and pod.started_at is not None and self.started_at >= pod.started_at


class ApiServer(Model):
    """The Kubernetes API server: its version, and its clock."""

    version: tuple[int, int]
    """Such as 1, 34."""
    clock_ahead_seconds: float | None = None
    """How far it is ahead of ours, to a second; None: it doesn't tell."""


class DisruptionBudget(Model):
    """A PodDisruptionBudget: how many of the pods that it covers may be evicted now. It says nothing about deletions."""

    name: str
    selected_pods: int
    allowed_disruptions: int


class BrokerPlace(Model):
    """A broker as it was found before anything was changed: its pod, disks, node, map and rack."""

    broker_id: int
    pod: str
    pod_uid: str | None = None
    claims: tuple[Claim, ...] = ()
    node: str | None = None
    node_uid: str | None = None
    """None where the node's object isn't known to be the one that the broker ran on."""
    machine: Machine = Machine()
    map: str | None = None
    rack: str | None = None
    node_is_gone: bool = False
    """A person said that its node doesn't come back: a node that can't be told from it is another one."""

    @property
    def claim_uids(self) -> frozenset[str]:
        return frozenset(claim.uid for claim in self.claims)
