"""Substitution affinity: each leaving broker is replaced by one new broker of its rack, which takes over exactly its replicas.

That is topicmappr's `--sub-affinity`: all peers of one broker feed its recovery at full speed, and undoing it is as simple. A
broker that vanished has no rack any more; it is inferred as one that appears in sets without the broker, and never beside it.
Pairs are made in order of broker id (topicmappr iterates over a Go map, and pairs two of a rack at random).
"""

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, Flags, Ints
from kafka_runbooks.placement.errors import InvalidRequest


def pair(cluster: Cluster, leaving: Ints, new: Ints) -> dict[int, int]:
    """Leaving broker -> its substitute (indices).

    Raises:
        InvalidRequest: a leaving broker has no substitute in its rack.
    """
    free = sorted(new.tolist())
    if len(free) < len(leaving):
        raise InvalidRequest(f"insufficient number of new brokers: {len(leaving)} leave, {len(free)} are new")
    pairs: dict[int, int] = {}
    known = [b for b in sorted(leaving.tolist()) if cluster.rack_name(b) is not None]
    lost = [b for b in sorted(leaving.tolist()) if cluster.rack_name(b) is None]
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


def possible_racks(cluster: Cluster, broker: int, new: list[int]) -> list[int]:
    """Racks (indices) that a broker of unknown rack may have been in."""
    beside: Flags = (cluster.replicas == broker).any(axis=1)
    companions = _racks(cluster, beside) - {int(cluster.racks[broker])}
    elsewhere = _racks(cluster, ~beside) - companions
    # If every remaining rack appears beside it, the lost broker was the only one of its rack: any other rack will do.
    racks = elsewhere or {int(cluster.racks[b]) for b in new} - companions
    return sorted(racks)


def _racks(cluster: Cluster, rows: Flags) -> set[int]:
    members = np.unique(cluster.replicas[rows])
    return {int(cluster.racks[b]) for b in members.tolist() if b >= 0 and cluster.rack_name(b) is not None}
