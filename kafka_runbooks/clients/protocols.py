"""The outside world as runbooks see it: one small Protocol each for Kafka, Kubernetes, ZooKeeper and the brokers' metrics.

Every method is one read or one change, blocks for a bounded time, and raises one of `errors`. Reads have no side effects. Changes
are idempotent: repeating one, or applying it to an object that is gone, has no further effect.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from kafka_runbooks.models.certificates import ClientHandshake, Stores, TlsFiles
from kafka_runbooks.models.cluster import (
    BrokerConfig,
    BrokerRates,
    ClusterSnapshot,
    ControllerEndpoint,
    MetadataQuorum,
    Reassignment,
    Replica,
    ReplicaSizes,
    ThrottledReplicas,
    ThrottleRates,
    TopicPartition,
)
from kafka_runbooks.models.ensemble import BrokerSessions, Ensemble, PartitionState
from kafka_runbooks.models.features import BrokerFeatures
from kafka_runbooks.models.kraft_migration import ControllerState, MigrationZnodes
from kafka_runbooks.models.kubernetes import (
    ApiServer,
    BrokerPod,
    Claim,
    ConfigMap,
    ControllerPod,
    DisruptionBudget,
    FileChanges,
    KafkaPod,
    LastStart,
    Node,
    StatefulSet,
)
from kafka_runbooks.models.recovery import RecoveryReport
from kafka_runbooks.models.rights import Acl, Right
from kafka_runbooks.models.topic_changes import NewPartitions, NewTopic
from kafka_runbooks.models.topics import TopicConfigs, ValidatedConfigs
from kafka_runbooks.models.traffic import TrafficReport


class Record(NamedTuple):
    """A record's parts, the version in which they were read, and its annotations."""

    parts: Mapping[str, bytes]
    version: str
    annotations: Mapping[str, str]


class Kafka(Protocol):
    """One cluster's admin interface."""

    def snapshot(self, topics: Collection[str] | None = None, *, minimum_in_sync_seconds: float = 0.0) -> ClusterSnapshot:
        """Brokers, partitions, topic ids, `min.insync.replicas` of every topic, as one broker knows them.

        Args:
            topics: only these, and no fenced brokers.
            minimum_in_sync_seconds: how old what is known of `min.insync.replicas` may be.
        """

    def metadata_quorum(self, asked: Collection[int] = ()) -> MetadataQuorum | None:
        """The KRaft quorum, answered by its leader through any broker; None in ZooKeeper mode.

        Args:
            asked: the brokers in KRaft mode, where others aren't yet: only they know the quorum.

        Raises:
            Unreachable: no broker reaches a leader, so nothing that brokers say is known to be new.
        """

    def replica_sizes(self, broker_ids: Iterable[int]) -> ReplicaSizes:
        """Bytes of each replica on these brokers, and their log directories.

        All are asked at once. One that doesn't answer within some seconds is listed, not raised.
        """

    def sizes_of(self, replicas: Iterable[Replica]) -> ReplicaSizes:
        """The same of these replicas only, each asked of its broker; one that isn't there is left out.

        The log directories and volumes of their brokers are whole, but count no other replica.
        """

    def reassignments(self) -> tuple[Reassignment, ...]:
        """Every reassignment in progress, whoever started it."""

    def alter_reassignments(self, targets: Mapping[TopicPartition, Sequence[int] | None]) -> dict[TopicPartition, str]:
        """Start (a list of broker IDs) or cancel (None) reassignments; returns the refused ones with Kafka's reason.

        Cancelling one that isn't in progress is not an error.
        """

    def elect_preferred_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """Elect preferred leaders; returns the refused partitions with Kafka's reason. One that leads already is not refused."""

    def elect_unclean_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """Elect a live replica, which may lack records, for partitions without a leader; returns the refused ones likewise."""

    def rates(self, broker_ids: Iterable[int]) -> dict[int, BrokerRates]:
        """The rates set dynamically on each broker itself, and those that it inherits: the cluster's default, else its file's.

        All are asked at once. One that doesn't answer is left out.
        """

    def throttle_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        """The rates set dynamically on each broker itself, not default or static ones. Raises for a broker that is down."""

    def set_throttle_rates(self, broker_id: int, rates: ThrottleRates) -> None:
        """Set a broker's own rates (incremental; None deletes the key). Returns once the broker reports them."""

    def broker_configs(
        self, broker_ids: Iterable[int], names: Collection[str] | None = None
    ) -> dict[int, dict[str, BrokerConfig]]:
        """Configurations of each broker as it has them itself: those of these names that it knows, or all.

        All are asked at once. One that doesn't answer is left out: so this also tells who answers.
        """

    def controller_configs(self, node_ids: Iterable[int], names: Collection[str]) -> dict[int, dict[str, BrokerConfig]]:
        """The same of controllers, each asked itself, where brokers know the quorum. One that doesn't answer is left out.

        Raises:
            Refused: the account may not ask.
        """

    def set_broker_configs(self, broker_id: int | None, values: Mapping[str, str | None]) -> dict[str, str]:
        """Set a broker's own configurations, or (None) those for the whole cluster; a value of None deletes one.

        Returns the refused names with Kafka's reason; the others are set, once the broker, or every broker that answers, reports
        them. What is secret can't be read back. A broker's own value holds over its file's at every start to come, until it is
        deleted: one that was set in the file's stead has to go once the broker was started with that file.

        Raises:
            Unreachable: the broker doesn't answer, or accepts a value and doesn't report it.
        """

    def tls_stores(self, node_ids: Iterable[int]) -> dict[int, tuple[Stores, ...]]:
        """The listeners with TLS of each node, as it reports them itself, where they are connected to, and their files.

        All are asked at once. One that doesn't answer is left out.
        """

    def refused_stores(self, node_id: int, listeners: Collection[str]) -> str | None:
        """Why a node would refuse the files of these listeners as they are now; None: it would take them. Changes nothing."""

    def reload_stores(self, node_id: int, listeners: Collection[str]) -> None:
        """Have a node, a controller too, read the files of these listeners again. Nothing stays set dynamically.

        Kafka accepts that whatever is in the files: only a handshake shows what the node uses now.
        """

    def topic_configs(self, topics: Iterable[str]) -> TopicConfigs:
        """What is set on topics themselves, without what they inherit; a topic that no longer exists is left out."""

    def validate_topic_configs(self, sets: Sequence[Mapping[str, str]]) -> ValidatedConfigs:
        """Whether Kafka would make topics with these configs; nothing is made.

        Raises:
            Refused: the account may not make topics, so Kafka doesn't say.
        """

    def throttled_replicas(self, topics: Iterable[str]) -> dict[str, ThrottledReplicas]:
        """The topics' own lists; a topic that no longer exists is left out."""

    def set_throttled_replicas(self, lists: Mapping[str, ThrottledReplicas]) -> dict[str, str]:
        """Set topics' lists (incremental; an empty string deletes the key); returns the refused topics with Kafka's reason.

        A topic that no longer exists is skipped.
        """

    def create_topics(self, topics: Iterable[NewTopic], *, validate_only: bool = False) -> dict[str, str]:
        """Make topics with these replicas; returns those that were not made, with Kafka's reason.

        "It exists" may be said of one that this call has made itself.

        Args:
            topics: made in their order, hundreds in a request.
            validate_only: change nothing.

        Raises:
            Unreachable: nobody answers; some may have been made.
        """

    def add_partitions(self, topics: Iterable[NewPartitions], *, validate_only: bool = False) -> dict[str, str]:
        """Add partitions with these replicas; returns the topics that didn't get them, with Kafka's reason.

        Kafka knows the topic by its name here: look at its id just before. One that has so many by now is refused.
        """

    def delete_topics(self, topics: Mapping[str, str]) -> dict[str, str]:
        """Delete topics for good, by id: name -> id; returns those that stay, with Kafka's reason. One that is gone is fine."""

    def end_offsets(self, topics: Collection[str]) -> dict[str, tuple[int, ...]]:
        """Where each partition of topics ends, in order; a topic of which some partition's leader doesn't answer is left out."""

    def set_topic_configs(self, changes: Mapping[str, Mapping[str, str | None]]) -> dict[str, str]:
        """Set topics' own configurations; None deletes a key. Returns the topics that were not changed, with Kafka's reason.

        A topic that no longer exists is skipped. Returns before every broker knows of it.
        """

    def log_directory_cordons(self, broker_ids: Iterable[int]) -> dict[int, str | None]:
        """Each broker's cordoned log directories (KIP-1066: no new replica is placed there): paths, `*`, or empty.

        None for a broker that lacks the setting (Kafka < 4.3). Raises for a broker that is down.
        """

    def cordon_log_directories(self, broker_id: int, directories: str) -> None:
        """Cordon a broker's log directories (`*`: all of them); an empty string lifts the cordon.

        Raises:
            Refused: the broker lacks the setting (Kafka < 4.3).
        """

    def unregister_broker(self, broker_id: int) -> None:
        """Unregister a broker that is down for good; one that isn't registered is fine.

        Raises:
            Refused: the cluster is in ZooKeeper mode, where a registration ends with its session.
        """

    def add_voter(self, voter_id: int, directory_id: str, endpoints: Iterable[ControllerEndpoint]) -> None:
        """Make an observer of the metadata quorum a voter (KIP-853); returns once a majority with it has committed that.

        One whose id a voter has already is fine, whatever its directory: the quorum tells which it is.

        Args:
            voter_id: its node id.
            directory_id: of the disk with its metadata log, as the quorum lists it among the observers.
            endpoints: where the other controllers reach it, one for each listener of controllers.

        Raises:
            Unreachable: not now: it isn't caught up, or another change is under way.
            Refused: never: the quorum is static, or its Kafka too old.
        """

    def remove_voter(self, voter_id: int, directory_id: str) -> None:
        """Take a voter, up or down, out of the metadata quorum; returns once a majority of the others has committed that.

        The active controller resigns then. A node that isn't a voter with this directory is fine: the quorum tells whether its id
        still is. Kafka removes any voter, whether a majority of the others is up or not, and even the last one.

        Raises:
            Unreachable: not now: another change is under way, or it couldn't be committed in time; it may still be.
            Refused: never: the quorum is static, or its Kafka too old.
        """

    def features(self, broker_ids: Iterable[int]) -> dict[int, BrokerFeatures]:
        """The features that each broker supports, and those that are finalised as it knows them.

        All are asked at once. One that doesn't answer is left out.
        """

    def update_features(self, levels: Mapping[str, int], *, validate_only: bool = False) -> dict[str, str]:
        """Finalise these levels, all of them or none; returns the features with Kafka's reason if it refuses.

        A level that is finalised already is fine, a lower one is refused. Returns before every broker knows of it.

        Args:
            levels: by feature.
            validate_only: change nothing.
        """

    def missing_acls(self, *, makes_topics: bool = False) -> tuple[Acl, ...]:
        """What the worker's principal lacks of the ACLs in docs/security.md. Kafka is asked to validate; nothing changes.

        Args:
            makes_topics: those that only TopicReconcile needs too, as far as Kafka tells without doing it: not Delete.
        """

    def close(self) -> None:
        """Close connections."""


class ZooKeeper(Protocol):
    """The ensemble of one cluster in ZooKeeper mode.

    What brokers and controller are there is asked after a `sync`, so that no member's old knowledge counts.
    """

    def ensemble(self) -> Ensemble:
        """Every configured member, each asked by itself, and whether the ensemble commits.

        A member that doesn't answer is listed, not raised, and so is that nothing can be committed: a session is opened for the
        look, which takes a quorum, and closed.

        Raises:
            Refused: a member may not answer, or the credentials are wrong.
        """

    def sessions(self) -> BrokerSessions:
        """The brokers that have a session, and the controller."""

    def migration(self) -> MigrationZnodes:
        """What is there of a migration to KRaft."""

    def may_give_back_control(self) -> bool:
        """Whether the znodes' ACLs allow `give_back_control`; changes nothing."""

    def give_back_control(self, least_epoch: int) -> None:
        """Have a broker elected as the controller instead of a KRaft controller, and forget the migration; both, or none.

        Where no KRaft controller is registered, only `/migration` is removed.

        Args:
            least_epoch: that `/controller_epoch` has to have: no partition may be recorded with a newer one.

        Raises:
            Unreachable: a controller has registered meanwhile.
        """

    def partition_states(self, topics: Collection[str] | None = None) -> dict[TopicPartition, PartitionState]:
        """The controller's own record of these topics' partitions; one that doesn't exist is left out.

        Args:
            topics: default: all, but for those that are being deleted.
        """
        ...


class Kubernetes(Protocol):
    """The Kubernetes API, for one cluster's namespace."""

    def broker_pods(self) -> tuple[BrokerPod, ...]:
        """Every pod with the cluster's label and a map, combined nodes included, and why it is pending if it is."""

    def controller_pods(self) -> tuple[ControllerPod, ...]:
        """The pods of the cluster's KRaft controllers that are no brokers, by their label."""

    def ensemble_pods(self) -> tuple[KafkaPod, ...]:
        """The pods of the cluster's ZooKeeper ensemble, by their label."""

    def stateful_sets(self) -> tuple[StatefulSet, ...]:
        """The StatefulSets of the cluster's maps and of its controllers."""

    def ensemble_sets(self) -> tuple[StatefulSet, ...]:
        """Those of its ZooKeeper ensemble."""

    def scale(self, stateful_set: StatefulSet, replicas: int) -> None:
        """Set a StatefulSet's number of pods, if it still has the observed version."""

    def broker_ids(self) -> dict[str, int]:
        """Pod name -> broker ID, as assigned by the brokers' agents; a deleted pod keeps its entry."""

    def last_starts(self) -> dict[str, LastStart]:
        """Pod name -> where its broker started last, as recorded by the agents; it stays when pod and node are gone."""

    def file_changes(self) -> dict[str, FileChanges]:
        """Pod name -> how the properties file of its broker has changed since it was started, as recorded by the agents.

        An entry of another pod uid or start than the pod's is old. A pod without one hasn't told: its manifest may be older.
        """

    def tls_files(self) -> dict[str, TlsFiles]:
        """Pod name -> what its TLS files hold, as recorded by the agents; an entry of another pod uid than the pod's is old.

        Of brokers, controllers, and members of a ZooKeeper ensemble.
        """

    def sync_files(self, pod: str, uid: str) -> None:
        """Have the kubelet bring changed Secrets into the files of the pod of this uid now, not within a minute or two."""

    def client_handshakes(self, pod: str) -> tuple[ClientHandshake, ...] | None:
        """Who has connected to a pod's Kafka lately, and with whose certificate, from its log; None: that doesn't say.

        Lately: in the last hour, as far as the kubelet has kept the log.
        """

    def disruption_budgets(self) -> tuple[DisruptionBudget, ...]:
        """Every PodDisruptionBudget of the namespace."""

    def nodes(self) -> tuple[Node, ...]:
        """Every node. What several nodes report to identify their machine is left out: it identifies none of them."""

    def claim(self, name: str) -> Claim | None:
        """A claim with its volume's nodes, or None."""

    def delete_claim(self, name: str, uid: str) -> None:
        """Delete a claim if it still has this uid, and the local volume of the claim of this uid, even if the claim is gone.

        Nothing else would delete the volume once its node is gone.
        """

    def delete_pod(self, name: str, uid: str, *, force: bool) -> None:
        """Delete a pod if it still has this uid; `force` doesn't wait for the kubelet."""

    def cordon(self, node: str, uid: str, owner: str) -> None:
        """Mark the node of this uid unschedulable and annotate the owner; one that is cordoned already is left alone."""

    def uncordon(self, node: str, uid: str, owner: str) -> None:
        """Lift a cordon of this owner on the node of this uid; any other cordon is left alone."""

    def clear_broker_label(self, node: str, uid: str) -> None:
        """Remove the label that says which broker a node carries, from a node that the broker has left."""

    def denied(self, asked: Iterable[Right]) -> tuple[Right, ...]:
        """Those of these rights that we don't have, by the API server's own word."""

    def server(self) -> ApiServer:
        """The API server itself."""

    def definitions(self, kind: str) -> tuple[ConfigMap, ...]:
        """This cluster's ConfigMaps of a kind of definitions, by name; what is binary in them is left out."""

    def tell(self, config_map: ConfigMap, reason: str, message: str, *, is_warning: bool) -> None:
        """An Event on a ConfigMap, in the place of the former one of this reason.

        Args:
            config_map: what it is about.
            reason: one word.
            message: for people, 1,024 characters at most.
            is_warning: somebody has to do something.
        """

    def read_record(self, name: str) -> Record | None:
        """A record (a ConfigMap's data), or None."""

    def write_record(
        self,
        name: str,
        kind: str,
        parts: Mapping[str, bytes],
        summary: str,
        version: str | None,
        annotations: Mapping[str, str],
    ) -> str:
        """Replace a record if it still has this version, or (None) create it if there is none; returns the new version.

        `kind` labels it, and `summary` is for people who read the ConfigMap. Parts and summary may have 1 MiB together,
        annotations 256 KiB.

        Raises:
            Conflict: someone else has written, deleted or created it.
        """

    def delete_record(self, name: str, version: str | None = None) -> None:
        """Delete a record, whatever its version or (given) only in this one; one that doesn't exist is fine."""

    def records(self, kind: str) -> dict[str, Mapping[str, str]]:
        """This cluster's records of a kind, name -> annotations, sorted; what is in them is not transferred."""


class BrokerMetrics(Protocol):
    """Brokers' own measurements, from whichever backend keeps them."""

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        """Current traffic and latency of these pods' brokers: for each, either all figures or what is wrong with them.

        Raises:
            Unreachable: the backend doesn't answer, or its answer can't be read.
            Refused: the backend rejects the query or the credentials.
        """

    def recovery(self, pods: Iterable[BrokerPod]) -> RecoveryReport:
        """How far these pods' brokers are with their start, which they tell before they serve; why the others can't be asked.

        Silent brokers are told one by one, even if all are.

        Raises:
            Unreachable: a server in between doesn't answer, or its answer can't be read.
            Refused: it rejects the query or the credentials.
        """
        ...


class ControllerMetrics(Protocol):
    """KRaft controllers' own measurements, while they migrate a cluster."""

    def states(self, pods: Iterable[ControllerPod]) -> dict[str, ControllerState | str]:
        """Pod -> what its controller says of itself, or why it can't be asked."""
        ...
