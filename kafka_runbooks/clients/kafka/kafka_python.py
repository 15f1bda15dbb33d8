"""What kafka-python does for us: metadata, the quorum, reassignments, log directories, and requests to one chosen broker.

Which broker answers is decided here. Any broker passes on to the controller what only the controller can do (KRaft), so a request
goes to whichever answers: one that is silent is passed over after a short time, and asked last for a while. A write may then
reach the controller twice, which is harmless: all of them set what should be.

This is the only module that uses kafka-python's private API, listed in `PRIVATE_API`: the public client neither sends a message
of our choice to a broker of our choice nor shows which brokers it knows. `pyproject.toml` bounds the version, and a test names
each attribute that a new version has dropped.
"""

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import (
    BrokerIdNotRegisteredError,
    DuplicateVoterError,
    FeatureUpdateFailedError,
    IncompatibleBrokerVersion,
    InvalidRequestError,
    InvalidUpdateVersionError,
    KafkaError,
    NoError,
    NoReassignmentInProgressError,
    NotControllerError,
    SaslAuthenticationFailedError,
    VoterNotFoundError,
    for_code,
)
from kafka.protocol.admin import (
    AlterPartitionReassignmentsRequest,
    DescribeClusterRequest,
    DescribeLogDirsRequest,
    DescribeQuorumRequest,
    ListPartitionReassignmentsRequest,
    UpdateFeaturesRequest,
)
from kafka.protocol.api_message import ApiMessage
from kafka.protocol.metadata import ApiVersionsRequest, MetadataRequest, MetadataResponse
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kafka import answers
from kafka_runbooks.clients.kafka.metadata import CompactMetadataRequest, Decoded
from kafka_runbooks.clients.kafka.refusals import is_refusal
from kafka_runbooks.clients.security import acls
from kafka_runbooks.clients.security.connection import CLIENT_ID, Connection, Renewed, addresses
from kafka_runbooks.clients.security.probe import probe
from kafka_runbooks.models.cluster import (
    Broker,
    ControllerEndpoint,
    LogDirectory,
    MetadataQuorum,
    Reassignment,
    Replica,
    TopicPartition,
)
from kafka_runbooks.models.features import BrokerFeatures

PRIVATE_API = (
    "_manager.run",
    "_manager.send",
    "_manager.wait_for",
    "_manager.cluster.brokers",
    "_manager.cluster.update_metadata",
)
"""Attributes of a `KafkaAdminClient` that are used here and are not documented."""

MESSAGES = "kafka_runbooks.clients.kafka.messages"
BOOTSTRAP_TIMEOUT_MS = 5_000
REQUEST_TIMEOUT_MS = 10_000
UPGRADE = 1
"""Of UpdateFeatures: a lower level is refused."""
CONNECT_ATTEMPTS = 3
ANSWER_SECONDS = 3.0
"""For a request that any broker can answer: then another one is asked."""
CONTROLLER_SECONDS = 10.0
"""For one that the broker passes on to the controller, which may have a long list to go through."""
BROKER_SECONDS = 4.0
"""For one that only this broker can answer."""
REFUSED_FEATURES = (InvalidUpdateVersionError, FeatureUpdateFailedError, InvalidRequestError)
"""Answers to a level that Kafka doesn't finalise."""
WHOLE_BROKERS_AT_ONCE = 30
"""Asked for all their replicas. To read some thousand takes tens of milliseconds, in which nobody listens to other brokers: of
300 asked at once, the first would count as silent since the others' answers were being read."""
BROKERS_TO_TRY = 4
SILENCE_SECONDS = 60.0
"""A broker that did not answer is asked last for this long."""


class UnregisterBrokerRequest(ApiMessage, load_json=MESSAGES):  # type: ignore[call-arg,misc]
    """Remove a broker from the KRaft registry. It must be down: Kafka doesn't refuse to remove a running one."""


class UnregisterBrokerResponse(ApiMessage, load_json=MESSAGES):  # type: ignore[call-arg,misc]
    """`error_code` is BROKER_ID_NOT_REGISTERED for a broker that was removed before."""


class AddRaftVoterRequest(ApiMessage, load_json=MESSAGES):  # type: ignore[call-arg,misc]
    """Make an observer of the metadata quorum a voter (KIP-853). Brokers pass it on to the active controller."""


class AddRaftVoterResponse(ApiMessage, load_json=MESSAGES):  # type: ignore[call-arg,misc]
    """`error_code` is REQUEST_TIMED_OUT for an observer that isn't caught up or known, too."""


class RemoveRaftVoterRequest(ApiMessage, load_json=MESSAGES):  # type: ignore[call-arg,misc]
    """Take a voter out of the metadata quorum (KIP-853), whether it is up or not. Kafka doesn't refuse to remove the last one."""


class RemoveRaftVoterResponse(ApiMessage, load_json=MESSAGES):  # type: ignore[call-arg,misc]
    """`error_code` is VOTER_NOT_FOUND for a node that is no voter, or that is one with another directory."""


class KafkaPythonAdmin:
    """One `KafkaAdminClient`, opened on first use; several threads may call it, since it has an I/O thread of its own.

    Args:
        connection: addresses and security.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._brokers = connection.to(())
        """As they advertise themselves: a certificate may lack that name, and have the bootstrap servers'."""
        self._client: Renewed[Any] = Renewed(connection, self._open, close=lambda client: client.close())
        self._silent_since: dict[int, float] = {}

    def metadata(self, topics: Collection[str] | None = None) -> answers.Metadata:
        """Brokers that are up, with their racks, and all partitions or (given) those of some topics.

        It is one broker's answer, so they fit each other.
        """
        row = MetadataRequest.MetadataRequestTopic

        def request() -> CompactMetadataRequest:
            asked = None if topics is None else [row(name=topic) for topic in topics]
            return CompactMetadataRequest(topics=asked, allow_auto_topic_creation=False)

        answer, answered_by = self.ask_any("metadata", request, error_of=answers.metadata_error)
        if topics is None:
            self.ask_any(
                "metadata",
                lambda: MetadataRequest(topics=[row(name=acls.NO_TOPIC)], allow_auto_topic_creation=False),
                error_of=answers.metadata_error,
            )
        return answers.metadata(answer, answered_by)

    def fenced_brokers(self, answered_by: int | None) -> tuple[Broker, ...]:
        """Registered brokers that are down or starting, as the same broker knows them; none where Kafka doesn't tell (< 4.0)."""
        try:
            with self._mapped("describe cluster", IncompatibleBrokerVersion):
                request = DescribeClusterRequest(include_fenced_brokers=True, min_version=2)
                answer = self._send(request, answered_by, ANSWER_SECONDS)
        except (Unreachable, IncompatibleBrokerVersion):
            return ()
        return answers.fenced_brokers(answer)

    def metadata_quorum(self, asked: Collection[int] = ()) -> MetadataQuorum | None:
        """The KRaft quorum; None in ZooKeeper mode.

        Args:
            asked: brokers that are asked; default: any.

        Raises:
            Unreachable: no broker that was asked reaches a leader of the quorum.
        """
        answer = self._describe_quorum(asked)
        return None if answer is None else answers.quorum(answer)

    def controller_addresses(self) -> dict[int, tuple[str, str, int]]:
        """Node ID of each voter -> name, host and port of its listener (Kafka >= 3.9); empty in ZooKeeper mode."""
        answer = self._describe_quorum()
        return {} if answer is None else answers.controller_addresses(answer)

    def _describe_quorum(self, asked: Collection[int] = ()) -> Any:
        topic = DescribeQuorumRequest.TopicData
        try:
            answer, _ = self.ask_any(
                "describe quorum",
                lambda: DescribeQuorumRequest(
                    topics=[topic(topic_name="__cluster_metadata", partitions=[topic.PartitionData(partition_index=0)])]
                ),
                CONTROLLER_SECONDS,
                answers.quorum_error,
                passes=IncompatibleBrokerVersion,
                among=asked,
            )
        except IncompatibleBrokerVersion:
            return None
        return answer

    def log_directories(
        self, wanted: Mapping[int, Mapping[str, Sequence[int]] | None]
    ) -> dict[int, tuple[dict[Replica, int], tuple[LogDirectory, ...]]]:
        """Bytes of every replica on some brokers, or (given) of some topics' partitions, and their log directories.

        A broker that doesn't answer is left out.

        Raises:
            Refused: the account may not ask.
        """
        whole = [broker_id for broker_id, partitions in wanted.items() if partitions is None]
        groups = [whole[start : start + WHOLE_BROKERS_AT_ONCE] for start in range(0, len(whole), WHOLE_BROKERS_AT_ONCE)]
        groups.append([broker_id for broker_id, partitions in wanted.items() if partitions is not None])
        found: dict[int, tuple[dict[Replica, int], tuple[LogDirectory, ...]]] = {}
        for group in groups:
            found |= self._log_directories({broker_id: wanted[broker_id] for broker_id in group})
        return found

    def _log_directories(
        self, wanted: Mapping[int, Mapping[str, Sequence[int]] | None]
    ) -> dict[int, tuple[dict[Replica, int], tuple[LogDirectory, ...]]]:
        """The same of brokers that are asked at once."""
        row = DescribeLogDirsRequest.DescribableLogDirTopic

        def request(partitions: Mapping[str, Sequence[int]] | None) -> DescribeLogDirsRequest:
            some = (
                None if partitions is None else [row(topic=topic, partitions=list(asked)) for topic, asked in partitions.items()]
            )
            return DescribeLogDirsRequest(topics=some)

        requests = {broker_id: request(partitions) for broker_id, partitions in wanted.items()}
        found = {}
        for broker_id, answer in self.ask_each("log directories", requests, BROKER_SECONDS).items():
            if isinstance(answer, Unreachable):
                continue
            if isinstance(answer, ClientError):
                raise answer
            with self._mapped(f"log directories of broker {broker_id}"):
                acls.raise_for(getattr(answer, "error_code", 0) or 0, acls.DESCRIBE)
            found[broker_id] = answers.log_directories(broker_id, answer)
        return found

    def reassignments(self) -> tuple[Reassignment, ...]:
        """Every reassignment in progress."""
        answer, _ = self.ask_any(
            "list reassignments",
            lambda: ListPartitionReassignmentsRequest(timeout_ms=REQUEST_TIMEOUT_MS, topics=None),
            CONTROLLER_SECONDS,
        )
        return answers.reassignments(answer)

    def alter_reassignments(self, targets: Mapping[TopicPartition, Sequence[int] | None]) -> dict[TopicPartition, str]:
        """Start (a list of broker IDs) or cancel (None) reassignments; returns the refused ones with Kafka's reason.

        One that the answer doesn't mention counts as refused: nothing is known about it.
        """
        topic = AlterPartitionReassignmentsRequest.ReassignableTopic
        by_topic: dict[str, list[Any]] = {}
        for name, target in targets.items():
            asked = topic.ReassignablePartition(partition_index=name.partition, replicas=None if target is None else list(target))
            by_topic.setdefault(name.topic, []).append(asked)
        answer, _ = self.ask_any(
            "alter reassignments",
            lambda: AlterPartitionReassignmentsRequest(
                timeout_ms=REQUEST_TIMEOUT_MS,
                topics=[topic(name=name, partitions=partitions) for name, partitions in by_topic.items()],
            ),
            CONTROLLER_SECONDS,
        )
        refused = dict.fromkeys(targets, "the controller's answer doesn't mention it")
        for found in answer.responses:
            for partition in found.partitions:
                name = TopicPartition(found.name, partition.partition_index)
                error = for_code(partition.error_code)
                if error is NoError or (targets.get(name) is None and error is NoReassignmentInProgressError):
                    refused.pop(name, None)
                else:
                    refused[name] = ": ".join(filter(None, (error.__name__, partition.error_message)))
        return refused

    def unregister_broker(self, broker_id: int) -> None:
        """Remove a broker from the registry; one that isn't registered is fine.

        Raises:
            Refused: Kafka rejects it, or has no such registry (ZooKeeper mode).
        """
        what = f"unregister broker {broker_id}"
        try:
            self.ask_any(
                what,
                lambda: UnregisterBrokerRequest(broker_id=broker_id),
                CONTROLLER_SECONDS,
                passes=(BrokerIdNotRegisteredError, IncompatibleBrokerVersion),
            )
        except BrokerIdNotRegisteredError:
            return
        except IncompatibleBrokerVersion as error:
            raise Refused(f"{what}: the cluster is in ZooKeeper mode, where a registration ends with its session") from error

    def add_voter(self, voter_id: int, directory_id: str, endpoints: Iterable[ControllerEndpoint]) -> None:
        """Make an observer a voter; one whose id a voter has already is fine, whatever its directory.

        Raises:
            Unreachable: it isn't caught up, or another change of the voters is under way; Kafka's reason follows.
            Refused: the quorum is static, or Kafka older than 3.9.
        """
        row = AddRaftVoterRequest.Listener

        def request() -> AddRaftVoterRequest:
            return AddRaftVoterRequest(
                cluster_id=None,
                timeout_ms=int((CONTROLLER_SECONDS - ANSWER_SECONDS) * 1000),  # So that the controller's answer arrives in time.
                voter_id=voter_id,
                voter_directory_id=answers.id_of(directory_id),
                listeners=[row(name=one.listener, host=one.host, port=one.port) for one in endpoints],
                ack_when_committed=True,
            )

        self._change_voters(f"add voter {voter_id}", request, DuplicateVoterError)

    def remove_voter(self, voter_id: int, directory_id: str) -> None:
        """Take a voter out of the quorum; one that isn't in it with this directory is fine.

        Raises:
            Unreachable: another change of the voters is under way, or no majority has taken it in time; Kafka's reason follows.
            Refused: the quorum is static, or Kafka older than 3.9.
        """

        def request() -> RemoveRaftVoterRequest:
            directory = answers.id_of(directory_id)
            return RemoveRaftVoterRequest(cluster_id=None, voter_id=voter_id, voter_directory_id=directory)

        self._change_voters(f"remove voter {voter_id}", request, VoterNotFoundError)

    def _change_voters(self, what: str, request: Callable[[], Any], done: type[KafkaError]) -> None:
        """Only one broker is asked, unless it is silent: the controller's answer says more than its error code."""
        passed_on = (NotControllerError, *acls.RESOURCES)
        try:
            answer, _ = self.ask_any(
                what,
                request,
                CONTROLLER_SECONDS,
                lambda answer: int(answer.error_code) if issubclass(for_code(answer.error_code), passed_on) else 0,
                passes=IncompatibleBrokerVersion,
            )
        except IncompatibleBrokerVersion as error:
            raise Refused(f"{what}: only Kafka 3.9 and later in KRaft mode has voters that can be changed (KIP-853)") from error
        kind = for_code(answer.error_code)
        if kind not in (NoError, done):
            with self._mapped(what):
                raise kind(answer.error_message)

    def features(self, broker_ids: Iterable[int]) -> dict[int, BrokerFeatures]:
        """What each broker supports, and what is finalised as it knows it. One that doesn't answer is left out.

        From version 4 of the question on, a feature that may also be off (level 0) is named too (KAFKA-17011).

        Raises:
            Refused: a broker rejects the question.
        """
        asked = ApiVersionsRequest(client_software_name=CLIENT_ID, client_software_version="0", min_version=3)
        found = {}
        for broker_id, answer in self.ask_each("features", dict.fromkeys(broker_ids, asked), BROKER_SECONDS).items():
            if isinstance(answer, Unreachable):
                continue
            if isinstance(answer, ClientError):
                raise answer
            with self._mapped(f"features of broker {broker_id}"):
                acls.raise_for(answer.error_code, acls.DESCRIBE)
            found[broker_id] = answers.features(answer)
        return found

    def update_features(self, levels: Mapping[str, int], *, validate_only: bool) -> dict[str, str]:
        """Finalise these levels, all or none; returns all of them with Kafka's reason if it refuses.

        From version 2 of the request on, Kafka names the feature that is wrong in its message only.
        """

        def refusal(answer: Any) -> type[KafkaError] | None:
            error = for_code(answer.error_code)
            return error if issubclass(error, REFUSED_FEATURES) else None

        answer, _ = self.ask_any(
            "update features",
            lambda: UpdateFeaturesRequest(
                timeout_ms=REQUEST_TIMEOUT_MS,
                feature_updates=[
                    UpdateFeaturesRequest.FeatureUpdateKey(feature=name, max_version_level=level, upgrade_type=UPGRADE)
                    for name, level in sorted(levels.items())
                ],
                validate_only=validate_only,
                min_version=1,
            ),
            CONTROLLER_SECONDS,
            error_of=lambda answer: 0 if refusal(answer) else int(answer.error_code),
        )
        if (error := refusal(answer)) is not None:
            return dict.fromkeys(levels, ": ".join(filter(None, (error.__name__, answer.error_message))))
        return {
            one.feature: ": ".join(filter(None, (for_code(one.error_code).__name__, one.error_message)))
            for one in answer.results or ()
            if one.error_code
        }

    def known_broker_ids(self) -> frozenset[int]:
        """Brokers in the client's cached metadata, which every `metadata` renews."""
        return frozenset(broker.node_id for broker in self._client.get()._manager.cluster.brokers())

    def close(self) -> None:
        """Close the client; the next call opens another."""
        self._client.close()

    def ask_any(
        self,
        what: str,
        request: Callable[[], Any],
        timeout_seconds: float = ANSWER_SECONDS,
        error_of: Callable[[Any], int] = lambda answer: int(getattr(answer, "error_code", 0) or 0),
        passes: type[KafkaError] | tuple[type[KafkaError], ...] = (),
        among: Collection[int] = (),
    ) -> tuple[Any, int]:
        """The answer of whichever broker answers, and which one it was.

        Args:
            what: what is asked, for messages.
            request: makes the message; once for each broker that is tried, since brokers may speak different versions.
            timeout_seconds: for each broker.
            error_of: the error code of a whole answer.
            passes: errors that the caller tells apart.
            among: brokers that may be asked; default: every one.
        """
        brokers = self._in_turn(among)
        while True:
            broker_id = brokers.pop(0)
            try:
                with self._mapped(what, passes):
                    message = request()
                    answer = self._send(message, broker_id, timeout_seconds)
                    if for_code(error_of(answer)) is NotControllerError:  # ZooKeeper mode: brokers don't pass it on.
                        known = self._send(MetadataRequest(topics=[], allow_auto_topic_creation=False), broker_id, ANSWER_SECONDS)
                        answer = self._send(request(), known.controller_id, timeout_seconds)
                    acls.raise_for(error_of(answer), acls.operation_of(message))
            except Unreachable:
                if not brokers:
                    known = self._client.get()._manager.cluster.brokers()
                    self._brokers.servers = addresses((broker.host, broker.port) for broker in known)
                    self.close()
                    probe(self._brokers)  # A certificate or credentials may be refused by all: then it says so.
                    raise
            else:
                self._silent_since.pop(broker_id, None)
                self._brokers.accepted()
                return answer, broker_id

    def ask(self, what: str, request: Any, broker_id: int, timeout_seconds: float) -> Any:
        """The answer of one broker.

        Raises:
            Unreachable: it is down, unknown or silent. The client is kept, for its other brokers are fine.
        """
        with self._mapped(what):
            return self._send(request, broker_id, timeout_seconds)

    def ask_each(self, what: str, requests: Mapping[int, Any], timeout_seconds: float) -> dict[int, Any]:
        """The answers of some brokers, all asked at once by one thread: an answer, or why there is none.

        Args:
            what: what is asked, for messages.
            requests: broker -> the message.
            timeout_seconds: for all together.
        """
        if not requests:
            return {}
        client = self._client.get()

        async def asked() -> dict[int, Any]:
            deadline = time.monotonic() + timeout_seconds
            sent: dict[int, Any] = {}
            for broker_id, request in requests.items():
                try:
                    sent[broker_id] = client._manager.send(request, broker_id)
                except KafkaError as error:
                    sent[broker_id] = error
            found: dict[int, Any] = {}
            for broker_id, future in sent.items():
                found[broker_id] = future
                if not isinstance(future, KafkaError):
                    try:
                        found[broker_id] = await client._manager.wait_for(future, max(1.0, (deadline - time.monotonic()) * 1000))
                    except (KafkaError, ClientError, TimeoutError, OSError) as error:  # a client's: no token for a new connection
                        found[broker_id] = error
            return found

        return {broker_id: self._judged(what, broker_id, found) for broker_id, found in client._manager.run(asked).items()}

    def _judged(self, what: str, broker_id: int, found: Any) -> Any:
        """An answer, or the error by its kind."""
        if not isinstance(found, Exception):
            return found
        if not is_refusal(found):
            self._silent_since[broker_id] = time.monotonic()
        try:
            with self._mapped(f"{what} of broker {broker_id}"):
                raise found
        except ClientError as error:
            return error

    def _in_turn(self, among: Collection[int]) -> list[int]:
        """Some brokers in random order, so that none is asked always; those that were silent lately come last."""
        now = time.monotonic()
        brokers = sorted(self.known_broker_ids().intersection(among) if among else self.known_broker_ids())
        random.shuffle(brokers)
        brokers.sort(key=lambda broker: now - self._silent_since.get(broker, -SILENCE_SECONDS) < SILENCE_SECONDS)
        if not brokers:
            raise Unreachable("the cluster names no broker")
        return brokers[:BROKERS_TO_TRY]

    def _send(self, request: Any, broker_id: int | None, timeout_seconds: float) -> Any:
        """One broker's answer, in bounded time: the library's own limit doesn't cover the time to connect."""
        client = self._client.get()

        async def asked() -> Any:
            answer = await client._manager.wait_for(client._manager.send(request, broker_id), timeout_seconds * 1000)
            if isinstance(answer, MetadataResponse | Decoded):
                # So that a broker which has joined or moved is known to the requests that follow.
                head = answer.head if isinstance(answer, Decoded) else answers.brokers_only(answer)
                client._manager.cluster.update_metadata(head)
            return answer

        try:
            return client._manager.run(asked)
        except (KafkaError, TimeoutError, OSError) as error:
            if broker_id is not None and not is_refusal(error):
                self._silent_since[broker_id] = time.monotonic()
            raise

    @contextmanager
    def _mapped(self, what: str, passes: type[KafkaError] | tuple[type[KafkaError], ...] = ()) -> Iterator[None]:
        """Map kafka-python's errors to `clients.errors`, but for those that the caller tells apart."""
        try:
            yield
        except (KafkaError, TimeoutError, OSError) as error:
            if isinstance(error, passes):
                raise
            if isinstance(error, SaslAuthenticationFailedError):
                probe(self._connection)
            message = f"{what}: {error}" if isinstance(error, KafkaError) else f"{what}: {type(error).__name__}: {error}"
            raise (Refused if is_refusal(error) else Unreachable)(message) from error

    def _open(self) -> Any:
        """A client. Given all bootstrap servers, it would spend the whole timeout on one that hangs."""
        settings = self._connection.for_kafka_python()
        with self._mapped("connect"):
            for attempt in Retrying(
                stop=stop_after_attempt(CONNECT_ATTEMPTS), retry=retry_if_exception_type(KafkaError), reraise=True
            ):
                with attempt:
                    # One that can't connect doesn't say why, and leaves its I/O thread behind: so a server is probed first.
                    return KafkaAdminClient(
                        **settings,
                        bootstrap_servers=[probe(self._connection)],
                        client_id=CLIENT_ID,
                        request_timeout_ms=REQUEST_TIMEOUT_MS,
                        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
                    )
