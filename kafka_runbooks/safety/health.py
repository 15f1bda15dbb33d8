"""What is wrong with a cluster's partitions and brokers, the worst first, and what of it people are to be told."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Reassignment, TopicPartition
from kafka_runbooks.models.health import Fault, HealthReport, Problem, Standing
from kafka_runbooks.safety.availability import listed, not_led_by_preferred, under_min_isr

SHOWN = 5
URGENT = frozenset((Fault.NO_LEADER, Fault.WRITES_REFUSED))
"""Clients fail meanwhile: people are told at once."""
UNTOLD = frozenset((Fault.LEADERS_ELSEWHERE,))
"""Kafka or the next rebalance puts it right."""


def problems(snapshot: ClusterSnapshot, reassignments: Iterable[Reassignment] = ()) -> list[Problem]:
    """One for each kind of fault, with how many partitions and the first of them.

    Args:
        snapshot: the cluster.
        reassignments: in progress: a replica that is still being copied isn't out of sync.
    """
    offline = [one for one in snapshot.partitions if one.leader is None]
    below = [one for one in under_min_isr(snapshot) if one.leader is not None]
    down = sorted({broker.id for broker in snapshot.fenced_brokers} | snapshot.down_broker_ids)
    named = {one.name for one in (*offline, *below)}
    arriving = {one.name: one.adding for one in reassignments}
    late = {one: brokers for one in snapshot.lagging if one.name not in named and (brokers := _late(one, arriving) - set(down))}
    elsewhere = not_led_by_preferred(snapshot, [one for one in snapshot.partitions if one.leader is not None and not one.lags])
    there = sum(not set(one.replicas).isdisjoint(down) for one in snapshot.partitions) if down else 0
    behind = Counter(broker for brokers in late.values() for broker in brokers)
    found = [
        _of(Fault.NO_LEADER, offline, "have no leader"),
        _of(Fault.WRITES_REFUSED, below, "refuse writes of acks=all: fewer replicas are in sync than min.insync.replicas"),
        _broker_down(down, there),
        _of(Fault.OUT_OF_SYNC, list(late), f"have a replica that isn't in sync, on brokers {listed(sorted(behind))}", behind),
        _of(Fault.LEADERS_ELSEWHERE, elsewhere, "are not led by their preferred leader"),
    ]
    return [one for one in found if one is not None]


def _late(one: Partition, arriving: Mapping[TopicPartition, Sequence[int]]) -> set[int]:
    return set(one.replicas) - set(one.in_sync) - set(arriving.get(one.name, ()))


def _broker_down(down: Sequence[int], partitions: int) -> Problem | None:
    if not down:
        return None
    line = f"brokers {listed(list(down))} are down; {partitions} partitions have a replica there"
    return Problem(fault=Fault.BROKER_DOWN, line=line, of=tuple(map(str, down)))


def _of(fault: Fault, partitions: Sequence[Partition], what: str, brokers: Iterable[int] = ()) -> Problem | None:
    if not partitions:
        return None
    more = f" and {len(partitions) - SHOWN} more" if len(partitions) > SHOWN else ""
    line = f"{len(partitions)} partitions {what}: {', '.join(str(one.name) for one in partitions[:SHOWN])}{more}"
    return Problem(fault=fault, line=line, of=tuple(map(str, sorted(brokers))))


def since(before: HealthReport | None, now: HealthReport) -> HealthReport:
    """A look with what people are to be told after it, once for each thing that is wrong and once when nothing of it is.

    What clients notice is told at once, anything else when two looks in a row have found it: a broker that restarts is in one.
    What a look can't see isn't over.

    Args:
        before: the schedule's look before this one; None: this is the first.
        now: this one, as it was found.
    """
    before = before or HealthReport()
    seen, seen_before, told = _standing(now), _standing(before), before.standing
    is_blind = any(one.fault == Fault.UNSEEN for one in now.found)
    kept = [one for one in told if is_blind or one in seen]
    new = [one for one in seen if one not in told and one.fault not in UNTOLD and (one.fault in URGENT or one in seen_before)]
    news = ""
    if new:
        told_now, still = _lines(now, new), [line for line in _lines(now, kept) if line not in _lines(now, new)]
        news = "; ".join(told_now) + (f". Still so: {'; '.join(still)}" if still else "")
    elif told and not kept:
        news = "what was wrong is over" + ("" if now.is_healthy else f"; {now.summary}")
    return now.model_copy(update={"standing": (*kept, *new), "news": news})


def _standing(report: HealthReport) -> list[Standing]:
    return [Standing(fault=one.fault, of=of) for one in report.found for of in one.of or ("",)]


def _lines(report: HealthReport, standing: Iterable[Standing]) -> list[str]:
    faults = {one.fault for one in standing}
    return [one.line for one in report.found if one.fault in faults]
