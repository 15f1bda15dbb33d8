"""What planners may be asked for, and what it means for the cluster at hand: partitions in scope, brokers allowed, maps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kafka_runbooks.placement import maps
from kafka_runbooks.placement.arrays import Cluster, Flags
from kafka_runbooks.placement.errors import InFlight, InvalidRequest
from kafka_runbooks.placement.problem import Measure
from kafka_runbooks.placement.snapshots import broker_indices


@dataclass(frozen=True)
class Options:
    """What every planner understands."""

    topics: Sequence[str] | None = None
    """Names or anchored regexes; None: all."""
    exclude: Sequence[str] = ()
    regions: maps.Regions | None = None
    """Maps; None: one map of all live brokers."""
    measure: Measure = "utilisation"
    """What is to be level."""
    min_racks: int | None = None
    """Racks a set must span; None: as many as it can. 1: none asked for."""
    leaders: Literal["balance", "keep"] = "balance"
    """`keep` names a new preferred leader only where the old one goes."""
    on_target: bool = False
    """Plan on the target of reassignments in progress, instead of refusing them."""
    target_spread: float | None = None
    """How far above the best possible spread is level enough; a fraction of capacity, or the measure's unit."""
    max_moved_bytes: int | None = None
    within_racks: bool = False
    """Moves that are not forced stay inside a rack (topicmappr's `--locality-scoped`)."""
    smallest_moved_bytes: int = 0
    """Partitions smaller than this are not moved to level (topicmappr's `--partition-size-threshold`)."""
    prove: bool = False
    """Solve for the best possible spread exactly where the cluster is small enough, instead of bounding it."""
    size_factor: float = 1.0
    """Plan as if partitions were this much larger, before a change of retention."""


DEFAULTS = Options()


def observed(cluster: Cluster, options: Options) -> Cluster:
    """The cluster to plan on: on the target of reassignments in progress, with the sizes asked for.

    :raises InFlight: a partition in scope is being reassigned, and planning on its target was not asked for
    :raises InvalidRequest: what is to be level isn't known, or can't be levelled as asked
    """
    _can_be_levelled(cluster, options)
    scope = scope_of(cluster, options)
    busy = np.nonzero(cluster.in_flight & scope)[0]
    if len(busy):
        if not options.on_target:
            topic, number = cluster.name(int(busy[0]))
            raise InFlight(
                f"{len(busy)} partitions are being reassigned ({topic}-{number} …): wait for them, "
                "or plan on their target (on_target)"
            )
        cluster = cluster.on_target()
    if options.size_factor != 1.0:
        cluster = replace(cluster, size_bytes=np.rint(cluster.size_bytes * options.size_factor).astype(np.int64))
    return cluster


def _can_be_levelled(cluster: Cluster, options: Options) -> None:
    known = {"bytes in": cluster.bytes_in, "bytes out": cluster.bytes_out}
    if options.measure in known and known[options.measure] is None:
        column = options.measure.replace(" ", "_")
        raise InvalidRequest(
            f"level: {options.measure} can't be levelled, for no partition of the snapshot has {column}; fill it in"
        )
    if options.measure == "bytes out" and options.leaders == "keep":
        raise InvalidRequest("leaders: bytes out are levelled by choosing leaders; drop `keep`, or level bytes in")


def scope_of(cluster: Cluster, options: Options) -> Flags:
    """P: partitions of the topics asked for."""
    topics = list(cluster.topics) if options.topics is None else maps.matching(options.topics, cluster.topics)
    scope = maps.rows_of(cluster, maps.excluding(options.exclude, topics))
    return scope


def chosen(cluster: Cluster, brokers: Iterable[int] | None) -> Flags:
    """B: these brokers, or all live ones."""
    if brokers is None:
        return cluster.is_live.copy()
    flags = np.zeros(cluster.broker_count, dtype=np.bool_)
    flags[broker_indices(cluster, brokers)] = True
    return flags


def regions_of(cluster: Cluster, options: Options, allowed: Flags) -> list[maps.Region]:
    """The maps, cut to the topics and brokers asked for; one map of all of them where none is given."""
    scope = scope_of(cluster, options)
    if options.regions is None:
        return [maps.Region("", scope, allowed)]
    return [replace(region, scope=region.scope & scope, brokers=region.brokers & allowed) for region in options.regions.regions]
