"""What `place` plans on: a snapshot file, or a live cluster through the Kafka Protocol; and its options."""

import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from pydantic import Field, TypeAdapter, ValidationError

from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.models.base import OperatorInput
from kafka_runbooks.models.maps import TopicMap
from kafka_runbooks.models.placement import Snapshot
from kafka_runbooks.placement import maps, planners, snapshots
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.problem import Measure
from kafka_runbooks.placement.snapshots import observed

if TYPE_CHECKING:
    from kafka_runbooks.cli.place import Common


MEASURES: dict[str, Measure] = {
    "utilisation": "utilisation",
    "used-bytes": "used bytes",
    "replica-count": "replica count",
    "bytes-in": "bytes in",
    "bytes-out": "bytes out",
}


class MapsFile(OperatorInput):
    """`maps`, and the broker ids of each instance type where maps ask for instances."""

    maps: tuple[TopicMap, ...]
    brokers_by_type: dict[str, tuple[int, ...]] = Field(default_factory=dict)


def observe(snapshot: Path | None, bootstrap: str | None, capacity_bytes: int) -> Cluster:
    """The cluster to plan on.

    :raises InvalidRequest: neither source or both, or a file that can't be read; the message names the field
    """
    if (snapshot is None) == (bootstrap is None):
        raise InvalidRequest("give either --snapshot FILE or --bootstrap SERVERS")
    if bootstrap is not None:
        from kafka_runbooks.clients.kafka import KafkaAdmin

        kafka = KafkaAdmin(bootstrap)
        try:
            return snapshots.from_snapshot(look(kafka, capacity_bytes))
        finally:
            kafka.close()
    assert snapshot is not None
    return snapshots.from_snapshot(read_snapshot(snapshot))


def read_snapshot(path: Path) -> Snapshot:
    """A snapshot file; raw and gzipped JSON read alike, whatever the name says."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return Snapshot.model_validate_json(data)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise InvalidRequest(f"--snapshot {path}: {error}") from error
    except ValidationError as error:
        raise InvalidRequest(f"--snapshot {path}: {_first(error)}") from error


def look(kafka: Kafka, capacity_bytes: int) -> Snapshot:
    """A live cluster as a snapshot: a partition's size is its largest replica's, from DescribeLogDirs (KIP-113).

    So are disks (KIP-827, Kafka 3.3 and later); where a broker doesn't tell, used bytes are levelled instead of utilisation.

    :param capacity_bytes: disk capacity of every broker, instead of what brokers tell; 0: ask them

    :raises InvalidRequest: a live broker didn't answer, and its free space would be guessed
    """
    seen = kafka.snapshot()
    sizes = kafka.replica_sizes(sorted(seen.live_broker_ids))
    if sizes.unanswered_broker_ids:
        raise InvalidRequest(
            f"--bootstrap: brokers {list(sizes.unanswered_broker_ids)} did not report their replicas' sizes; try again"
        )
    found = observed(seen, sizes, kafka.reassignments())
    if not capacity_bytes:
        return found
    used: dict[int, int] = {}
    for replica, size in sizes.size_bytes.items():
        used[replica.broker_id] = used.get(replica.broker_id, 0) + size
    brokers = tuple(
        broker.model_copy(update={"capacity": capacity_bytes, "free": max(0, capacity_bytes - used.get(broker.id, 0))})
        for broker in found.brokers
    )
    return found.model_copy(update={"brokers": brokers})


def options(cluster: Cluster, common: "Common") -> planners.Options:
    """Planner options from the command line's."""
    return planners.Options(
        topics=_items(common.topics) or None,
        exclude=_items(common.topics_exclude),
        regions=None if common.maps is None else _regions(cluster, common.maps),
        measure=MEASURES[common.level],
        min_racks=common.min_racks or None,
        leaders=common.leaders.value,
        on_target=common.on_target,
        target_spread=common.target_spread,
        max_moved_bytes=common.max_moved_bytes,
        within_racks=common.within_racks,
        smallest_moved_bytes=common.smallest_moved_bytes,
        prove=common.prove,
        size_factor=common.size_factor,
    )


def mapped(cluster: Cluster, ids: list[int]) -> list[int]:
    """Brokers that hold replicas, where the list has the reserved id -1."""
    if planners.ALL_MAPPED not in ids:
        return []
    held = np.unique(cluster.replicas[cluster.replicas >= 0])
    return [int(b) for b in cluster.broker_ids[held]]


def _items(text: str | None) -> list[str]:
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def _regions(cluster: Cluster, path: Path) -> maps.Regions:
    try:
        file = TypeAdapter(MapsFile).validate_python(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError, json.JSONDecodeError) as error:
        raise InvalidRequest(f"--maps {path}: {error}") from error
    except ValidationError as error:
        raise InvalidRequest(f"--maps {path}: {_first(error)}") from error
    return maps.resolve(cluster, file.maps, file.brokers_by_type)


def _first(error: ValidationError) -> str:
    """The first fault in one line: where, what, and how many more."""
    fault = error.errors()[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}{more}"
