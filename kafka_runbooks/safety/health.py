"""What is wrong with a cluster's partitions and brokers, the worst first."""

from collections.abc import Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition
from kafka_runbooks.safety.availability import listed, not_led_by_preferred, under_min_isr

SHOWN = 5


def problems(snapshot: ClusterSnapshot) -> list[str]:
    """A line for each kind of fault, with how many partitions and the first of them."""
    offline = [one for one in snapshot.partitions if one.leader is None]
    below = [one for one in under_min_isr(snapshot) if one.leader is not None]
    named = {one.name for one in (*offline, *below)}
    lagging = [one for one in snapshot.lagging if one.name not in named]
    elsewhere = not_led_by_preferred(snapshot, [one for one in snapshot.partitions if one.leader is not None and not one.lags])
    down = sorted({broker.id for broker in snapshot.fenced_brokers} | snapshot.down_broker_ids)
    found = [
        _of(offline, "have no leader"),
        _of(below, "refuse writes of acks=all: fewer replicas are in sync than min.insync.replicas"),
        f"brokers {listed(down)} are down" if down else "",
        _of(lagging, "have a replica that isn't in sync"),
        _of(elsewhere, "are not led by their preferred leader"),
    ]
    return [line for line in found if line]


def _of(partitions: Sequence[Partition], what: str) -> str:
    if not partitions:
        return ""
    more = f" and {len(partitions) - SHOWN} more" if len(partitions) > SHOWN else ""
    return f"{len(partitions)} partitions {what}: {', '.join(str(one.name) for one in partitions[:SHOWN])}{more}"
