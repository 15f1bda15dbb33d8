"""The planners: from an observed cluster and a wish to a plan, one function each.

All of them are the same three questions (`solving`): what may stay, where the rest goes, and whether more may move to level. They
differ in which brokers are allowed, which replication factor is wanted and how far to level.
"""

from collections.abc import Iterable

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, Flags, holds
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.leaders import by_count as leaders
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import affinity
from kafka_runbooks.placement.planners import pipeline as planning
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, chosen, observed, scope_of
from kafka_runbooks.placement.snapshots import broker_indices

__all__ = [
    "ALL_KNOWN",
    "ALL_MAPPED",
    "DEFAULTS",
    "Options",
    "balance_leaders",
    "decommission",
    "evacuate_leaders",
    "rebalance",
    "rebuild",
    "replace_brokers",
    "scale_up",
    "set_replication",
    "spread_topics",
]

ALL_MAPPED, ALL_KNOWN = -1, -2
"""topicmappr's reserved broker ids: every broker in the map as it is, every broker of the cluster."""


def rebuild(
    cluster: Cluster,
    brokers: Iterable[int],
    options: Options = DEFAULTS,
    *,
    replication: int | None = None,
    force: bool = False,
    substitute: bool = False,
) -> Plan:
    """Bring topics onto a list of brokers: what is on others moves, the rest stays; with `force` all of it is levelled.

    :param brokers: ids; ALL_MAPPED and ALL_KNOWN stand for those brokers
    :param substitute: pair leaving and new brokers by rack
    """
    cluster = observed(cluster, options)
    wanted = set(brokers)
    scope = scope_of(cluster, options)
    mapped: Flags = np.zeros(cluster.broker_count, dtype=np.bool_)
    held = cluster.replicas[scope]
    mapped[held[held >= 0]] = True
    allowed = np.zeros(cluster.broker_count, dtype=np.bool_)
    if ALL_MAPPED in wanted:
        allowed |= mapped
    if ALL_KNOWN in wanted:
        allowed |= cluster.is_live
    allowed[broker_indices(cluster, wanted - {ALL_MAPPED, ALL_KNOWN})] = True
    pairs = None
    if substitute:
        gone = np.nonzero(mapped & ~(allowed & cluster.is_live))[0]
        pairs = affinity.pair(cluster, gone, np.nonzero(allowed & cluster.is_live & ~mapped)[0])
    return planning.plan("rebuild", cluster, options, allowed=allowed, replication=replication, moves=force, pairs=pairs)


def replace_brokers(
    cluster: Cluster,
    leaving: Iterable[int],
    replacements: Iterable[int] | None = None,
    options: Options = DEFAULTS,
    *,
    substitute: bool = False,
) -> Plan:
    """Move everything off some brokers; the bytes on them and no more.

    :param replacements: new brokers; None: any live broker takes its part
    :param substitute: each replacement takes over exactly one leaving broker's replicas, in its rack
    """
    cluster = observed(cluster, options)
    gone = broker_indices(cluster, leaving, where="leaving")
    new = None if replacements is None else broker_indices(cluster, replacements, where="replacements")
    allowed = cluster.is_live.copy()
    allowed[gone] = False
    if new is not None and np.isin(new, gone).any():
        raise InvalidRequest("replacements: a broker can't replace itself")
    pairs = None
    if substitute:
        if new is None:
            used = np.unique(cluster.replicas[cluster.replicas >= 0])
            new = np.setdiff1d(np.nonzero(allowed)[0], used)
        pairs = affinity.pair(cluster, gone, new)
    return planning.plan("replace", cluster, options, allowed=allowed, pairs=pairs)


def rebalance(cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None) -> Plan:
    """Level brokers (all live ones, or these) with the fewest bytes that get them there."""
    cluster = observed(cluster, options)
    return planning.plan("rebalance", cluster, options, allowed=chosen(cluster, brokers), moves=True)


def scale_up(cluster: Cluster, new: Iterable[int], options: Options = DEFAULTS, brokers: Iterable[int] | None = None) -> Plan:
    """Bring new brokers to the level of the others.

    :raises InvalidRequest: a broker that holds replicas already is not new
    """
    cluster = observed(cluster, options)
    fresh = broker_indices(cluster, new, where="new")
    if not len(fresh):
        raise InvalidRequest("new: name at least one broker to scale up with")
    old = [int(cluster.broker_ids[b]) for b in fresh if holds(cluster.replicas[scope_of(cluster, options)], int(b)).any()]
    if old:
        raise InvalidRequest(f"new: brokers {old} hold replicas already; `rebalance` levels brokers that are in use")
    allowed = chosen(cluster, brokers)
    allowed[fresh] = True
    return planning.plan("scale", cluster, options, allowed=allowed, moves=True)


def decommission(cluster: Cluster, leaving: Iterable[int] = (), options: Options = DEFAULTS, *, rack: str | None = None) -> Plan:
    """Empty several brokers, or a rack, at once: none of them is a destination, so that nothing moves twice."""
    cluster = observed(cluster, options)
    gone = set(broker_indices(cluster, leaving, where="leaving").tolist())
    if rack is not None:
        if rack not in cluster.rack_names:
            raise InvalidRequest(f"rack: {rack!r} is unknown; known: {list(cluster.rack_names)}")
        gone |= set(np.nonzero(cluster.racks == cluster.rack_names.index(rack))[0].tolist())
    if not gone:
        raise InvalidRequest("leaving: name at least one broker, or a rack")
    allowed = cluster.is_live.copy()
    allowed[sorted(gone)] = False
    return planning.plan("decommission", cluster, options, allowed=allowed)


def set_replication(
    cluster: Cluster, replication: int, options: Options = DEFAULTS, brokers: Iterable[int] | None = None
) -> Plan:
    """Another replication factor. Down: live, in-sync, rack-diverse replicas stay, nothing is copied. Up: only new ones are."""
    if replication < 1:
        raise InvalidRequest("replication: at least 1")
    cluster = observed(cluster, options)
    return planning.plan("set-rf", cluster, options, allowed=chosen(cluster, brokers), replication=replication)


def spread_topics(cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None) -> Plan:
    """Each topic's replicas evenly over the brokers: counts per topic and broker differ by 1 where racks allow."""
    return planning.spread(observed(cluster, options), options, allowed=chosen(cluster, brokers))


def balance_leaders(
    cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None, *, by_share: bool = False
) -> Plan:
    """Preferred leaders as even as replica sets allow (exact); sets stay as they are.

    :param by_share: each broker leads its share of the replicas it holds (topicmappr's ratio), instead of all brokers alike
    """
    cluster = observed(cluster, options)
    if by_share and options.measure == "bytes out":
        raise InvalidRequest("by_share: leaders follow either their share of replicas or bytes out")
    return planning.leaders_plan("leaders", cluster, options, chosen(cluster, brokers), by_share)


def evacuate_leaders(cluster: Cluster, leaving: Iterable[int], options: Options = DEFAULTS) -> Plan:
    """No preferred leader on some brokers; replicas stay.

    :raises InvalidRequest: a partition has replicas on those brokers only
    """
    cluster = observed(cluster, options)
    gone = broker_indices(cluster, leaving, where="brokers")
    rows = np.nonzero(scope_of(cluster, options))[0]
    after, impossible = leaders.evacuate(cluster.replicas, rows, gone.tolist(), cluster.in_sync, cluster.broker_count)
    if len(impossible):
        names = ["{}-{}".format(*cluster.name(int(row))) for row in impossible[:5]]
        raise InvalidRequest(
            f"{len(impossible)} partitions have no in-sync replica on another broker ({', '.join(names)}): "
            "evacuate fewer brokers at once, or move a replica first"
        )
    return planning.report("evacuate", cluster, options, cluster.replicas, after, cluster.is_live.copy(), [])
