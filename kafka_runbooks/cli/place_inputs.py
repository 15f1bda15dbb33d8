"""What `place` plans on: a snapshot file, or a live cluster through the Kafka Protocol; and the planners' options."""

import gzip
import sys
import zlib
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import get_args

import numpy as np
import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from kafka_runbooks.cli import live_kafka
from kafka_runbooks.cli.place_options import Common, Level
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.models.base import OperatorInput
from kafka_runbooks.models.maps import TopicMap
from kafka_runbooks.models.placement import Measure, Snapshot
from kafka_runbooks.placement import maps, planners, snapshots
from kafka_runbooks.placement.arrays import Cluster
from kafka_runbooks.placement.errors import InvalidRequest

MEASURES: dict[Level, Measure] = {
    Level.UTILISATION: "utilisation",
    Level.USED_BYTES: "used bytes",
    Level.REPLICA_COUNT: "replica count",
    Level.BYTES_IN: "bytes in",
    Level.BYTES_OUT: "bytes out",
}


EXTRA = "extra_forbidden"
USUAL_NAMES = {"isr": "in_sync", "isrs": "in_sync"}
"""What a field is called elsewhere, where that is nothing like our name."""


class MapsFile(OperatorInput):
    """`maps`, and the broker ids of each instance type where maps ask for instances."""

    maps: tuple[TopicMap, ...]
    brokers_by_type: dict[str, tuple[int, ...]] = Field(default_factory=dict)

    @field_validator("maps")
    @classmethod
    def _have_brokers(cls, given: tuple[TopicMap, ...]) -> tuple[TopicMap, ...]:
        """Nothing here reads labels."""
        if without := [entry.name for entry in given if not entry.brokers and entry.instances is None]:
            raise ValueError(f"{without[0]}: give brokers or instances")
        return given


def observe(common: Common) -> Cluster:
    """The cluster to plan on.

    Raises:
        InvalidRequest: neither source or both, or a file that can't be read; the message names the field.
        BadInput: --kafka-config can't be read.
    """
    if common.kafka_config is not None and common.bootstrap is None:
        raise InvalidRequest("--kafka-config: only with --bootstrap SERVERS")
    if common.snapshot is not None and common.bootstrap is None:
        return snapshots.from_snapshot(read_snapshot(common.snapshot))
    if common.bootstrap is None or common.snapshot is not None:
        raise InvalidRequest("give either --snapshot FILE or --bootstrap SERVERS")
    with live_kafka.opened(common.bootstrap, common.kafka_config) as kafka:
        return snapshots.from_snapshot(live_snapshot(kafka, common.capacity_bytes))


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot file; gzip is recognised by content, not by name."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return Snapshot.model_validate_json(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidRequest(f"--snapshot {path}: {error}") from error
    except ValidationError as error:
        raise InvalidRequest(f"--snapshot {path}: {_explained(error, Snapshot)}") from error


def live_snapshot(kafka: Kafka, capacity_bytes: int) -> snapshots.Observed:
    """The snapshot of a live cluster.

    Args:
        kafka: the cluster.
        capacity_bytes: disk capacity of every broker, instead of what brokers report; 0: as they report.

    Raises:
        InvalidRequest: a live broker didn't answer, so its free space would be a guess.
    """
    state = kafka.snapshot()
    sizes = kafka.replica_sizes(sorted(state.live_broker_ids))
    if sizes.unanswered_broker_ids:
        raise InvalidRequest(
            f"--bootstrap: brokers {list(sizes.unanswered_broker_ids)} did not report their replicas' sizes; try again"
        )
    found = snapshots.observed(state, sizes, kafka.reassignments())
    if not capacity_bytes:
        return found
    used: dict[int, int] = {}
    for replica, size in sizes.size_bytes.items():
        used[replica.broker_id] = used.get(replica.broker_id, 0) + size
    brokers = tuple(
        broker.model_copy(update={"capacity": capacity_bytes, "free": max(0, capacity_bytes - used.get(broker.id, 0))})
        for broker in found.brokers
    )
    return found._replace(brokers=brokers)


def options(cluster: Cluster, common: Common) -> planners.Options:
    """The planners' options from those of the command line."""
    return planners.Options(
        topics=None if common.topics is None else _items(common.topics, "--topics"),
        exclude=_items(common.topics_exclude, "--topics-exclude") if common.topics_exclude else (),
        regions=None if common.maps is None else _regions(cluster, common.maps),
        measure=MEASURES[common.level],
        min_racks=common.min_racks or None,
        leaders=common.leaders.value,
        on_target=common.on_target,
        target_spread=common.target_spread,
        max_moved_bytes=common.max_moved_bytes,
        max_utilisation=common.max_utilisation,
        within_racks=common.within_racks,
        smallest_moved_bytes=common.smallest_moved_bytes,
        prove=common.prove,
        size_factor=common.size_factor,
    )


def targets(cluster: Cluster, ids: list[int]) -> list[int] | None:
    """Brokers to plan for, with the reserved ids -1 and -2 resolved; None: all live ones."""
    if planners.ALL_KNOWN in ids:
        return None
    named = [broker for broker in ids if broker != planners.ALL_MAPPED]
    if planners.ALL_MAPPED not in ids:
        return named
    held = np.unique(cluster.replicas[cluster.replicas >= 0])
    return named + [int(b) for b in cluster.broker_ids[held]]


def _items(text: str, field: str) -> list[str]:
    found = [item.strip() for item in text.split(",") if item.strip()]
    if not found:
        raise InvalidRequest(f"{field}: {text!r} names no topic; leave it out, or name some")
    return found


def _regions(cluster: Cluster, path: Path) -> maps.Regions:
    try:
        file = MapsFile.model_validate(yaml.safe_load(path.read_bytes()))
    except ValidationError as error:
        raise InvalidRequest(f"--maps {path}: {_explained(error, MapsFile)}") from error
    except (OSError, yaml.YAMLError) as error:
        raise InvalidRequest(f"--maps {path}: {' '.join(str(error).split())}") from error
    return maps.resolve(cluster, file.maps, file.brokers_by_type)


def _explained(error: ValidationError, model: type[BaseModel]) -> str:
    """In one line: every unknown field with the nearest known one, or the first error and how many more."""
    faults = error.errors(include_url=False)
    unknown: dict[tuple[str, ...], ErrorDetails] = {}
    for fault in faults:
        if fault["type"] == EXTRA:
            unknown.setdefault(tuple(part for part in fault["loc"] if isinstance(part, str)), fault)
    if unknown:
        return "unknown fields: " + "; ".join(_nearest(fault, model) for fault in unknown.values())
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{'.'.join(str(part) for part in faults[0]['loc'])}: {faults[0]['msg']}{more}"


def _nearest(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """Where an unknown field is, and which known one it may be meant for."""
    *where, name = fault["loc"]
    known = _fields(model, [part for part in where if isinstance(part, str)])
    meant = USUAL_NAMES.get(str(name).lower(), str(name).lower())
    likeliest = max(known, key=lambda field: SequenceMatcher(None, meant, field).ratio())
    return f"{'.'.join(map(str, fault['loc']))} (did you mean {likeliest!r}? known: {', '.join(known)})"


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The fields of the model that is found along a path of fields."""
    for name in path:
        inner = model.model_fields[name].annotation
        model = next(one for one in get_args(inner) if isinstance(one, type) and issubclass(one, BaseModel))
    return list(model.model_fields)
