"""How full disks may get, in words: what a plan says where `max_utilisation` is what keeps it from being made."""

from math import ceil

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, Ints, loads

SHOWN = 5


def below(cluster: Cluster) -> str:
    """What free space is measured against, where that isn't the whole disk."""
    return "" if cluster.max_utilisation == 1.0 else f" below max_utilisation {cluster.max_utilisation:g}"


def or_raise(cluster: Cluster, broker: int, needed_bytes: int) -> str:
    """The utilisation that would be enough for a broker (by index) to hold so many bytes; empty where its disk is too small."""
    capacity = int(cluster.capacity_bytes[broker])
    if cluster.max_utilisation == 1.0 or not 0 < needed_bytes <= capacity:
        return ""
    return f", or raise max_utilisation to {min(1.0, ceil(1000 * needed_bytes / capacity) / 1000):g}"


def already_above(cluster: Cluster, targets: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> str:
    """Brokers that are fuller than a plan may make them, and so get nothing; empty where there are none."""
    used: Ints = cluster.unexplained_bytes + loads(cluster.replicas, cluster.size_bytes, cluster.broker_count)
    full = np.nonzero(targets & (used > cluster.limit_bytes))[0].tolist()
    if not full or cluster.max_utilisation == 1.0:
        return ""
    share = {int(cluster.broker_ids[b]): used[b] / cluster.capacity_bytes[b] for b in full}
    fullest = sorted(share, key=lambda broker: (-share[broker], broker))
    named = ", ".join(f"{broker} by {share[broker] - cluster.max_utilisation:.1%}" for broker in fullest[:SHOWN])
    more = f" and {len(full) - SHOWN} more" if len(full) > SHOWN else ""
    return (
        f"fuller than max_utilisation {cluster.max_utilisation:g}: brokers {named}{more}; they get nothing until they are below "
        "(add brokers, keep less data, or raise max_utilisation)"
    )
