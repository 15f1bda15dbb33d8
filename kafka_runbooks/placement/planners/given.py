"""A plan that somebody brings: the map exactly as it says, measured like any other."""

import numpy as np

from kafka_runbooks.models.placement import ReassignmentMap
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.arrays import NONE, Cluster, Indices
from kafka_runbooks.placement.errors import InFlight
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners import pipeline as planning
from kafka_runbooks.placement.planners.options import DEFAULTS


def given(cluster: Cluster, assignment: ReassignmentMap, kind: str = "given") -> Plan:
    """Sets and orders of the map; partitions that it doesn't name stay.

    :raises InvalidRequest: an unknown partition or broker
    :raises InFlight: one of its partitions is being reassigned
    """
    names = {(entry.topic, entry.partition) for entry in assignment.partitions}
    busy = [int(row) for row in np.nonzero(cluster.in_flight)[0] if cluster.name(int(row)) in names]
    if busy:
        raise InFlight(f"{len(busy)} partitions are being reassigned: wait for them")
    cluster = cluster.on_target()
    after = snapshots.from_map(cluster, assignment)
    before: Indices = np.full(after.shape, NONE, dtype=np.int32)
    before[:, : cluster.replicas.shape[1]] = cluster.replicas
    return planning.report(kind, cluster, DEFAULTS, before, after, cluster.is_live.copy(), [])
