"""A given assignment: taken exactly as it is, with the figures of any other plan."""

import numpy as np

from kafka_runbooks.models.placement import ReassignmentMap
from kafka_runbooks.placement import snapshots
from kafka_runbooks.placement.arrays import Cluster, widen
from kafka_runbooks.placement.errors import InFlight
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners.options import DEFAULTS, Request
from kafka_runbooks.placement.planners.report import report


def given(cluster: Cluster, assignment: ReassignmentMap, kind: str = "given") -> Plan:
    """The sets and orders of a reassignment JSON; partitions that it doesn't list stay unchanged.

    Raises:
        InvalidRequest: an unknown partition or broker.
        InFlight: one of its partitions is being reassigned.
    """
    names = {(entry.topic, entry.partition) for entry in assignment.partitions}
    busy = [int(row) for row in np.nonzero(cluster.in_flight)[0] if cluster.name(int(row)) in names]
    if busy:
        raise InFlight(f"{len(busy)} partitions are being reassigned: wait for them")
    cluster = cluster.on_target()
    after = snapshots.from_map(cluster, assignment)
    request = Request(kind, cluster, DEFAULTS, cluster.is_live.copy())
    return report(request, widen(cluster.replicas, after.shape[1]), after)
