"""When a broker is ready: every replica assigned to it is in its ISR, as the rest of the cluster sees it.

So a StatefulSet, a PodDisruptionBudget and a person with kubectl all learn whether another broker may go down now. What
isn't known is not ready: no answer, an answer that is too old, a broker that the answer doesn't list.
"""

from typing import NamedTuple

from kafka_runbooks.clients.own_replicas import OwnReplicas

NAMED = 5
"""How many replicas a reason names."""


class Verdict(NamedTuple):
    """Whether the broker is ready and why, in words for whoever looks at the probe."""

    is_ready: bool
    why: str
    assigned: int = 0
    out_of_sync: int = 0


def judge(broker_id: int, seen: OwnReplicas) -> Verdict:
    """The rule on one answer."""
    behind = len(seen.out_of_sync)
    if broker_id not in seen.live_broker_ids:
        why = f"broker {broker_id} is not registered, or fenced, in the cluster's metadata"
        return Verdict(False, why, seen.assigned, behind)
    if behind:
        names = ", ".join(map(str, seen.out_of_sync[:NAMED])) + (", …" if behind > NAMED else "")
        return Verdict(False, f"{behind} of {seen.assigned} replicas not in sync: {names}", seen.assigned, behind)
    return Verdict(True, f"all {seen.assigned} replicas in sync", seen.assigned)
