"""Who a broker is: an id that its pod keeps for life, and a rack that is its node's zone.

Ids are given out in one place, the ConfigMap `kafka-broker-ids-<cluster>`, by compare-and-swap: two pods that start at the same
moment can't get the same one, and an entry is never taken away, so a pod that comes back anywhere is the same broker. Labels on
pod and node repeat the id for people and for runbooks; the ConfigMap wins where they differ.
"""

from collections.abc import Mapping

RANGE = 1000
"""How far above its first id a StatefulSet may look for a free one."""


class NoFreeId(Exception):
    """Every id of the StatefulSet's range is given out."""


def assign(given: Mapping[str, int], pod: str, first_broker_id: int) -> int:
    """The pod's id: the one it has, else its ordinal's place if that is free, else the lowest free one from `first_broker_id` on.

    Raises:
        NoFreeId: none is free.
    """
    if pod in given:
        return given[pod]
    taken = set(given.values())
    ordinal = pod.rpartition("-")[2]
    own = first_broker_id + int(ordinal) if ordinal.isdigit() and int(ordinal) < RANGE else first_broker_id
    candidates: list[int] = [own, *range(first_broker_id, first_broker_id + RANGE)]
    for broker_id in candidates:
        if broker_id not in taken:
            return broker_id
    raise NoFreeId(f"no free broker id from {first_broker_id} to {first_broker_id + RANGE - 1}")


def properties(broker_id: int, rack: str | None) -> str:
    """The lines that Kafka's configuration takes from us."""
    lines = [f"node.id={broker_id}"]
    if rack:
        lines.append(f"broker.rack={rack}")
    return "\n".join(lines) + "\n"
