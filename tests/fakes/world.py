"""A Kafka cluster in Kubernetes in memory, small and consistent: what the fakes of the Protocols look at and act upon.

For the paths that no real part can reach on purpose: a crash between two given mutations, a broker that dies at a given
step. Time moves only by `advance()`, or by one step at each look when `advance_at_look` is set, so a loop that polls gets
somewhere without waiting. What the real parts do is kept where a runbook depends upon it:

- a StatefulSet makes a deleted pod anew, with the same name and claims and another uid; claims that were deleted come anew;
- names are given again: a machine that is replaced under its old name has a Node of another uid (`replace_machine`), and so has
  a kubelet that registers again on a machine whose disks are what they were (`register_again`);
- a node keeps the label of a broker that has left it, until somebody clears it;
- a pod goes to a ready, uncordoned node of its map that carries no other broker; a claim bound to a local volume pins it;
- a pod on a lost node stays, terminating once deleted, until it is deleted by force (no kubelet answers);
- a broker that goes leaves every ISR but where it is the last one; one that is back catches up as its disk and throttles let it;
- a broker that falls silent stays registered and in the ISRs, and its node Ready, until the session and the grace are over
  (`lose_node(..., noticed_after=...)`); a pod is Ready some probes after its broker is in sync (`readiness_lag`);
- a reassignment ends when everything that arrives is in sync; leadership returns only by preferred election;
- a reassignment isn't cancelled where only arriving replicas are in sync (Kafka would need an unclean election);
- a record is replaced only in the version that was read (optimistic locking);
- a pod that is deleted stops in `shutdown_steps`, at the first of which a broker's leaders and places in ISRs go to others; a new
  one of the template as it is then comes to the same claims, and takes `start_steps`; after an unclean stop its broker recovers
  its logs for `recovery_steps` before it serves;
- a pod stays where it gets `stuck`, by its name or by its template's revision;
- a broker reads its properties file (`file`) at its start only; what is set dynamically outlives every start;
- a level of a feature is finalised only if the release in every broker's and controller's pod supports it, and never lowered;
- a controller has its disk on its node, and waits for it while that is cordoned;
- brokers can be controllers too (`combine`), voters of a quorum that can be changed (KIP-853): a vote is a disk's, and the last
  voter is removed without a word;
- controllers (`World(controllers=3)`) have an active one by majority, and another when it goes; one that is back lags for
  `controller_catch_up_steps`; without a majority nothing is answered that needs a controller.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from kafka_runbooks.models.cluster import Direction, ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.kubernetes import LastStart, Machine
from kafka_runbooks.models.rights import Acl, Right

if TYPE_CHECKING:
    from tests.fakes.certificates import Tls
    from tests.fakes.ensemble import WorldEnsemble

MEGABYTE = 1_000_000
RELEASE = {"group.version": (0, 1), "kraft.version": (0, 1), "metadata.version": (7, 27)}
"""The features that the release in every pod supports, unless its template is another one's."""


@dataclass
class WorldNode:
    name: str
    zone: str
    map: str
    uid: str
    instance_type: str = "small"
    is_ready: bool = True
    not_ready_since: datetime | None = None
    is_cordoned: bool = False
    cordoned_by: str | None = None
    broker_id: int | None = None
    machine: Machine = field(default_factory=Machine)
    created_at: datetime | None = None
    taints: tuple[str, ...] = ()
    """Beside those that follow from its state; no pod tolerates them."""


@dataclass
class WorldClaim:
    name: str
    uid: str
    is_terminating: bool = False
    volume: str | None = None
    node: str | None = None
    is_lost: bool = False
    """Its volume was on a machine that is gone; no pod can mount it."""


@dataclass
class WorldPod:
    name: str
    uid: str
    stateful_set: str
    map: str
    broker_id: int
    """A controller's is its node id."""
    claims: tuple[str, ...]
    revision: str
    node: str | None = None
    scheduled_at: datetime | None = None
    has_started: bool = False
    """Kafka serves, if nothing has killed it since."""
    started_at: datetime | None = None
    """When its Kafka process started, which may not serve yet."""
    starts_in: int = 0
    """Steps until it serves, of which the last `recovers_in` are its logs' recovery."""
    recovers_in: int = 0
    restarts: int = 0
    file: dict[str, str] = field(default_factory=dict)
    """The properties that it was started with."""
    home: str | None = None
    """The node that has its disk, of a controller: it has no claim here."""
    ends_in: int | None = None
    """Steps until it has stopped, since it was deleted."""
    in_sync_steps: int = 0
    is_terminating: bool = False
    force_ready: str | None = None


@dataclass
class WorldPartition:
    replicas: list[int]
    in_sync: set[int]
    leader: int | None
    size_bytes: int
    adding: list[int] = field(default_factory=list)
    removing: list[int] = field(default_factory=list)


class World:
    """Six brokers on two StatefulSets by default: `events` with ids 1001-1003, `checks` with ids 1004-1006, zones a, b, c."""

    def __init__(
        self,
        maps: tuple[str, ...] = ("events", "checks"),
        zones: tuple[str, ...] = ("zone-a", "zone-b", "zone-c"),
        *,
        first_broker_id: int = 1001,
        first_ordinal: int = 0,
        claim_templates: tuple[str, ...] = ("data",),
        advance_at_look: bool = True,
        step_s: float = 1.0,
        link_bytes_per_s: int = 10 * MEGABYTE,
        controllers: int = 0,
    ) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.advance_at_look = advance_at_look
        self.step_s = step_s
        self.link_bytes_per_s = link_bytes_per_s
        self.nodes: dict[str, WorldNode] = {}
        self.pods: dict[str, WorldPod] = {}
        self.claims: dict[str, WorldClaim] = {}
        self.disks: dict[str, dict[TopicPartition, int]] = {}
        """Volume -> bytes of each partition on it."""
        self.partitions: dict[TopicPartition, WorldPartition] = {}
        self.minimum_in_sync: dict[str, int] = {}
        self.rates: dict[int, ThrottleRates] = {}
        """Set on each broker itself."""
        self.default_rates = ThrottleRates()
        """Set dynamically for the whole cluster (`--entity-default`)."""
        self.static_rates = ThrottleRates()
        """In every broker's server.properties."""
        self.lists: dict[str, ThrottledReplicas] = {}
        self.records: dict[str, tuple[str, dict[str, bytes]]] = {}
        self.record_versions: dict[str, str] = {}
        self.record_annotations: dict[str, dict[str, str]] = {}
        self.definitions: dict[str, dict[str, str]] = {}
        """ConfigMaps with definitions of topics: name -> data."""
        self.events: dict[tuple[str, str], tuple[str, bool]] = {}
        """(ConfigMap, reason) -> what is said of it, and whether it is a warning."""
        self.events_are_forbidden = False
        self.annotations: dict[str, dict[str, str]] = {}
        """Of those ConfigMaps."""
        self.own_configs: dict[str, dict[str, str]] = {}
        """Topic -> what is set on it, but for `min.insync.replicas` and throttles."""
        self.end_offsets: dict[TopicPartition, int] = {}
        """Of partitions to which something was produced."""
        self.missing_topic_acls: tuple[Acl, ...] = ()
        """Of those that only the making of topics needs."""
        self.default_minimum: set[str] = set()
        """Topics on which `min.insync.replicas` isn't set."""
        self.refused_topics: dict[str, str] = {}
        """Topic -> why a policy refuses to make or grow it."""
        self.produce_p99_ms: dict[int, float] = {}
        self.killed: set[int] = set()
        """Brokers whose process is down and stays down until `revive_broker`."""
        self.frozen: set[int] = set()
        """Brokers that are up but fetch nothing: overloaded, or with a sick disk."""
        self.silent: dict[int, int] = {}
        """Brokers that answer nobody -> steps until Kafka and Kubernetes notice; until then they are up in every answer."""
        self.unnoticed: set[str] = set()
        """Nodes without power that Kubernetes still calls Ready: it takes their heartbeats' grace period to know."""
        self.readiness_lag = 0
        """Steps between a broker's being in sync and its pod's being Ready: the kubelet's probes and the agent's polls."""
        self.topic_ids: dict[str, str] = {}
        """Topic -> its id; a topic that is made again gets another one."""
        self.cut_off: set[int] = set()
        """Brokers that have lost the controllers: they answer, with the metadata of that moment, until their session ends for
        everybody else."""
        self.asked_broker: int | None = None
        """The broker that answers requests which any broker answers; None: the lowest live one."""
        self.failed_replicas: dict[int, set[TopicPartition]] = {}
        """Broker -> replicas on a log directory that failed; the broker is up."""
        self.are_controllers_away = False
        """Brokers go on, but nobody answers what needs a controller."""
        self.registered_racks: dict[int, str | None] = {}
        """Rack of each broker that has ever started."""
        self.always_refused: dict[TopicPartition, str] = {}
        """The controller's answer to each reassignment of a partition that it never accepts."""
        self.refusals: dict[TopicPartition, list[str]] = {}
        """The next errors of the controller for a partition, whatever reassignment or election is asked for; one an answer."""
        self.missing_acls: tuple[Acl, ...] = ()
        self.denied: set[Right] = set()
        """What the worker's ServiceAccount may not do."""
        self.refused_lists: dict[str, str] = {}
        """Topic -> why Kafka refuses to change its throttled replica lists: a policy, missing rights."""
        self.broker_ids: dict[str, int] = {}
        """Pod -> broker id, as they were given out; a pod that is gone keeps its entry."""
        self.stateful_sets: dict[str, int] = {}
        """Name -> how many pods it wants."""
        self.first_ordinal = first_ordinal
        """`spec.ordinals.start` of every StatefulSet."""
        self.claim_templates = claim_templates
        """Of every StatefulSet; the replicas are on the first one's volume."""
        self.deletes_claims = False
        """`whenScaled: Delete` of every StatefulSet."""
        self.last_starts: dict[str, LastStart] = {}
        """Pod -> where its broker started last, as its agent recorded it."""
        self.knows_cordoned_log_directories = True
        self.cordoned: dict[int, str] = {}
        """Broker -> its cordoned log directories (KIP-1066)."""
        self.unregistered: set[int] = set()
        self.capacity_bytes: dict[int, int] = {}
        """Broker -> size of its disk; one that isn't here doesn't tell (Kafka < 3.3)."""
        self.metadata_lag = 0
        """By so many looks the brokers' metadata are behind the controller, which alone knows reassignments at once."""
        self.not_elected: set[TopicPartition] = set()
        """Partitions that the controller leaves without a leader, once theirs is gone, until somebody asks for an unclean one."""
        self.shutdown_steps = 0
        """Of a controlled shutdown; 0: a pod that is deleted has stopped at once."""
        self.start_steps = 0
        """More steps than one that a pod needs from its node to its serving."""
        self.recovery_steps = 0
        """How long a broker recovers its logs after an unclean stop."""
        self.unclean: set[str] = set()
        """Pods whose broker has stopped without closing its logs, and hasn't started since."""
        self.stuck: dict[str, str] = {}
        """Pod, or revision of a template -> why Kafka's container doesn't start."""
        self.revisions: dict[str, str] = {}
        """StatefulSet -> its template's revision."""
        self.max_unavailable = 0
        """Of every PodDisruptionBudget."""
        self.update_strategies: dict[str, str] = {}
        """Of StatefulSets that are not `OnDelete`."""
        self.file: dict[str, str] = {"num.io.threads": "8", "log.dirs": "/data/kafka"}
        """Every broker's properties file as it is mounted now."""
        self.supported: dict[str, dict[str, tuple[int, int]]] = {}
        """Revision of a template -> the features that its release supports, other than `RELEASE`."""
        self.finalised: dict[str, int] = {"group.version": 1, "metadata.version": 27}
        self.refused_features: dict[str, str] = {}
        """Feature -> why the controller refuses each update of it."""
        self.configs: dict[int | None, dict[str, str]] = {}
        """Set dynamically on a broker, or (None) for all."""
        self.refused_configs: dict[str, str] = {}
        """Name -> why Kafka refuses to set it."""
        self.controllers: dict[str, WorldPod] = {}
        """Pods of KRaft controllers; none: there is a quorum that never changes."""
        self.directories: dict[int, str] = {}
        """Brokers that are controllers too -> the id of the disk with their metadata log."""
        self.voters: dict[int, str] | None = None
        """Voter -> directory id; None: the quorum is static, of the pods in `controllers`."""
        self.controllers_behind: set[int] = set()
        """Those that follow the active controller from afar."""
        self.joins_again: set[int] = set()
        """Controllers that make themselves voters (KIP-1186), by their own word."""
        self.active_controller = 1
        self.controller_epoch = 1
        self.controller_catch_up_steps = 0
        self.caught_up_at: dict[int, datetime] = {}
        """Controller -> when it last had everything that the active one has."""
        self._controllers_back: dict[str, int] = {}
        """Controllers that have started again -> steps until they have caught up."""
        self.tls: Tls | None = None
        """None: nobody speaks TLS."""
        self.ensemble: WorldEnsemble | None = None
        """None: KRaft."""
        self.is_kafka_away = False
        self.is_kubernetes_away = False
        self.acts: list[str] = []
        """Every acting method that finished, in order."""
        self.before_act: Callable[[str], None] = lambda name: None
        self.after_act: Callable[[str], None] = lambda name: None
        self._uids = count(1)
        ids = count(first_broker_id)
        for map_name in maps:
            for ordinal, zone in enumerate(zones, first_ordinal):
                self.add_node(f"node-{map_name}-{zone[-1]}", zone, map_name)
                name = f"{map_name}-{ordinal}"
                self._create_pod(name, map_name, map_name, next(ids))
        for ordinal in range(controllers):
            self._create_controller(ordinal, zones[ordinal % len(zones)])
        self.advance()

    # what a test does to the world

    def add_node(self, name: str, zone: str, map_name: str, *, instance_type: str = "small") -> None:
        self.nodes[name] = WorldNode(
            name=name,
            zone=zone,
            map=map_name,
            uid=self.new_uid(),
            instance_type=instance_type,
            machine=Machine(machine_id=self.new_uid(), system_uuid=self.new_uid()),
            created_at=self.now,
        )
        self._schedule()

    def add_broker(self, map_name: str, zone: str) -> int:
        """The StatefulSet of a map gets one more pod, on a node of its own; returns the new broker's id, the next one."""
        broker_id = max(pod.broker_id for pod in self.pods.values()) + 1
        ordinal = self.first_ordinal + sum(1 for pod in self.pods.values() if pod.stateful_set == map_name)
        self.add_node(f"node-{map_name}-{broker_id}", zone, map_name)
        self._create_pod(f"{map_name}-{ordinal}", map_name, map_name, broker_id)
        self.advance()
        return broker_id

    def combine(self, *broker_ids: int, voters: int) -> None:
        """Brokers are controllers too, and the first of them vote."""
        self.directories = {broker_id: f"directory-{broker_id}" for broker_id in broker_ids}
        self.voters = {broker_id: self.directories[broker_id] for broker_id in broker_ids[:voters]}
        self.active_controller = broker_ids[0]

    def lose_node(self, name: str, *, noticed_after: int = 0) -> None:
        """Power cut: the node is NotReady, its broker dies, its disk is unreachable. The Node object stays.

        Args:
            name: the node.
            noticed_after: steps in which its broker already answers nobody, but is still registered and its node still Ready.
        """
        if noticed_after:
            self.silent.update({pod.broker_id: noticed_after for pod in self.pods_on(name)})
            return
        node = self.nodes[name]
        node.is_ready, node.not_ready_since = False, self.now
        self.settle()

    def restore_node(self, name: str) -> None:
        """The node is back with its disk; pods that were deleted meanwhile end, the others start anew."""
        node = self.nodes[name]
        node.is_ready, node.not_ready_since = True, None
        for pod in self.pods_on(name):
            self._stop_process(pod)
            if pod.is_terminating:
                self.remove_pod(pod)
        self.settle()

    def delete_node(self, name: str) -> None:
        """The Node object goes, as a cloud does with an instance that is gone; its pods are collected."""
        pods = self.pods_on(name)
        del self.nodes[name]
        for pod in pods:
            self.remove_pod(pod)
        self.settle()

    def replace_machine(self, name: str) -> None:
        """A new machine with empty disks in the old one's place, under its name; pods that are bound to the name stay bound."""
        old = self.nodes[name]
        self.add_node(name, old.zone, old.map, instance_type=old.instance_type)
        for claim in self.claims.values():
            claim.is_lost = claim.is_lost or claim.node == name
        for pod in self.pods_on(name):
            self._stop_process(pod)
        self.settle()

    def register_again(self, name: str) -> None:
        """The kubelet makes a new Node on the same machine, whose disks are what they were."""
        old = self.nodes[name]
        self.nodes[name] = replace(old, uid=self.new_uid(), is_ready=True, not_ready_since=None, created_at=self.now)
        self.settle()

    def kill_broker(self, broker_id: int) -> None:
        """The process is down and stays down; pod, node and disk remain."""
        self.killed.add(broker_id)
        pod = self.pod_of(broker_id)
        if pod is not None:
            self.unclean.add(pod.name)
        self.settle()

    def revive_broker(self, broker_id: int) -> None:
        """The kubelet starts the process again, in the same pod."""
        pod = self.pod_of(broker_id)
        self.killed.discard(broker_id)
        if pod is not None and pod.started_at is not None:
            pod.restarts += 1
            self._start_process(pod)
        self.settle()

    def change_template(self, stateful_set: str) -> str:
        """A new template, such as an image: pods that are made from now on have its revision, which is returned."""
        number = int(self.revision(stateful_set).rsplit("-", 1)[1])
        self.revisions[stateful_set] = f"{stateful_set}-template-{number + 1}"
        return self.revisions[stateful_set]

    def lose_reassignments(self) -> None:
        """A controller failover that loses what was in progress: as if every reassignment had been cancelled."""
        for name, partition in self.partitions.items():
            if partition.adding or partition.removing:
                self.drop_replicas(name, partition.adding)
                partition.adding, partition.removing = [], []
        self.settle()

    def grow_topic(self, topic: str, brokers: tuple[int, ...], *, size_bytes: int = 0) -> None:
        """One partition more."""
        number = sum(1 for name in self.partitions if name.topic == topic)
        name = TopicPartition(topic, number)
        self.partitions[name] = WorldPartition(list(brokers), set(brokers), brokers[0], size_bytes)
        for broker_id in brokers:
            disk = self.disk_of(broker_id)
            if disk is not None:
                disk[name] = size_bytes
        self.settle()

    def place_partitions(self, topic: str, rows: Sequence[Sequence[int]]) -> None:
        """Partitions more, which are empty: a broker that is down is in no ISR of theirs."""
        first = sum(1 for name in self.partitions if name.topic == topic)
        for number, replicas in enumerate(rows, first):
            name, up = TopicPartition(topic, number), {broker_id for broker_id in replicas if self.is_up(broker_id)}
            self.partitions[name] = WorldPartition(list(replicas), up, next((one for one in replicas if one in up), None), 0)
            for broker_id in up:
                (self.disk_of(broker_id) or {})[name] = 0

    def make_topic(self, topic: str, rows: Sequence[Sequence[int]], configs: Mapping[str, str]) -> None:
        """As a controller does that is asked for these replicas."""
        self.lists[topic] = ThrottledReplicas()
        self.topic_ids[topic] = self.new_uid()
        self.minimum_in_sync[topic] = 1
        self.default_minimum.add(topic)
        self.place_partitions(topic, rows)
        self.configure_topic(topic, configs)

    def configure_topic(self, topic: str, changes: Mapping[str, str | None]) -> None:
        """Set what is set on a topic; None: not any more."""
        own = self.own_configs.setdefault(topic, {})
        for key, value in changes.items():
            if key == "min.insync.replicas":
                self.minimum_in_sync[topic] = int(value or 1)
                (self.default_minimum.add if value is None else self.default_minimum.discard)(topic)
            elif value is None:
                own.pop(key, None)
            else:
                own[key] = value

    def add_topic(
        self,
        topic: str,
        partitions: int,
        brokers: tuple[int, ...],
        *,
        replication_factor: int = 3,
        minimum_in_sync: int = 2,
        size_bytes: int = 20 * MEGABYTE,
    ) -> None:
        """Replicas in turn over `brokers`, all in sync, each led by its preferred leader."""
        self.minimum_in_sync[topic] = minimum_in_sync
        self.lists[topic] = ThrottledReplicas()
        self.topic_ids[topic] = self.new_uid()
        for number in range(partitions):
            replicas = [brokers[(number + shift) % len(brokers)] for shift in range(replication_factor)]
            name = TopicPartition(topic, number)
            self.partitions[name] = WorldPartition(replicas, set(replicas), replicas[0], size_bytes)
            for broker_id in replicas:
                disk = self.disk_of(broker_id)
                if disk is not None:
                    disk[name] = size_bytes
        self.settle()

    def fail_log_directory(self, broker_id: int, *names: TopicPartition) -> None:
        """A log directory of a broker with several of them fails; the broker goes on without the replicas in it."""
        self.failed_replicas.setdefault(broker_id, set()).update(names)
        for name in names:
            (self.disk_of(broker_id) or {}).pop(name, None)
            partition = self.partitions[name]
            if partition.in_sync != {broker_id}:
                partition.in_sync.discard(broker_id)
        self.settle()

    def delete_topic(self, topic: str) -> None:
        self.minimum_in_sync.pop(topic)
        self.lists.pop(topic)
        self.topic_ids.pop(topic)
        self.own_configs.pop(topic, None)
        self.default_minimum.discard(topic)
        for name in [name for name in self.partitions if name.topic == topic]:
            del self.partitions[name]
            for disk in self.disks.values():
                disk.pop(name, None)

    def advance(self, steps: int = 1) -> None:
        """Let time pass: pods are scheduled and start, bytes are copied, ISRs grow, reassignments end."""
        for _ in range(steps):
            self.now += timedelta(seconds=self.step_s)
            self._notice()
            self._end()
            self._schedule()
            for pod in [*self.pods.values(), *self.controllers.values()]:
                self._start(pod)
            if self.tls is not None:
                self.tls.advance()
            if self.ensemble is not None:
                self.ensemble.advance()
            self._lead()
            self._copy()
            self.settle()
            for pod in self.pods.values():
                pod.in_sync_steps = pod.in_sync_steps + 1 if self.is_in_sync(pod.broker_id) else 0

    # looking

    def look(self) -> None:
        if self.advance_at_look:
            self.advance()

    @property
    def inherited_rates(self) -> ThrottleRates:
        """What holds on a broker that has no rates of its own."""
        return self.default_rates.over(self.static_rates)

    def _rate(self, broker_id: int, direction: Direction) -> int | None:
        return self.rates.get(broker_id, ThrottleRates()).over(self.inherited_rates).of(direction)

    def revision(self, stateful_set: str) -> str:
        """Of the template as it is now."""
        return self.revisions.get(stateful_set, f"{stateful_set}-template-1")

    def features_of(self, pod: WorldPod) -> dict[str, tuple[int, int]]:
        """What the release in a pod supports."""
        return self.supported.get(pod.revision, RELEASE)

    @property
    def has_quorum(self) -> bool:
        """Whether a controller leads: a majority of them is up."""
        if self.voters is not None:
            return not self.are_controllers_away and 2 * len(self.voters_up) > len(self.voters)
        up = sum(1 for pod in self.controllers.values() if self.runs(pod))
        return not self.are_controllers_away and (not self.controllers or 2 * up > len(self.controllers))

    @property
    def voters_up(self) -> list[int]:
        """Of a quorum that can be changed: with the disks that have their votes."""
        voters = self.voters or {}
        return sorted(one for one, directory in voters.items() if self.is_up(one) and self.directories.get(one) == directory)

    def is_active(self, node_id: int) -> bool:
        return self.has_quorum and node_id == self.active_controller

    def why_stuck(self, pod: WorldPod) -> str | None:
        fault = None if self.tls is None else self.tls.why_not_start(pod)
        return self.stuck.get(pod.name) or self.stuck.get(pod.revision) or fault

    def runs(self, pod: WorldPod) -> bool:
        """Kafka serves in this pod, as far as pod and node go."""
        return pod.has_started and self.is_on_node(pod)

    def is_on_node(self, pod: WorldPod) -> bool:
        return pod.node in self.nodes and self.nodes[pod.node].is_ready

    def is_up(self, broker_id: int) -> bool:
        pod = self.pod_of(broker_id)
        return pod is not None and self.runs(pod) and broker_id not in self.killed

    def answers(self, broker_id: int) -> bool:
        return self.is_up(broker_id) and broker_id not in self.silent

    def is_ready(self, pod: WorldPod) -> bool:
        """As Kubernetes has it: in sync for a while, or forced."""
        if not self.is_up(pod.broker_id):
            return False
        return pod.force_ready is not None or (self.is_in_sync(pod.broker_id) and pod.in_sync_steps >= self.readiness_lag)

    def pod_of(self, broker_id: int) -> WorldPod | None:
        return next((pod for pod in self.pods.values() if pod.broker_id == broker_id), None)

    def pods_on(self, node: str) -> list[WorldPod]:
        return [pod for pod in [*self.pods.values(), *self.controllers.values()] if pod.node == node]

    def disk_of(self, broker_id: int) -> dict[TopicPartition, int] | None:
        pod = self.pod_of(broker_id)
        claim = self.claims.get(pod.claims[0]) if pod else None
        return self.disks[claim.volume] if claim and claim.volume else None

    def is_in_sync(self, broker_id: int) -> bool:
        assigned = [partition for partition in self.partitions.values() if broker_id in partition.replicas]
        return self.is_up(broker_id) and all(broker_id in partition.in_sync for partition in assigned)

    def new_uid(self) -> str:
        return f"uid-{next(self._uids)}"

    # acting, for the fakes

    @contextmanager
    def act(self, name: str) -> Iterator[None]:
        """Around every mutation, so that a test can crash just before or just after the n-th."""
        self.before_act(name)
        yield
        self.settle()
        self.acts.append(name)
        self.after_act(name)

    def end_pod(self, pod: WorldPod, *, is_killed: bool) -> None:
        """The kubelet ends a pod that was deleted: after its controlled shutdown, unless it is killed."""
        runs = self.runs(pod) and pod.broker_id not in self.killed
        if not is_killed and runs and self.shutdown_steps:
            pod.is_terminating = True
            pod.ends_in = self.shutdown_steps if pod.ends_in is None else pod.ends_in
            return
        if pod.name in self.pods and (is_killed or not runs) and pod.started_at is not None:
            self.unclean.add(pod.name)
        self.remove_pod(pod)

    def remove_pod(self, pod: WorldPod) -> None:
        """The pod ends, its terminating claim too (nothing uses it any more), and the StatefulSet makes both anew."""
        if pod.name in self.controllers:
            made = replace(_anew(pod), uid=self.new_uid(), revision=self.revision(pod.stateful_set))
            self.controllers[pod.name] = replace(made, node=None, home=pod.node or pod.home)
            self._schedule()
            return
        del self.pods[pod.name]
        for claim in [self.claims[name] for name in pod.claims]:
            if claim.is_terminating:
                self.remove_claim(claim)
        self._create_pod(pod.name, pod.stateful_set, pod.map, pod.broker_id)

    def scale(self, stateful_set: str, replicas: int) -> None:
        """The controller takes pods off from the highest ordinal, or makes them anew; claims stay, but for `deletes_claims`."""
        end = self.first_ordinal + replicas
        for ordinal in range(self.first_ordinal + self.stateful_sets[stateful_set], end):
            name = f"{stateful_set}-{ordinal}"
            self._create_pod(name, stateful_set, stateful_set, self.broker_ids[name])
        self.stateful_sets[stateful_set] = replicas
        for pod in [pod for pod in self.pods.values() if pod.stateful_set == stateful_set]:
            if int(pod.name.rsplit("-", 1)[1]) >= end:
                del self.pods[pod.name]
                if self.deletes_claims:
                    for claim in pod.claims:
                        self.remove_claim(self.claims[claim])

    def remove_claim(self, claim: WorldClaim) -> None:
        del self.claims[claim.name]
        if claim.volume is not None:
            self.disks.pop(claim.volume)

    def settle(self) -> None:
        """Bring ISRs, leaders and reassignments to where they must be now that brokers went, came or copied."""
        shutting_down = {
            pod.broker_id for pod in self.pods.values() if pod.ends_in is not None and pod.ends_in < self.shutdown_steps
        }
        for name, partition in list(self.partitions.items()):
            up = {
                broker_id
                for broker_id in partition.replicas
                if self.is_up(broker_id) and name not in self.failed_replicas.get(broker_id, ())
            }
            # One that shuts down has told the controller, which takes it out of the ISRs where others are in them.
            stays = up - shutting_down
            whole = {broker_id for broker_id in stays if (self.disk_of(broker_id) or {}).get(name, -1) >= partition.size_bytes}
            partition.in_sync = partition.in_sync & whole or partition.in_sync
            self._elect(partition, up)
            if name in self.not_elected and (partition.leader is None or not (self.disk_of(partition.leader) or {}).get(name)):
                partition.leader, partition.in_sync = None, set()
            if partition.leader is not None:
                # A leader on an emptied disk has lost what nobody else had: the log is as long as its own from now on.
                disk = self.disk_of(partition.leader)
                partition.size_bytes = min(partition.size_bytes, 0 if disk is None else disk.get(name, 0))
                partition.in_sync = whole | {partition.leader}
                self._end_reassignment(name, partition)
                self._elect(partition, up)

    def _elect(self, partition: WorldPartition, up: set[int]) -> None:
        """Clean election only: in preference order, of those in sync."""
        if partition.leader not in partition.in_sync & up:
            electable = [broker_id for broker_id in partition.replicas if broker_id in partition.in_sync & up]
            partition.leader = electable[0] if electable else None

    def _end_reassignment(self, name: TopicPartition, partition: WorldPartition) -> None:
        if not (partition.adding or partition.removing) or not set(partition.adding) <= partition.in_sync:
            return
        self.drop_replicas(name, partition.removing)
        partition.adding, partition.removing = [], []

    def drop_replicas(self, name: TopicPartition, broker_ids: list[int]) -> None:
        """These brokers hold this partition no more; their copies are deleted."""
        partition = self.partitions[name]
        partition.replicas = [broker_id for broker_id in partition.replicas if broker_id not in broker_ids]
        partition.in_sync -= set(broker_ids)
        for broker_id in broker_ids:
            (self.disk_of(broker_id) or {}).pop(name, None)
            self.failed_replicas.get(broker_id, set()).discard(name)

    # physics

    def _notice(self) -> None:
        for broker_id in list(self.silent):
            self.silent[broker_id] -= 1
            if self.silent[broker_id] <= 0:
                del self.silent[broker_id]
                pod = self.pod_of(broker_id)
                if pod is not None and pod.node is not None:
                    self.lose_node(pod.node)

    def _create_pod(self, name: str, stateful_set: str, map_name: str, broker_id: int) -> None:
        claims = tuple(f"{template}-{name}" for template in self.claim_templates)
        self.broker_ids[name] = broker_id
        ordinal = int(name.rsplit("-", 1)[1])
        self.stateful_sets[stateful_set] = max(ordinal + 1 - self.first_ordinal, self.stateful_sets.get(stateful_set, 0))
        for claim in claims:
            self.claims.setdefault(claim, WorldClaim(claim, self.new_uid()))
        self.pods[name] = WorldPod(name, self.new_uid(), stateful_set, map_name, broker_id, claims, self.revision(stateful_set))
        self._schedule()

    def _create_controller(self, ordinal: int, zone: str) -> None:
        name, node = f"controller-{ordinal}", f"node-controller-{ordinal}"
        self.add_node(node, zone, "controllers")
        self.stateful_sets["controller"] = ordinal + 1
        self.controllers[name] = WorldPod(
            name, self.new_uid(), "controller", "", ordinal + 1, (), self.revision("controller"), node, self.now
        )

    def _end(self) -> None:
        for pod in [*self.pods.values(), *self.controllers.values()]:
            if pod.ends_in is not None and self.is_on_node(pod):
                pod.ends_in -= 1
                if pod.ends_in <= 0:
                    self.remove_pod(pod)

    def _start(self, pod: WorldPod) -> None:
        """A step of a pod on its way to serving."""
        if not self._can_start(pod):
            return
        if pod.has_started:
            self._serve(pod)
            return
        if pod.started_at is None:
            if self.why_stuck(pod) is not None:
                return
            self._start_process(pod)
        else:
            pod.starts_in -= 1
            pod.recovers_in = min(pod.recovers_in, pod.starts_in)
        if pod.starts_in <= 0:
            self._serve(pod)

    def _stop_process(self, pod: WorldPod) -> None:
        """Its power went; the kubelet starts it again once it can."""
        if pod.started_at is not None:
            pod.has_started, pod.started_at, pod.restarts = False, None, pod.restarts + 1
            self.unclean.add(pod.name)

    def _start_process(self, pod: WorldPod) -> None:
        """Kafka's process starts in its container: it reads its file, and recovers its logs if they weren't closed."""
        pod.started_at, pod.file, pod.has_started = self.now, dict(self.file), False
        pod.recovers_in = self.recovery_steps if pod.name in self.unclean and self.disk_of(pod.broker_id) else 0
        self.unclean.discard(pod.name)
        pod.starts_in = self.start_steps + pod.recovers_in
        if pod.starts_in <= 0:
            self._serve(pod)

    def _serve(self, pod: WorldPod) -> None:
        is_new, pod.has_started, pod.starts_in, pod.recovers_in = not pod.has_started, True, 0, 0
        if pod.name in self.pods:
            self._record_start(pod)
        elif is_new and self.caught_up_at:
            self._controllers_back[pod.name] = self.controller_catch_up_steps

    def _lead(self) -> None:
        """Controllers catch up, and choose the active one out of those that have."""
        up = {pod.broker_id: pod for pod in self.controllers.values() if self.runs(pod)}
        for pod in up.values():
            left = self._controllers_back.get(pod.name, 0)
            if left > 0:
                self._controllers_back[pod.name] = left - 1
            elif self.has_quorum:
                self._controllers_back.pop(pod.name, None)
                self.caught_up_at[pod.broker_id] = self.now
        self.elect_controller()
        if self.has_quorum and up and self.active_controller not in up:
            self.active_controller = max(up, key=lambda node_id: (self.caught_up_at.get(node_id, self.now), -node_id))
            self.controller_epoch += 1
            self.caught_up_at[self.active_controller] = self.now

    def elect_controller(self) -> None:
        """Of a quorum that can be changed, once the active one is down or has no vote any more."""
        if self.voters is not None and self.has_quorum and self.active_controller not in self.voters_up:
            self.active_controller, self.controller_epoch = self.voters_up[0], self.controller_epoch + 1

    def _schedule(self) -> None:
        for pod in self.controllers.values():
            home = self.nodes.get(pod.home or "")
            if pod.node is None and home is not None and home.is_ready and not home.is_cordoned and not home.taints:
                pod.node, pod.scheduled_at = home.name, self.now
        for pod in self.pods.values():
            claims = [self.claims.setdefault(name, WorldClaim(name, self.new_uid())) for name in pod.claims]
            if pod.node is not None or pod.is_terminating:
                continue
            node = self._choose_node(pod, claims)
            if node is None:
                continue
            pod.node, pod.scheduled_at = node.name, self.now
            node.broker_id = pod.broker_id
            for claim in claims:
                if claim.volume is None:
                    claim.volume, claim.node = f"volume-{node.name}-{self.new_uid()}", node.name
                    self.disks[claim.volume] = {}
                    if pod.broker_id in self.directories:
                        self.directories[pod.broker_id] = self.new_uid()

    def _choose_node(self, pod: WorldPod, claims: list[WorldClaim]) -> WorldNode | None:
        siblings = [other.node for other in self.pods.values() if other.stateful_set == pod.stateful_set and other.node]
        zones = {self.nodes[name].zone for name in siblings}
        fit = [
            node
            for node in self.nodes.values()
            if node.map == pod.map
            and node.is_ready
            and not node.is_cordoned
            and not node.taints
            and not any(other.node == node.name for other in self.pods.values())
            and all(claim.node is None or claim.node == node.name for claim in claims)
        ]
        # The scheduler doesn't know racks: it may choose what spreads worst.
        return min(fit, key=lambda node: (node.zone not in zones, node.name), default=None)

    def _can_start(self, pod: WorldPod) -> bool:
        return self.is_on_node(pod) and pod.ends_in is None and not any(self.claims[name].is_lost for name in pod.claims)

    def _record_start(self, pod: WorldPod) -> None:
        node = self.nodes[pod.node or ""]
        self.registered_racks[pod.broker_id] = node.zone
        self.last_starts[pod.name] = LastStart(rack=node.zone, node=node.name, node_uid=node.uid, machine=node.machine)

    def _copy(self) -> None:
        """One step of replication: each link and each throttle (KIP-73) gives what it has for that long."""
        receive: dict[int, float] = {}
        send: dict[int, float] = {}
        for name, partition in self.partitions.items():
            source = partition.leader
            if source is None or source in self.silent:
                continue
            for broker_id in partition.replicas:
                has_disk = self.answers(broker_id) and name not in self.failed_replicas.get(broker_id, ())
                disk = self.disk_of(broker_id) if has_disk else None
                missing = 0 if disk is None else partition.size_bytes - disk.get(name, 0)
                if disk is None or broker_id == source or broker_id in self.frozen:
                    continue
                allowed = receive.setdefault(broker_id, self.link_bytes_per_s * self.step_s)
                lists = self.lists[name.topic]
                limits: list[tuple[dict[int, float], int]] = [(receive, broker_id)]
                leader_rate = self._rate(source, Direction.LEADER)
                follower_rate = self._rate(broker_id, Direction.FOLLOWER)
                if leader_rate is not None and _lists(lists.leader, name.partition, source):
                    allowed = min(allowed, send.setdefault(source, leader_rate * self.step_s))
                    limits.append((send, source))
                if follower_rate is not None and _lists(lists.follower, name.partition, broker_id):
                    allowed = min(allowed, follower_rate * self.step_s)
                copied = max(0, min(missing, int(allowed)))
                disk[name] = disk.get(name, 0) + copied
                for budget, key in limits:
                    budget[key] -= copied


def _anew(pod: WorldPod) -> WorldPod:
    """Its successor before it has started, at the same place."""
    return WorldPod(
        pod.name, pod.uid, pod.stateful_set, pod.map, pod.broker_id, pod.claims, pod.revision, pod.node, pod.scheduled_at
    )


def _lists(entries: str, partition: int, broker_id: int) -> bool:
    return entries == "*" or f"{partition}:{broker_id}" in entries.split(",")
