"""Preferred leaders: balanced, or taken off some brokers. Only the order of replica lists changes, and nothing is copied."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, with_leaders
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.leaders import by_count
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners.left_alone import named, without_in_sync
from kafka_runbooks.placement.planners.options import DEFAULTS, Options, Request
from kafka_runbooks.placement.planners.pipeline import choose_leaders
from kafka_runbooks.placement.planners.report import report
from kafka_runbooks.placement.planners.scope import brokers_of, prepare, regions_of, scope_of
from kafka_runbooks.placement.snapshots import broker_indices


def balance_leaders(
    cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None, *, by_share: bool = False
) -> Plan:
    """Preferred leaders as even as replica sets allow (exact); sets stay unchanged.

    Args:
        cluster: the observed cluster.
        options: options of every planner.
        brokers: ids of the brokers that may lead; None: all live ones.
        by_share: each broker leads its share of the replicas it holds (topicmappr's ratio), instead of all brokers equally many.
    """
    cluster = prepare(cluster, options)
    if by_share and options.measure == "bytes out":
        raise InvalidRequest("by_share: leaders follow either their share of replicas or bytes out")
    request = Request("leaders", cluster, options, brokers_of(cluster, brokers))
    after = cluster.replicas
    for region in regions_of(request):
        eligible = cluster.in_sync & region.brokers[np.maximum(after, 0)]
        if by_share:
            rows = np.nonzero(region.scope)[0]
            after = with_leaders(after, rows, by_count.balance_by_share(after, rows, eligible, cluster.broker_count))
        else:
            after = choose_leaders(request, after, region.scope, eligible)
    return report(request, cluster.replicas, after)


def evacuate_leaders(cluster: Cluster, leaving: Iterable[int], options: Options = DEFAULTS) -> Plan:
    """No leader on some brokers: neither now, nor preferred, nor the next to be elected; replicas stay.

    Args:
        cluster: the observed cluster.
        leaving: ids of the brokers that must not lead.
        options: options of every planner.

    Raises:
        InvalidRequest: a partition has in-sync replicas on those brokers only.
    """
    cluster = prepare(cluster, options)
    gone = broker_indices(cluster, leaving, where="brokers")
    rows = np.nonzero(scope_of(cluster, options) & ~without_in_sync(cluster))[0]
    after, impossible = by_count.evacuate(
        cluster.replicas, rows, gone.tolist(), cluster.in_sync, cluster.leads, cluster.broker_count
    )
    if len(impossible):
        names = ["{}-{}".format(*cluster.name(int(row))) for row in impossible[:5]]
        raise InvalidRequest(
            f"{len(impossible)} partitions have no in-sync replica on another broker ({', '.join(names)}): "
            "evacuate fewer brokers at once, or move a replica first"
        )
    plan = report(Request("evacuate", cluster, options, cluster.is_live.copy()), cluster.replicas, after)
    led = rows[np.isin(cluster.leads, gone)[rows] & (after == cluster.replicas).all(axis=1)[rows]]
    if not len(led):
        return plan
    notice = f"{named(cluster, led)} are led by these brokers although another one is preferred: elect preferred leaders"
    return replace(plan, notices=(*plan.notices, notice))
