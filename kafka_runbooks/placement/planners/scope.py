"""What options mean on a given cluster: the sizes to plan with, the partitions in scope, the brokers allowed, the maps."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kafka_runbooks.models.placement import MOST_BYTES
from kafka_runbooks.placement import maps
from kafka_runbooks.placement.arrays import Cluster, Flags, Ints, holds_any
from kafka_runbooks.placement.errors import InFlight, InvalidRequest
from kafka_runbooks.placement.planners.left_alone import catching_up, without_in_sync
from kafka_runbooks.placement.planners.options import Options, Request
from kafka_runbooks.placement.snapshots import broker_indices


def prepare(cluster: Cluster, options: Options) -> Cluster:
    """The cluster to plan on: on the target of reassignments in progress, with the sizes requested.

    Raises:
        InFlight: a partition in scope is being reassigned, and planning on its target was not requested.
        InvalidRequest: the measure to balance is unknown, or can't be balanced as requested.
    """
    _require_known_measure(cluster, options)
    busy = np.nonzero(cluster.in_flight & scope_of(cluster, options))[0]
    if len(busy):
        if not options.on_target:
            topic, number = cluster.name(int(busy[0]))
            raise InFlight(
                f"{len(busy)} partitions are being reassigned ({topic}-{number} …): wait for them, "
                "or plan on their target (on_target)"
            )
        cluster = cluster.on_target()
    if not 0 < options.max_utilisation <= 1:
        raise InvalidRequest(f"max_utilisation: {options.max_utilisation:g} is no share of a disk; give more than 0, at most 1")
    cluster = replace(cluster, max_utilisation=options.max_utilisation)
    if options.size_factor == 1.0:
        return cluster
    total = float(cluster.size_bytes.sum()) * cluster.replicas.shape[1] * options.size_factor
    if not 0 <= total <= MOST_BYTES:
        raise InvalidRequest(f"size_factor: {options.size_factor:g} makes the partitions larger than {MOST_BYTES} bytes in all")
    return replace(cluster, size_bytes=np.rint(cluster.size_bytes * options.size_factor).astype(np.int64))


def _require_known_measure(cluster: Cluster, options: Options) -> None:
    if options.measure == "bytes in" and cluster.bytes_in is None:
        raise _unknown("bytes in")
    if options.measure == "bytes out":
        bytes_out_of(cluster)
        if options.leaders == "keep":
            raise InvalidRequest("leaders: bytes out are balanced by choosing leaders; drop `keep`, or balance bytes in")


def bytes_out_of(cluster: Cluster) -> Ints:
    """P: bytes per second consumed from each partition.

    Raises:
        InvalidRequest: they are unknown.
    """
    if cluster.bytes_out is None:
        raise _unknown("bytes out")
    return cluster.bytes_out


def _unknown(measure: str) -> InvalidRequest:
    column = measure.replace(" ", "_")
    return InvalidRequest(f"level: can't balance {measure}: no partition of the snapshot has {column}; fill it in")


def scope_of(cluster: Cluster, options: Options) -> Flags:
    """P: partitions of the topics requested."""
    topics = list(cluster.topics) if options.topics is None else maps.matching(options.topics, cluster.topics)
    excluded = set(maps.matching(options.exclude, cluster.topics, field="topics_exclude"))
    return maps.rows_of(cluster, [topic for topic in topics if topic not in excluded])


def brokers_of(cluster: Cluster, brokers: Iterable[int] | None) -> Flags:
    """B: these brokers, or all live ones."""
    if brokers is None:
        return cluster.is_live.copy()
    flags = np.zeros(cluster.broker_count, dtype=np.bool_)
    flags[broker_indices(cluster, brokers)] = True
    return flags


def regions_of(request: Request) -> list[maps.Region]:
    """The maps, restricted to the brokers requested and to the partitions that may change; one of all where none is given."""
    cluster, regions = request.cluster, request.options.regions
    scope = scope_of(cluster, request.options) & ~without_in_sync(cluster)
    if request.levels:
        # What is on a broker with a failed log directory stays there: the others are balanced among themselves.
        scope &= ~catching_up(cluster) & ~holds_any(cluster.replicas, cluster.keeps_only)
    if request.without_set is not None:
        scope &= ~request.without_set
    if regions is None:
        return [maps.Region("", scope, request.allowed)]
    return [replace(region, scope=region.scope & scope, brokers=region.brokers & request.allowed) for region in regions.regions]
