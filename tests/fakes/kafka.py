"""`protocols.Kafka` on a `World`."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.models.certificates import Stores
from kafka_runbooks.models.cluster import (
    Broker,
    BrokerConfig,
    BrokerRates,
    ClusterSnapshot,
    ControllerEndpoint,
    LogDirectory,
    MetadataQuorum,
    Partition,
    QuorumReplica,
    Reassignment,
    Replica,
    ReplicaSizes,
    ThrottledReplicas,
    ThrottleRates,
    TopicPartition,
)
from kafka_runbooks.models.features import BrokerFeatures
from kafka_runbooks.models.rights import Acl
from kafka_runbooks.models.topic_changes import NewPartitions, NewTopic
from kafka_runbooks.models.topics import TopicConfigs, ValidatedConfigs
from tests.fakes.certificates import Tls
from tests.fakes.world import World, WorldPod

ZOOKEEPER_TLS = "zookeeper.ssl.client.enable"
"""Only brokers in ZooKeeper mode know it."""
DEFAULTS: dict[str, str | None] = {
    "advertised.listeners": None,
    "background.threads": "10",
    "controller.listener.names": None,
    "controller.quorum.auto.join.enable": "false",
    "listeners": None,
    "log.cleaner.threads": "1",
    "log.dirs": None,
    "log.retention.ms": None,
    "num.io.threads": "8",
    "num.network.threads": "3",
    "process.roles": None,
    "queued.max.requests": "500",
    "ssl.allow.dn.changes": "false",
    "ssl.allow.san.changes": "false",
    "ssl.keystore.password": None,
    ZOOKEEPER_TLS: "false",
}
"""The configurations that brokers of the world know, and Kafka's default of each."""
SENSITIVE = {"ssl.keystore.password"}
DYNAMIC = {"background.threads", "log.cleaner.threads", "log.retention.ms", "num.io.threads", "num.network.threads"} | SENSITIVE
TOPIC_KEYS = frozenset(
    {
        "cleanup.policy",
        "follower.replication.throttled.replicas",
        "leader.replication.throttled.replicas",
        "min.insync.replicas",
        "retention.ms",
    }
)
"""The configurations that topics of the world know."""
CONTROLLER_LISTENER = "CONTROLLER"


class FakeKafka:
    def __init__(self, world: World) -> None:
        self.world = world
        self._seen: list[ClusterSnapshot] = []
        self._known: dict[int, ClusterSnapshot] = {}
        """What a broker that is cut off from the controllers knew last."""
        self._caught_up_at: dict[int, datetime] = {}

    def snapshot(self, topics: Collection[str] | None = None, *, minimum_in_sync_seconds: float = 0.0) -> ClusterSnapshot:
        whole = self._whole()
        if topics is None:
            return whole
        return replace(
            whole,
            partitions=tuple(partition for partition in whole.partitions if partition.topic in topics),
            minimum_in_sync={topic: value for topic, value in whole.minimum_in_sync.items() if topic in topics},
            topic_ids={topic: value for topic, value in whole.topic_ids.items() if topic in topics},
            fenced_brokers=(),
        )

    def _whole(self) -> ClusterSnapshot:
        self._ask()
        self.world.look()
        now = self._snapshot()
        self._seen = [*self._seen, now][-1 - self.world.metadata_lag :]
        self._note()
        answered_by = self.world.asked_broker if self.world.asked_broker is not None else now.controller_id
        known = self._known.get(answered_by, self._seen[0]) if answered_by is not None else self._seen[0]
        return replace(known, answered_by=answered_by)

    def _note(self) -> None:
        """A broker that is cut off keeps the metadata that it had; the others have the newest."""
        for broker_id in self.world.cut_off:
            self._known.setdefault(broker_id, self._snapshot())
        self._known = {broker_id: known for broker_id, known in self._known.items() if broker_id in self.world.cut_off}
        up = {pod.broker_id for pod in self.world.pods.values() if self.world.is_up(pod.broker_id)}
        self._caught_up_at.update(dict.fromkeys(up - self.world.cut_off - self.world.silent.keys(), self.world.now))

    def _snapshot(self) -> ClusterSnapshot:
        world = self.world
        up = {pod.broker_id: pod for pod in world.pods.values() if world.is_up(pod.broker_id)}
        registered = {*world.registered_racks, *up} - world.unregistered
        racks = world.registered_racks | {
            broker_id: world.nodes[pod.node].zone if pod.node else None for broker_id, pod in up.items()
        }
        hosts = {pod.broker_id: pod.name for pod in world.pods.values()}
        brokers = {
            broker_id: Broker(id=broker_id, host=hosts.get(broker_id, "gone"), port=9092, rack=racks.get(broker_id))
            for broker_id in sorted(registered)
        }
        return ClusterSnapshot(
            cluster_id="fake",
            controller_id=min(up, default=None),
            brokers=tuple(broker for broker_id, broker in brokers.items() if broker_id in up),
            fenced_brokers=tuple(broker for broker_id, broker in brokers.items() if broker_id not in up),
            partitions=tuple(
                Partition(
                    topic=name.topic,
                    partition=name.partition,
                    leader=partition.leader,
                    replicas=tuple(partition.replicas),
                    in_sync=tuple(broker_id for broker_id in partition.replicas if broker_id in partition.in_sync),
                    offline=tuple(
                        broker_id
                        for broker_id in partition.replicas
                        if broker_id not in up or name in world.failed_replicas.get(broker_id, ())
                    ),
                )
                for name, partition in sorted(world.partitions.items())
            ),
            minimum_in_sync=dict(world.minimum_in_sync),
            topic_ids=dict(world.topic_ids),
        )

    def metadata_quorum(self, asked: Collection[int] = ()) -> MetadataQuorum | None:
        self._ask()
        if not self.world.has_quorum:
            raise Unreachable("no controller leads the quorum")
        self._note()
        world, leader_id = self.world, self.world.active_controller
        if world.voters is not None:
            return self._changeable_quorum(world.voters)
        observers = tuple(_quorum_replica(*one) for one in sorted(self._caught_up_at.items()))
        end = int(world.now.timestamp())
        leader = QuorumReplica(id=leader_id, log_end_offset=end, last_fetch_at=None, last_caught_up_at=world.now)
        others = {node_id: at for node_id, at in sorted(world.caught_up_at.items()) if node_id != leader_id}
        voters = sorted((leader, *(_quorum_replica(*one) for one in others.items())), key=lambda voter: voter.id)
        return MetadataQuorum(
            leader_id=leader_id,
            leader_epoch=world.controller_epoch,
            high_watermark=end,
            voters=tuple(voters),
            observers=observers,
        )

    def _changeable_quorum(self, voting: Mapping[int, str]) -> MetadataQuorum:
        world = self.world
        fetched = {node_id: world.now if node_id == world.active_controller else at for node_id, at in self._caught_up_at.items()}
        end, never = int(world.now.timestamp()), datetime(2000, 1, 1, tzinfo=UTC)

        def replica(node_id: int, directory: str | None) -> QuorumReplica:
            follows = world.directories.get(node_id) == directory and node_id not in world.controllers_behind
            at = fetched.get(node_id, never) if follows else never
            return _quorum_replica(node_id, at).model_copy(update={"directory_id": directory})

        following = {node_id: world.directories.get(node_id) for node_id in sorted(fetched)}
        return MetadataQuorum(
            leader_id=world.active_controller,
            leader_epoch=world.controller_epoch,
            high_watermark=end,
            voters=tuple(replica(*one) for one in sorted(voting.items())),
            observers=tuple(replica(*one) for one in following.items() if voting.get(one[0]) != one[1] or one[1] is None),
        )

    def replica_sizes(self, broker_ids: Iterable[int]) -> ReplicaSizes:
        self._ask()
        sizes: dict[Replica, int] = {}
        directories: dict[int, tuple[LogDirectory, ...]] = {}
        unanswered: list[int] = []
        for broker_id in broker_ids:
            disk = self.world.disk_of(broker_id)
            if disk is None or not self.world.answers(broker_id):
                unanswered.append(broker_id)
                continue
            for (topic, partition), size_bytes in disk.items():
                sizes[Replica(topic, partition, broker_id)] = size_bytes
            directories[broker_id] = self._directories(broker_id, disk)
        online = {broker_id: found[0] for broker_id, found in directories.items()}
        return ReplicaSizes(
            size_bytes=sizes,
            unanswered_broker_ids=tuple(unanswered),
            total_bytes={one: found.total_bytes for one, found in online.items() if found.total_bytes is not None},
            usable_bytes={one: found.usable_bytes for one, found in online.items() if found.usable_bytes is not None},
            directories=directories,
        )

    def sizes_of(self, replicas: Iterable[Replica]) -> ReplicaSizes:
        wanted = set(replicas)
        found = self.replica_sizes(sorted({replica.broker_id for replica in wanted}))
        sizes = {replica: size_bytes for replica, size_bytes in found.size_bytes.items() if replica in wanted}
        held = Counter(replica.broker_id for replica in sizes)
        directories = {
            broker_id: tuple(
                one.model_copy(update={"replicas": held[broker_id] if one.replicas else 0, "used_bytes": 0})
                for one in directories
            )
            for broker_id, directories in found.directories.items()
        }
        return found.model_copy(update={"size_bytes": sizes, "directories": directories})

    def _directories(self, broker_id: int, disk: Mapping[TopicPartition, int]) -> tuple[LogDirectory, ...]:
        used, total = sum(disk.values()), self.world.capacity_bytes.get(broker_id)
        online = LogDirectory(
            path="/data/1",
            total_bytes=total,
            usable_bytes=None if total is None else total - used,
            used_bytes=used,
            replicas=len(disk),
        )
        if not self.world.failed_replicas.get(broker_id):
            return (online,)
        return (online, LogDirectory(path="/data/2", error="KafkaStorageError"))

    def reassignments(self) -> tuple[Reassignment, ...]:
        self._ask_controller()
        return tuple(
            Reassignment(
                topic=name.topic,
                partition=name.partition,
                replicas=tuple(partition.replicas),
                adding=tuple(partition.adding),
                removing=tuple(partition.removing),
            )
            for name, partition in sorted(self.world.partitions.items())
            if partition.adding or partition.removing
        )

    def alter_reassignments(self, targets: Mapping[TopicPartition, Sequence[int] | None]) -> dict[TopicPartition, str]:
        self._ask_controller()
        with self.world.act("alter_reassignments"):
            refused = {name: self._alter(name, target) for name, target in targets.items()}
        return {name: reason for name, reason in refused.items() if reason is not None}

    def _alter(self, name: TopicPartition, target: Sequence[int] | None) -> str | None:
        partition = self.world.partitions.get(name)
        if partition is None:
            return "UnknownTopicOrPartitionError"
        if (refusal := self.world.always_refused.get(name) or self._refusal(name)) is not None:
            return refusal
        # A target in the middle of another reassignment starts from what was there before that one, as in Kafka.
        before = [broker_id for broker_id in partition.replicas if broker_id not in partition.adding]
        if target is None:
            if partition.adding and partition.in_sync <= set(partition.adding):
                return "InvalidReplicationAssignmentError"  # It would take an unclean election.
            if partition.adding or partition.removing:
                self.world.drop_replicas(name, partition.adding)
                partition.adding, partition.removing = [], []
            return None
        if not target or len(set(target)) != len(target) or not all(self._is_registered(broker_id) for broker_id in target):
            return "InvalidReplicationAssignmentError"
        self.world.drop_replicas(name, [broker_id for broker_id in partition.adding if broker_id not in target])
        partition.adding = [broker_id for broker_id in target if broker_id not in before]
        partition.removing = [broker_id for broker_id in before if broker_id not in target]
        partition.replicas = [*target, *partition.removing]
        return None

    def _is_registered(self, broker_id: int) -> bool:
        """A dead broker is, until somebody unregisters it: the controller accepts it as a destination."""
        return self.world.pod_of(broker_id) is not None and broker_id not in self.world.unregistered

    def _refusal(self, name: TopicPartition) -> str | None:
        left = self.world.refusals.get(name)
        return left.pop(0) if left else None

    def elect_preferred_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        self._ask_controller()
        refused: dict[TopicPartition, str] = {}
        with self.world.act("elect_preferred_leaders"):
            for name in partitions:
                partition = self.world.partitions.get(name)
                if partition is None:
                    refused[name] = "UnknownTopicOrPartitionError"
                elif (refusal := self._refusal(name)) is not None:
                    refused[name] = refusal
                elif partition.replicas[0] in partition.in_sync and self.world.is_up(partition.replicas[0]):
                    partition.leader = partition.replicas[0]
                else:
                    refused[name] = "PreferredLeaderNotAvailableError"
        return refused

    def elect_unclean_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        self._ask_controller()
        refused: dict[TopicPartition, str] = {}
        with self.world.act("elect_unclean_leaders"):
            for name in partitions:
                partition = self.world.partitions.get(name)
                live = set() if partition is None else {one for one in partition.replicas if self.world.is_up(one)}
                if partition is None:
                    refused[name] = "UnknownTopicOrPartitionError"
                elif (refusal := self._refusal(name)) is not None:
                    refused[name] = refusal
                elif partition.leader is None and not live:
                    refused[name] = "EligibleLeadersNotAvailableError"
                elif partition.leader is None:
                    self.world.not_elected.discard(name)
                    partition.in_sync = live
            self.world.settle()
        return refused

    def rates(self, broker_ids: Iterable[int]) -> dict[int, BrokerRates]:
        self._ask()
        return {
            broker_id: BrokerRates(self.world.rates.get(broker_id, ThrottleRates()), self.world.inherited_rates)
            for broker_id in broker_ids
            if self.world.answers(broker_id)
        }

    def throttle_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        self._ask()
        rates: dict[int, ThrottleRates] = {}
        for broker_id in broker_ids:
            self._ask_broker(broker_id)
            rates[broker_id] = self.world.rates.get(broker_id, ThrottleRates())
        return rates

    def set_throttle_rates(self, broker_id: int, rates: ThrottleRates) -> None:
        self._ask_controller()
        self._ask_broker(broker_id)
        with self.world.act("set_throttle_rates"):
            self.world.rates[broker_id] = rates

    def broker_configs(
        self, broker_ids: Iterable[int], names: Collection[str] | None = None
    ) -> dict[int, dict[str, BrokerConfig]]:
        self._ask()
        known = DEFAULTS.keys() - (set() if self.world.ensemble is not None else {ZOOKEEPER_TLS})
        wanted = sorted(known if names is None else known & set(names))
        return {
            broker_id: {name: self._config(broker_id, name) for name in wanted}
            for broker_id in broker_ids
            if self.world.answers(broker_id)
        }

    def controller_configs(self, node_ids: Iterable[int], names: Collection[str]) -> dict[int, dict[str, BrokerConfig]]:
        self._ask()
        return {}

    def _config(self, broker_id: int, name: str) -> BrokerConfig:
        pod = self.world.pod_of(broker_id)
        own, for_all = (self.world.configs.get(at, {}).get(name) for at in (broker_id, None))
        levels = (own, for_all, None if pod is None else pod.file.get(name, self._controllers_file(broker_id).get(name)))
        if name in SENSITIVE:
            return BrokerConfig(None, None, None, None, name not in DYNAMIC, True)
        in_force = next((value for value in levels if value is not None), DEFAULTS[name])
        return BrokerConfig(in_force, *levels, name not in DYNAMIC, False)

    def _controllers_file(self, broker_id: int) -> dict[str, str]:
        """What is in a broker's file of its being a controller too."""
        is_controller = broker_id in self.world.directories
        own = {
            "controller.listener.names": CONTROLLER_LISTENER,
            "controller.quorum.auto.join.enable": str(broker_id in self.world.joins_again).lower(),
            "listeners": f"PLAINTEXT://:9092,{CONTROLLER_LISTENER}://:9093",
        }
        return {"process.roles": "broker,controller", **own} if is_controller else {"process.roles": "broker"}

    def set_broker_configs(self, broker_id: int | None, values: Mapping[str, str | None]) -> dict[str, str]:
        self._ask_controller()
        if broker_id is not None:
            self._ask_broker(broker_id)
        refused = {name: why for name, why in self.world.refused_configs.items() if name in values}
        refused |= {
            name: f"InvalidRequestError: Cannot update these configs dynamically: {name}" for name in values.keys() - DYNAMIC
        }
        with self.world.act("set_broker_configs"):
            found = self.world.configs.setdefault(broker_id, {})
            for name, value in values.items():
                if name not in refused:
                    found.pop(name, None)
                    if value is not None:
                        found[name] = value
        return refused

    def tls_stores(self, node_ids: Iterable[int]) -> dict[int, tuple[Stores, ...]]:
        self._ask()
        tls = self.world.tls
        if tls is None:
            return {node_id: () for node_id in node_ids if self.world.answers(node_id)}
        return {pod.broker_id: tls.stores_of(pod) for pod in tls.pods if pod.broker_id in set(node_ids) and tls.is_up(pod)}

    def refused_stores(self, node_id: int, listeners: Collection[str]) -> str | None:
        return self._tls_of(node_id).why_refused(node_id)

    def reload_stores(self, node_id: int, listeners: Collection[str]) -> None:
        tls = self._tls_of(node_id)
        with self.world.act("reload_stores"):
            tls.reload(node_id)

    def _tls_of(self, node_id: int) -> Tls:
        self._ask_controller()
        tls = self.world.tls
        if tls is None or not tls.is_up(tls.pod_of(node_id)):
            raise Unreachable(f"node {node_id} doesn't answer")
        return tls

    def topic_configs(self, topics: Iterable[str]) -> TopicConfigs:
        lists = self.throttled_replicas(topics)
        own = {
            topic: {
                **self.world.own_configs.get(topic, {}),
                "min.insync.replicas": "" if topic in self.world.default_minimum else str(self.world.minimum_in_sync[topic]),
                "leader.replication.throttled.replicas": found.leader,
                "follower.replication.throttled.replicas": found.follower,
            }
            for topic, found in lists.items()
        }
        return TopicConfigs(
            {topic: {key: value for key, value in found.items() if value} for topic, found in own.items()}, TOPIC_KEYS
        )

    def validate_topic_configs(self, sets: Sequence[Mapping[str, str]]) -> ValidatedConfigs:
        self._ask_controller()
        unknown = [[key for key in configs if key not in TOPIC_KEYS] for configs in sets]
        return ValidatedConfigs(tuple(f"Unknown topic config name: {keys[0]}" if keys else None for keys in unknown), TOPIC_KEYS)

    def create_topics(self, topics: Iterable[NewTopic], *, validate_only: bool = False) -> dict[str, str]:
        self._ask_controller()
        if validate_only:
            return {topic.name: why for topic in topics if (why := self._why_not_made(topic)) is not None}
        refused: dict[str, str] = {}
        with self.world.act("create_topics"):
            for topic in topics:
                if (why := self._why_not_made(topic)) is not None:
                    refused[topic.name] = why
                else:
                    self.world.make_topic(topic.name, topic.replicas, topic.configs)
        return refused

    def _why_not_made(self, topic: NewTopic) -> str | None:
        world = self.world
        if topic.name in world.topic_ids:
            return f"topic {topic.name}: TopicAlreadyExistsError: Topic '{topic.name}' already exists."
        for other in world.topic_ids:
            if other.replace(".", "_") == topic.name.replace(".", "_"):
                return f"topic {topic.name}: InvalidTopicError: Topic '{topic.name}' collides with existing topic: {other}"
        if unknown := [key for key in topic.configs if key not in TOPIC_KEYS]:
            return f"topic {topic.name}: InvalidConfigurationError: Unknown topic config name: {unknown[0]}"
        if topic.name in world.refused_topics:
            return f"topic {topic.name}: PolicyViolationError: {world.refused_topics[topic.name]}"
        return self._why_not_placed(topic.name, topic.replicas, len(topic.replicas[0]))

    def _why_not_placed(self, topic: str, rows: Sequence[Sequence[int]], factor: int) -> str | None:
        """By the rules of `ReplicationControlManager.validateManualPartitionAssignment`."""
        for row in rows:
            if not row or len(set(row)) != len(row) or len(row) != factor or not all(map(self._is_registered, row)):
                return f"topic {topic}: InvalidReplicaAssignmentError: {list(row)}, of {factor} replicas"
            if not any(map(self.world.is_up, row)):
                return f"topic {topic}: InvalidReplicaAssignmentError: All brokers specified are fenced"
        return None

    def add_partitions(self, topics: Iterable[NewPartitions], *, validate_only: bool = False) -> dict[str, str]:
        self._ask_controller()
        if validate_only:
            return {one.topic: why for one in topics if (why := self._why_not_grown(one)) is not None}
        refused: dict[str, str] = {}
        with self.world.act("add_partitions"):
            for one in topics:
                if (why := self._why_not_grown(one)) is not None:
                    refused[one.topic] = why
                else:
                    self.world.place_partitions(one.topic, one.replicas)
        return refused

    def _why_not_grown(self, one: NewPartitions) -> str | None:
        """Kafka knows the topic by its name."""
        there = [partition for name, partition in sorted(self.world.partitions.items()) if name.topic == one.topic]
        if not there:
            return f"partitions of topic {one.topic}: UnknownTopicOrPartitionError"
        if len(there) >= one.count:
            return f"partitions of topic {one.topic}: InvalidPartitionsError: The topic has {len(there)} partition(s)"
        if len(there) + len(one.replicas) != one.count:
            return f"partitions of topic {one.topic}: InvalidReplicaAssignmentError: {len(one.replicas)} assignments"
        if one.topic in self.world.refused_topics:
            return f"partitions of topic {one.topic}: PolicyViolationError: {self.world.refused_topics[one.topic]}"
        return self._why_not_placed(one.topic, one.replicas, len(there[0].replicas))

    def delete_topics(self, topics: Mapping[str, str]) -> dict[str, str]:
        self._ask_controller()
        with self.world.act("delete_topics"):
            for name, topic_id in topics.items():
                if self.world.topic_ids.get(name) == topic_id:
                    self.world.delete_topic(name)
        return {}

    def end_offsets(self, topics: Collection[str]) -> dict[str, tuple[int, ...]]:
        self._ask()
        found: dict[str, tuple[int, ...]] = {}
        for topic in topics:
            there = [(name, partition) for name, partition in sorted(self.world.partitions.items()) if name.topic == topic]
            if there and all(one.leader is not None and self.world.answers(one.leader) for _, one in there):
                found[topic] = tuple(self.world.end_offsets.get(name, 0) for name, _ in there)
        return found

    def set_topic_configs(self, changes: Mapping[str, Mapping[str, str | None]]) -> dict[str, str]:
        self._ask_controller()
        refused = {}
        with self.world.act("set_topic_configs"):
            for topic, wanted in changes.items():
                if unknown := [key for key in wanted if key not in TOPIC_KEYS]:
                    refused[topic] = f"InvalidConfigurationError: Unknown topic config name: {unknown[0]}"
                elif topic in self.world.topic_ids:
                    self.world.configure_topic(topic, wanted)
        return refused

    def throttled_replicas(self, topics: Iterable[str]) -> dict[str, ThrottledReplicas]:
        self._ask()
        return {topic: self.world.lists[topic] for topic in topics if topic in self.world.lists}

    def set_throttled_replicas(self, lists: Mapping[str, ThrottledReplicas]) -> dict[str, str]:
        self._ask_controller()
        refused = {topic: why for topic, why in self.world.refused_lists.items() if topic in lists}
        with self.world.act("set_throttled_replicas"):
            wanted = {topic: entries for topic, entries in lists.items() if topic not in refused}
            self.world.lists.update({topic: entries for topic, entries in wanted.items() if topic in self.world.lists})
        return refused

    def log_directory_cordons(self, broker_ids: Iterable[int]) -> dict[int, str | None]:
        self._ask()
        for broker_id in broker_ids:
            self._ask_broker(broker_id)
        known = self.world.knows_cordoned_log_directories
        return {broker_id: self.world.cordoned.get(broker_id, "") if known else None for broker_id in broker_ids}

    def cordon_log_directories(self, broker_id: int, directories: str) -> None:
        self._ask_controller()
        self._ask_broker(broker_id)
        with self.world.act("cordon_log_directories"):
            self.world.cordoned[broker_id] = directories

    def unregister_broker(self, broker_id: int) -> None:
        self._ask_controller()
        with self.world.act("unregister_broker"):
            self.world.unregistered.add(broker_id)

    def add_voter(self, voter_id: int, directory_id: str, endpoints: Iterable[ControllerEndpoint]) -> None:
        voters = self._changeable_voters("add")
        if CONTROLLER_LISTENER not in {one.listener for one in endpoints}:
            raise Refused(f"add voter {voter_id}: InvalidRequestError: no endpoint for {CONTROLLER_LISTENER}")
        is_known = self.world.answers(voter_id) and self.world.directories.get(voter_id) == directory_id
        if voter_id not in voters and not is_known:
            raise Unreachable(f"add voter {voter_id}: RequestTimedOutError: it is lagging behind")
        with self.world.act("add_voter"):
            voters.setdefault(voter_id, directory_id)

    def remove_voter(self, voter_id: int, directory_id: str) -> None:
        voters = self._changeable_voters("remove")
        with self.world.act("remove_voter"):
            if voters.get(voter_id) == directory_id:
                del voters[voter_id]
            self.world.elect_controller()
        if not self.world.has_quorum:
            raise Unreachable(f"remove voter {voter_id}: RequestTimedOutError: it isn't committed")

    def _changeable_voters(self, what: str) -> dict[int, str]:
        self._ask_controller()
        if self.world.voters is None:
            raise Refused(f"{what} voter: UnsupportedVersionError: the kraft.version feature is 0")
        return self.world.voters

    def features(self, broker_ids: Iterable[int]) -> dict[int, BrokerFeatures]:
        self._ask()
        pods = {broker_id: self.world.pod_of(broker_id) for broker_id in broker_ids if self.world.answers(broker_id)}
        return {
            broker_id: BrokerFeatures(supported=self.world.features_of(pod), finalised=dict(self.world.finalised))
            for broker_id, pod in pods.items()
            if pod is not None
        }

    def missing_acls(self, *, makes_topics: bool = False) -> tuple[Acl, ...]:
        self._ask_controller()
        return (*self.world.missing_acls, *(self.world.missing_topic_acls if makes_topics else ()))

    def update_features(self, levels: Mapping[str, int], *, validate_only: bool = False) -> dict[str, str]:
        self._ask_controller()
        world = self.world
        pods = [*world.pods.values(), *world.controllers.values()]
        wrong = [
            why
            for name, level in sorted(levels.items())
            if (why := world.refused_features.get(name) or _wrong_level(name, level, world, pods)) is not None
        ]
        if wrong:
            return dict.fromkeys(levels, f"InvalidUpdateVersionError: the update failed for all features: {wrong[0]}")
        if not validate_only:
            with world.act("update_features"):
                world.finalised.update(levels)
        return {}

    def close(self) -> None:
        pass

    def _ask(self) -> None:
        if self.world.is_kafka_away:
            raise Unreachable("Kafka doesn't answer")
        if self.world.tls is not None:
            self.world.tls.ask()

    def _ask_controller(self) -> None:
        self._ask()
        if not self.world.has_quorum:
            raise Unreachable("no controller answers")

    def _ask_broker(self, broker_id: int) -> None:
        if not self.world.answers(broker_id):
            raise Unreachable(f"broker {broker_id} doesn't answer")


def _wrong_level(name: str, level: int, world: World, pods: Iterable[WorldPod]) -> str | None:
    if level < world.finalised.get(name, 0):
        return f"{name}: can't downgrade to {level} without a downgrade"
    lacking = [pod.name for pod in pods if not level <= world.features_of(pod).get(name, (0, 0))[1]]
    return f"{name}: {lacking[0]} doesn't support level {level}" if lacking else None


def _quorum_replica(node_id: int, caught_up_at: datetime) -> QuorumReplica:
    return QuorumReplica(
        id=node_id, log_end_offset=int(caught_up_at.timestamp()), last_fetch_at=caught_up_at, last_caught_up_at=caught_up_at
    )


def _conforms(world: World) -> Kafka:
    return FakeKafka(world)
