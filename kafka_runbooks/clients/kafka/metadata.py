"""The metadata of a large cluster, decoded straight into partitions.

kafka-python makes objects of every field first: of 200,000 partitions that is 150 MB and more than a second in which no other
thread runs. Only the layout that Kafka has had since 2.8 is read here (versions 10 to 13 of the answer, KIP-516 and KIP-482); an
older one is left to the library. A test compares both.
"""

import struct
import uuid
from typing import Any, NamedTuple

from kafka.protocol.metadata import MetadataRequest, MetadataResponse

from kafka_runbooks.models.cluster import Partition

OLDEST, NEWEST = 10, 13
WITH_CLUSTER_OPERATIONS = 10
"""The last version that ends with them."""
WITH_ERROR = 13
"""The first version that ends with an error of the whole."""

_PARTITION = struct.Struct(">hiii")
_BYTES = struct.Struct(">i")
_IDS = [struct.Struct(f">{count}i") for count in range(64)]


class Topic(NamedTuple):
    """One topic of an answer; `partitions` by number."""

    error_code: int
    name: str
    topic_id: uuid.UUID
    partitions: list[Partition]


class Decoded(NamedTuple):
    """An answer: what kafka-python has of it, without topics; and the topics."""

    head: MetadataResponse
    topics: list[Topic]
    error_code: int = 0
    throttle_time_ms: int = 0


class CompactMetadataRequest(MetadataRequest, init=False):  # type: ignore[call-arg,misc]
    """A MetadataRequest whose answer is `Decoded`, if it has a layout that is known here."""

    def with_header(self, correlation_id: int = 0, client_id: str = "kafka-python") -> None:
        super().with_header(correlation_id, client_id)
        if OLDEST <= self.API_VERSION <= NEWEST:
            self._header: Any = _Header(self.header)


class _Header:
    """A request's header, which says how its answer is decoded."""

    def __init__(self, header: Any) -> None:
        self._header = header

    def __getattr__(self, name: str) -> Any:
        return getattr(self._header, name)

    def get_response_class(self) -> "_Answer":
        return _Answer(self._header.request_api_version)


class _Answer:
    def __init__(self, version: int) -> None:
        self._version = version

    def parse_header(self, data: Any) -> Any:
        return MetadataResponse[self._version].parse_header(data)

    def decode(self, data: Any) -> Decoded:
        return decode(data.read(), self._version)


class _Ids(dict[int, int]):
    """Broker -> itself: one object for all the places where it is mentioned."""

    def __missing__(self, broker_id: int) -> int:
        self[broker_id] = broker_id
        return broker_id


class _Reader:
    """What comes next in an answer."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.ids = _Ids()

    def take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.data):
            raise ValueError("the answer ends too early")
        return self.data[self.at - count : self.at]

    def number(self, count: int = 4) -> int:
        return int.from_bytes(self.take(count), "big", signed=True)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self) -> str | None:
        length = self.varint()
        return self.take(length - 1).decode() if length else None

    def skip_tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.take(self.varint())

    def brokers(self) -> tuple[int, ...]:
        data, at = self.data, self.at
        length = data[at]
        if length > len(_IDS):  # also where it takes more than a byte
            return tuple(self.ids[self.number()] for _ in range(max(0, self.varint() - 1)))
        if length < 2:
            self.at = at + 1
            return ()
        found = _IDS[length - 1].unpack_from(data, at + 1)
        self.at = at + 4 * length - 3
        return tuple(map(self.ids.__getitem__, found))

    def partition(self, topic: str) -> Partition:
        _, number, leader, _ = _PARTITION.unpack_from(self.data, self.at)
        self.at += _PARTITION.size
        replicas, in_sync, offline = self.brokers(), self.brokers(), self.brokers()
        if self.data[self.at]:
            self.skip_tags()
        else:
            self.at += 1
        if in_sync == replicas:
            in_sync = replicas
        return Partition(topic, number, self.ids[leader] if leader >= 0 else None, replicas, in_sync, offline)

    def topic(self) -> Topic:
        error_code = self.number(2)
        name = self.text() or ""
        topic_id = uuid.UUID(bytes=self.take(16))
        self.take(1)
        partitions = sorted(self.partition(name) for _ in range(max(0, self.varint() - 1)))
        self.take(4)
        self.skip_tags()
        return Topic(error_code, name, topic_id, partitions)


def decode(data: bytes, version: int) -> Decoded:
    """Decode an answer without its header.

    Raises:
        ValueError: it isn't one of this version.
    """
    reader = _Reader(data)
    try:
        throttle_time_ms = reader.number()
        row = MetadataResponse.MetadataResponseBroker
        brokers = []
        for _ in range(max(0, reader.varint() - 1)):
            found = {"node_id": reader.number(), "host": reader.text(), "port": reader.number(), "rack": reader.text()}
            brokers.append(row(version=version, **found))
            reader.skip_tags()
        cluster_id, controller_id = reader.text(), reader.number()
        topics = [reader.topic() for _ in range(max(0, reader.varint() - 1))]
        if version <= WITH_CLUSTER_OPERATIONS:
            reader.take(4)
        error_code = reader.number(2) if version >= WITH_ERROR else 0
        reader.skip_tags()
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"not an answer to Metadata of version {version}") from error
    head = MetadataResponse(version=version, brokers=brokers, cluster_id=cluster_id, controller_id=controller_id, topics=[])
    return Decoded(head, topics, error_code, throttle_time_ms)
