"""When a broker is Ready: every replica assigned to it is in sync, as the rest of the cluster sees it.

So a StatefulSet, a PodDisruptionBudget and a person with kubectl all learn whether another broker may go down. This is stricter
than `safety.availability.may_go_down`, and deliberately not built on it: the agent's metadata has no `min.insync.replicas`, and
asking for every topic's, from every broker every few seconds, would cost more than it tells. Where all brokers are Ready any one
may go down, except for topics that can't spare a replica at all.

What isn't known is not Ready: no answer, an answer that is too old, a broker that the answer doesn't list.
"""

from typing import NamedTuple

from kafka_runbooks.clients.own_replicas import OwnReplicas

NAMED = 5
"""How many replicas a reason names."""


class Verdict(NamedTuple):
    """Whether the broker is Ready, and a reason that the probe returns to whoever asks."""

    is_ready: bool
    reason: str
    assigned: int = 0
    out_of_sync: int = 0


def judge(broker_id: int, observed: OwnReplicas) -> Verdict:
    """The rule, on one answer."""
    lagging = len(observed.out_of_sync)
    if broker_id not in observed.live_broker_ids:
        reason = f"broker {broker_id} is not registered, or fenced, in the cluster's metadata"
        return Verdict(False, reason, observed.assigned, lagging)
    if lagging:
        names = ", ".join(map(str, observed.out_of_sync[:NAMED])) + (", …" if lagging > NAMED else "")
        return Verdict(False, f"{lagging} of {observed.assigned} replicas not in sync: {names}", observed.assigned, lagging)
    return Verdict(True, f"all {observed.assigned} replicas in sync", observed.assigned)
