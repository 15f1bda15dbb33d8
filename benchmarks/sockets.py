"""A Kafka cluster of any size as far as a client sees it: one process, a socket for each broker, Kafka's protocol.

For benchmarks: a client's own cost (requests, bytes, decoding, models) on 300 brokers and 200,000 partitions can't be had from
three real brokers. The clients are the real ones, over real sockets. Nothing is stored but the configuration values that are
set; no time passes but `apply_seconds`, between the answer to a changed configuration and its being visible, as it was measured
on a real cluster.
"""

import argparse
import asyncio
import json
import random
import struct
import sys
import time
import uuid
from collections.abc import Iterable
from functools import partial
from typing import Any

from kafka.protocol.admin import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    DescribeClusterRequest,
    DescribeClusterResponse,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse

FIRST_BROKER = 1000
SIZE_BYTES = 1_000_000_000
IN_FLIGHT = 100
OTHER_KEYS = {2: [f"topic.config.{n}" for n in range(30)], 4: [f"broker.config.{n}" for n in range(200)]}
"""By type of resource: what a real one lists beside the keys of interest, where it isn't asked for some by name."""
OWN_KEYS = {
    2: ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas", "min.insync.replicas"),
    4: ("leader.replication.throttled.rate", "follower.replication.throttled.rate"),
}
DYNAMIC = {2: 1, 4: 2}
DEFAULT = 5
HIGHEST = {
    MetadataRequest: 12,
    DescribeConfigsRequest: 4,
    IncrementalAlterConfigsRequest: 1,
    AlterPartitionReassignmentsRequest: 0,
    ListPartitionReassignmentsRequest: 0,
    DescribeLogDirsRequest: 4,
    DescribeClusterRequest: 2,
    ApiVersionsRequest: 3,
}
"""As Kafka 4's."""


class Layout:
    """Which replicas are where, three of each partition; and moves, some in flight, that take them off the last broker."""

    def __init__(self, brokers: int, topics: int, partitions: int, moving: int = IN_FLIGHT) -> None:
        dice = random.Random(1)
        self.brokers = [FIRST_BROKER + number for number in range(brokers)]
        self.leaving = self.brokers[-1]
        self.partitions: dict[str, list[list[int]]] = {
            f"events.topic-{number:05d}": [dice.sample(self.brokers, min(3, brokers)) for _ in range(partitions)]
            for number in range(topics)
        }
        self.moves: list[tuple[str, int, list[int], list[int]]] = []
        """Topic, partition, replicas before and after; the first ones are in flight."""
        others = self.brokers[:-1]
        for topic, placed in self.partitions.items():
            for number, before in enumerate(placed):
                if self.leaving in before:
                    new = next((one for one in iter(lambda: dice.choice(others), None) if one not in before), before[0])
                    self.moves.append((topic, number, before, [new if one == self.leaving else one for one in before]))
        self.in_flight = {(topic, number): (before, after) for topic, number, before, after in self.moves[:moving]}
        self.on: dict[int, list[tuple[str, int]]] = {broker: [] for broker in self.brokers}
        """The partitions of which each broker has a replica."""
        for topic, placed in self.partitions.items():
            for number in range(len(placed)):
                for broker in self.replicas(topic, number)[0]:
                    self.on[broker].append((topic, number))

    def replicas(self, topic: str, number: int) -> tuple[list[int], list[int]]:
        """All, and those in sync."""
        before = self.partitions[topic][number]
        if (topic, number) in self.in_flight:
            after = self.in_flight[topic, number][1]
            return [*after, *(one for one in before if one not in after)], before
        return before, before


SASL_HANDSHAKE, ILLEGAL_SASL_STATE = 17, 34
"""How a listener without SASL answers a client that asks whether it has it."""


class Cluster:
    """The answers of every broker."""

    def __init__(self, layout: Layout, apply_seconds: float) -> None:
        self.layout = layout
        self.apply_seconds = apply_seconds
        self.ports: dict[int, int] = {}
        self.values: dict[tuple[int, str], dict[str, tuple[float, str | None, str | None]]] = {}
        """Resource -> key -> since when it is visible, the value, and the one before."""
        self.whole: dict[tuple[str, int, int], bytes] = {}
        """Long answers that are always the same."""
        self.ids = {topic: uuid.UUID(int=number + 1) for number, topic in enumerate(layout.partitions)}

    async def start(self) -> None:
        for broker in self.layout.brokers:
            server = await asyncio.start_server(partial(self.serve, broker), "127.0.0.1", 0)
            self.ports[broker] = server.sockets[0].getsockname()[1]
        # Encoding these takes longer than a client waits.
        for version in (9, 12):
            self.metadata(MetadataRequest(version=version, topics=None), version)
        newest = HIGHEST[DescribeLogDirsRequest]
        for broker in self.layout.brokers:
            self.log_directories(DescribeLogDirsRequest(version=newest, topics=None), newest, broker)

    async def serve(self, broker: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kinds = {kind.API_KEY: kind for kind in HIGHEST}
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                data = await reader.readexactly(size)
                key, version, correlation = struct.unpack_from(">hhi", data)
                if key == SASL_HANDSHAKE:
                    writer.write(struct.pack(">iihi", 10, correlation, ILLEGAL_SASL_STATE, 0))
                    continue
                (length,) = struct.unpack_from(">h", data, 8)
                at, kind = 10 + max(0, length), kinds[key]
                unknown = kind is ApiVersionsRequest and version > HIGHEST[kind]
                version = 0 if unknown else version
                flexible = kind.flexible_version_q(version)
                body = b"" if unknown else data[at + 1 :] if flexible else data[at:]
                request = None if kind is ApiVersionsRequest else kind.decode(body, version=version)
                answer = self.answer(kind, request, version, broker, 35 if unknown else 0)
                tags = b"\0" if flexible and kind is not ApiVersionsRequest else b""
                head = struct.pack(">i", correlation) + tags
                writer.write(struct.pack(">i", len(head) + len(answer)) + head + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, kind: Any, request: Any, version: int, broker: int, error: int) -> bytes:
        if kind is ApiVersionsRequest:
            found = self.api_versions(version, error)
        elif kind is MetadataRequest:
            found = self.metadata(request, version)
        elif kind is DescribeClusterRequest:
            found = self.describe_cluster(version)
        elif kind is DescribeLogDirsRequest:
            found = self.log_directories(request, version, broker)
        elif kind is ListPartitionReassignmentsRequest:
            found = self.reassignments(version)
        elif kind is DescribeConfigsRequest:
            found = self.describe_configs(request, version)
        elif kind is IncrementalAlterConfigsRequest:
            found = self.alter_configs(request, version)
        else:
            found = AlterPartitionReassignmentsResponse(version=version, throttle_time_ms=0, error_code=0, responses=[])
        return found if isinstance(found, bytes) else bytes(found.encode(version=version))

    def api_versions(self, version: int, error: int) -> Any:
        made = ApiVersionsResponse.ApiVersion
        keys = [made(version=version, api_key=kind.API_KEY, min_version=0, max_version=most) for kind, most in HIGHEST.items()]
        return ApiVersionsResponse(version=version, error_code=error, api_keys=keys, throttle_time_ms=0)

    def metadata(self, request: Any, version: int) -> bytes:
        whole = request.topics is None or (version == 0 and not request.topics)
        if whole and ("metadata", version, 0) in self.whole:
            return self.whole["metadata", version, 0]
        topics: Iterable[str] = self.layout.partitions if whole else [one.name for one in request.topics]
        row = MetadataResponse.MetadataResponseBroker
        found = bytes(
            MetadataResponse(
                version=version,
                throttle_time_ms=0,
                brokers=[
                    row(version=version, node_id=one, host="127.0.0.1", port=port, rack=f"zone-{one % 3}")
                    for one, port in self.ports.items()
                ],
                cluster_id="sockets",
                controller_id=self.layout.brokers[0],
                topics=[self.topic(topic, version) for topic in topics],
            ).encode(version=version)
        )
        if whole:
            self.whole["metadata", version, 0] = found
        return found

    def topic(self, topic: str, version: int) -> Any:
        made, row = MetadataResponse.MetadataResponseTopic, MetadataResponse.MetadataResponseTopic.MetadataResponsePartition
        partitions = []
        for number in range(len(self.layout.partitions.get(topic, ()))):
            replicas, in_sync = self.layout.replicas(topic, number)
            partitions.append(
                row(
                    version=version,
                    error_code=0,
                    partition_index=number,
                    leader_id=in_sync[0],
                    leader_epoch=1,
                    replica_nodes=replicas,
                    isr_nodes=in_sync,
                    offline_replicas=[],
                )
            )
        known = {"topic_id": self.ids.get(topic)} if version >= 10 else {}
        error = 0 if partitions else 3
        return made(version=version, error_code=error, name=topic, is_internal=False, partitions=partitions, **known)

    def describe_cluster(self, version: int) -> Any:
        row = DescribeClusterResponse.DescribeClusterBroker
        return DescribeClusterResponse(
            version=version,
            throttle_time_ms=0,
            error_code=0,
            error_message=None,
            cluster_id="sockets",
            controller_id=self.layout.brokers[0],
            brokers=[
                row(version=version, broker_id=one, host="127.0.0.1", port=port, rack=f"zone-{one % 3}")
                for one, port in self.ports.items()
            ],
        )

    def log_directories(self, request: Any, version: int, broker: int) -> bytes:
        if request.topics is None and ("sizes", version, broker) in self.whole:
            return self.whole["sizes", version, broker]
        by_topic: dict[str, list[int]] = {}
        if request.topics is None:
            for topic, number in self.layout.on[broker]:
                by_topic.setdefault(topic, []).append(number)
        else:
            for one in request.topics:
                held = [n for n in one.partitions if broker in self.layout.replicas(one.topic, n)[0]]
                if held:
                    by_topic[one.topic] = held
        result = DescribeLogDirsResponse.DescribeLogDirsResult
        topic_row, row = result.DescribeLogDirsTopic, result.DescribeLogDirsTopic.DescribeLogDirsPartition
        topics = [
            topic_row(
                version=version,
                name=topic,
                partitions=[
                    row(version=version, partition_index=n, partition_size=SIZE_BYTES, offset_lag=0, is_future_key=False)
                    for n in numbers
                ],
            )
            for topic, numbers in by_topic.items()
        ]
        directory = result(
            version=version, error_code=0, log_dir="/data", topics=topics, total_bytes=4 * 10**12, usable_bytes=10**12
        )
        found = bytes(
            DescribeLogDirsResponse(version=version, throttle_time_ms=0, error_code=0, results=[directory]).encode(
                version=version
            )
        )
        if request.topics is None:
            self.whole["sizes", version, broker] = found
        return found

    def reassignments(self, version: int) -> Any:
        topic_row = ListPartitionReassignmentsResponse.OngoingTopicReassignment
        row = topic_row.OngoingPartitionReassignment
        topics: dict[str, list[Any]] = {}
        for (topic, number), (before, after) in self.layout.in_flight.items():
            topics.setdefault(topic, []).append(
                row(
                    version=version,
                    partition_index=number,
                    replicas=self.layout.replicas(topic, number)[0],
                    adding_replicas=[one for one in after if one not in before],
                    removing_replicas=[one for one in before if one not in after],
                )
            )
        found = [topic_row(version=version, name=topic, partitions=rows) for topic, rows in topics.items()]
        return ListPartitionReassignmentsResponse(
            version=version, throttle_time_ms=0, error_code=0, error_message=None, topics=found
        )

    def describe_configs(self, request: Any, version: int) -> Any:
        result = DescribeConfigsResponse.DescribeConfigsResult
        results = []
        for one in request.resources:
            values = self.visible(one.resource_type, one.resource_name)
            keys = one.configuration_keys
            names = [*OWN_KEYS[one.resource_type], *OTHER_KEYS[one.resource_type]] if keys is None else list(keys)
            results.append(
                result(
                    version=version,
                    error_code=0,
                    error_message=None,
                    resource_type=one.resource_type,
                    resource_name=one.resource_name,
                    configs=[self.config(name, values, one.resource_type, version) for name in names],
                )
            )
        return DescribeConfigsResponse(version=version, throttle_time_ms=0, results=results)

    def config(self, name: str, values: dict[str, str], resource_type: int, version: int) -> Any:
        row = DescribeConfigsResponse.DescribeConfigsResult.DescribeConfigsResourceResult
        value = values.get(name, "1" if name == "min.insync.replicas" else None)
        source = DYNAMIC[resource_type] if name in values else DEFAULT
        synonym = row.DescribeConfigsSynonym(version=version, name=name, value=value, source=source)
        return row(
            version=version,
            name=name,
            value=value,
            read_only=False,
            config_source=source,
            is_sensitive=False,
            synonyms=[synonym],
            config_type=2,
            documentation=None,
        )

    def visible(self, resource_type: int, name: str) -> dict[str, str]:
        now, found = time.monotonic(), {}
        for key, (since, value, before) in self.values.get((resource_type, name), {}).items():
            seen = value if since <= now else before
            if seen is not None:
                found[key] = seen
        return found

    def alter_configs(self, request: Any, version: int) -> Any:
        row, since = IncrementalAlterConfigsResponse.AlterConfigsResourceResponse, time.monotonic() + self.apply_seconds
        rows = []
        for one in request.resources:
            before = self.visible(one.resource_type, one.resource_name)
            known = self.values.setdefault((one.resource_type, one.resource_name), {})
            for config in one.configs:
                value = config.value if config.config_operation == 0 else None
                known[config.name] = (since, value, before.get(config.name))
            rows.append(
                row(
                    version=version,
                    error_code=0,
                    error_message=None,
                    resource_type=one.resource_type,
                    resource_name=one.resource_name,
                )
            )
        return IncrementalAlterConfigsResponse(version=version, throttle_time_ms=0, responses=rows)


async def serve(layout: Layout, apply_seconds: float) -> None:
    cluster = Cluster(layout, apply_seconds)
    await cluster.start()
    print(json.dumps(cluster.ports), flush=True)
    # Until whoever started it closes its end.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.sockets")
    parser.add_argument("--brokers", type=int, required=True)
    parser.add_argument("--topics", type=int, required=True)
    parser.add_argument("--partitions", type=int, required=True, help="of each topic")
    parser.add_argument("--apply-seconds", type=float, required=True)
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="reassignments")
    asked = parser.parse_args()
    asyncio.run(serve(Layout(asked.brokers, asked.topics, asked.partitions, asked.in_flight), asked.apply_seconds))


if __name__ == "__main__":
    main()
