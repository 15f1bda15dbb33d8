"""The outside world as runbooks see it: one small Protocol each for Kafka, Kubernetes and the brokers' metrics.

Every method is one look or one act, blocks for a bounded time, and raises one of `errors`. Reading methods have no side
effects. Acting methods are idempotent: acting twice, or on what is gone already, is the same as acting once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from kafka_runbooks.models.cluster import (
    ClusterSnapshot,
    Reassignment,
    ReplicaSizes,
    ThrottledReplicas,
    ThrottleRates,
    TopicPartition,
)
from kafka_runbooks.models.kubernetes import BrokerPod, Claim, Node, StatefulSet
from kafka_runbooks.models.traffic import TrafficReport


class Kafka(Protocol):
    """One cluster's admin interface."""

    def snapshot(self) -> ClusterSnapshot:
        """Brokers, partitions, `min.insync.replicas` of every topic."""

    def replica_sizes(self, broker_ids: Iterable[int]) -> ReplicaSizes:
        """Bytes of each replica on these brokers, and of their disks; one that is down or doesn't answer is named, not raised."""

    def reassignments(self) -> tuple[Reassignment, ...]:
        """Every reassignment in progress, ours or not."""

    def alter_reassignments(self, targets: Mapping[TopicPartition, Sequence[int] | None]) -> dict[TopicPartition, str]:
        """Start (a list of broker ids) or cancel (None) reassignments; returns the refused ones with Kafka's reason.

        Cancelling one that isn't in progress is not an error.
        """

    def elect_preferred_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """Preferred leader election; returns the refused ones with Kafka's reason (led already: not refused)."""

    def elect_unclean_leaders(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, str]:
        """Lead leaderless partitions by a live replica that may lack records; returns the refused ones (led already: not)."""

    def throttle_rates(self, broker_ids: Iterable[int]) -> dict[int, ThrottleRates]:
        """The rates set dynamically on each broker itself (not default or static ones). Raises for a broker that is down."""

    def set_throttle_rates(self, broker_id: int, rates: ThrottleRates) -> None:
        """Set a broker's own rates (incremental; None deletes the key). Returns once the broker reports them."""

    def throttled_replicas(self, topics: Iterable[str]) -> dict[str, ThrottledReplicas]:
        """The topics' own lists; a topic that is gone is left out."""

    def set_throttled_replicas(self, lists: Mapping[str, ThrottledReplicas]) -> None:
        """Set topics' lists (incremental; an empty string deletes the key). A topic that is gone is skipped."""

    def log_directory_cordons(self, broker_ids: Iterable[int]) -> dict[int, str | None]:
        """Each broker's cordoned log directories (KIP-1066: no new replica lands there): their paths, `*`, or empty. None where
        the broker doesn't know the setting (Kafka < 4.3). Raises for a broker that is down.
        """

    def cordon_log_directories(self, broker_id: int, directories: str) -> None:
        """Cordon a broker's log directories (`*`: all of them); an empty string gives them back."""

    def unregister_broker(self, broker_id: int) -> None:
        """Strike out a broker that is down for good (KRaft); one that is not registered any more is fine."""

    def close(self) -> None:
        """Close connections."""


class Kubernetes(Protocol):
    """The Kubernetes API, for one cluster's namespace."""

    def broker_pods(self) -> tuple[BrokerPod, ...]:
        """Every pod that carries the cluster's label and belongs to a map, with its scheduling trouble in words."""

    def stateful_sets(self) -> tuple[StatefulSet, ...]:
        """The StatefulSets of the cluster's maps."""

    def scale(self, stateful_set: StatefulSet, replicas: int) -> None:
        """Set a StatefulSet's number of pods, if it is still the version that was looked at."""

    def broker_ids(self) -> dict[str, int]:
        """Pod name -> broker id, as the brokers' agents gave them out; a pod that is gone keeps its entry."""

    def nodes(self) -> tuple[Node, ...]: ...

    def claim(self, name: str) -> Claim | None: ...

    def delete_claim(self, name: str, uid: str) -> None:
        """Delete a claim if it still has this uid (with its volume, where a local one would stay Released for ever)."""

    def delete_pod(self, name: str, uid: str, *, force: bool) -> None:
        """Delete a pod if it still has this uid; `force` doesn't wait for a kubelet that can't answer."""

    def cordon(self, node: str, owner: str) -> None:
        """Mark a node unschedulable and annotate whose cordon it is; one that somebody else cordoned is left as it is."""

    def uncordon(self, node: str, owner: str) -> None:
        """Take back a cordon that carries this owner; any other cordon is left as it is."""

    def read_record(self, name: str) -> Mapping[str, bytes] | None:
        """A stored record's parts (a ConfigMap's binary data), or None."""

    def write_record(self, name: str, kind: str, parts: Mapping[str, bytes], summary: str) -> None:
        """Create or replace a record; `kind` labels it, `summary` is for people who read the ConfigMap."""

    def delete_record(self, name: str) -> None: ...

    def records(self, kind: str) -> tuple[str, ...]:
        """Names of this cluster's records of a kind."""


class BrokerMetrics(Protocol):
    """What the brokers measure about themselves, wherever it is kept."""

    def traffic(self, pods: Iterable[BrokerPod]) -> TrafficReport:
        """Traffic and latency of these pods' brokers, now; of each broker either all figures or what is wrong with them.

        Raises:
            Unreachable: the backend is away, or what it answers can't be read.
            Refused: the backend says that the query or its credentials are wrong.
        """
        ...
