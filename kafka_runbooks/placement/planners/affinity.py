"""Substitution affinity: each leaving broker is replaced by one new broker of its rack, which takes over exactly its replicas.

Recovery of one broker from all its peers at full speed, and a way back that is as simple: topicmappr's `--sub-affinity`. A broker
that vanished has no rack any more; it is inferred: a rack seen in sets without it, and never beside it. Pairs are made in order
of broker id (topicmappr walks a Go map, and pairs two of a rack at random).
"""

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, Flags, Ints
from kafka_runbooks.placement.errors import InvalidRequest


def pair(cluster: Cluster, leaving: Ints, new: Ints) -> dict[int, int]:
    """Leaving broker -> its substitute (indices).

    :raises InvalidRequest: a leaving broker has no substitute in its rack
    """
    free = sorted(new.tolist())
    if len(free) < len(leaving):
        raise InvalidRequest(f"insufficient number of new brokers: {len(leaving)} leave, {len(free)} are new")
    pairs: dict[int, int] = {}
    known = [b for b in sorted(leaving.tolist()) if _named(cluster, b)]
    lost = [b for b in sorted(leaving.tolist()) if not _named(cluster, b)]
    for broker in (*known, *lost):
        racks = [int(cluster.racks[broker])] if broker in known else possible_racks(cluster, broker, free)
        match = next((b for rack in racks for b in free if cluster.racks[b] == rack), None)
        if match is None:
            names = [cluster.rack_names[rack] for rack in racks]
            raise InvalidRequest(
                f"no substitute for broker {int(cluster.broker_ids[broker])}: no new broker is left in rack {names or 'any'}"
            )
        pairs[broker] = match
        free.remove(match)
    return pairs


def _named(cluster: Cluster, broker: int) -> bool:
    return not cluster.rack_names[cluster.racks[broker]].startswith("(broker ")


def possible_racks(cluster: Cluster, broker: int, new: list[int]) -> list[int]:
    beside: Flags = (cluster.replicas == broker).any(axis=1)
    companions = _racks(cluster, beside) - {int(cluster.racks[broker])}
    elsewhere = _racks(cluster, ~beside) - companions
    # Where every rack that is left sits beside it, the lost broker was the only one of its rack: any other rack will do.
    racks = elsewhere or {int(cluster.racks[b]) for b in new} - companions
    return sorted(racks)


def _racks(cluster: Cluster, rows: Flags) -> set[int]:
    members = np.unique(cluster.replicas[rows])
    return {int(cluster.racks[b]) for b in members.tolist() if b >= 0 and _named(cluster, b)}
