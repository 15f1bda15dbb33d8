"""Rules that every assignment and every batch must satisfy, checked on broker ids and plain dicts, independently of the planners.

Regardless of a planner's arrays, an assignment is valid if it can be verified by hand: distinct live brokers of the map, as many
replicas as required, as many racks as possible, no disk over capacity *while both copies exist*, and nothing changed that was out
of scope. These rules share no code with the planners, so that a bug in one is not a bug in both.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kafka_runbooks.placement.arrays import Cluster

Name = tuple[str, int]
Sets = Mapping[Name, list[int]]


@dataclass(frozen=True)
class Facts:
    """The observed cluster by id: rack, capacity and used bytes of each broker; replicas and size of each partition."""

    rack: Mapping[int, str]
    live: Collection[int]
    capacity_bytes: Mapping[int, int]
    unexplained_bytes: Mapping[int, int]
    size_bytes: Mapping[Name, int]
    replicas: Sets
    max_utilisation: float = 1.0
    closed: Collection[int] = ()
    """Live brokers that keep what they have and get nothing new."""


def facts(cluster: Cluster) -> Facts:
    """A cluster by id. -1 is an offline replica."""
    ids = cluster.broker_ids.tolist()
    names = [(cluster.topics[t], p) for t, p in zip(cluster.topic.tolist(), cluster.partition.tolist(), strict=True)]
    return Facts(
        rack={ids[b]: cluster.rack_names[r] for b, r in enumerate(cluster.racks.tolist())},
        live={ids[b] for b, live in enumerate(cluster.is_live.tolist()) if live},
        capacity_bytes=dict(zip(ids, cluster.capacity_bytes.tolist(), strict=True)),
        unexplained_bytes=dict(zip(ids, cluster.unexplained_bytes.tolist(), strict=True)),
        size_bytes=dict(zip(names, cluster.size_bytes.tolist(), strict=True)),
        replicas={
            name: [ids[b] if b >= 0 else -1 for b in row if b != -1]
            for name, row in zip(names, cluster.replicas.tolist(), strict=True)
        },
        max_utilisation=cluster.max_utilisation,
        closed={ids[b] for b in cluster.keeps_only.nonzero()[0].tolist()},
    )


def check_assignment(
    known: Facts,
    after: Sets,
    *,
    brokers: Collection[int],
    scope: Collection[Name] | None = None,
    replication: int | None = None,
    min_racks: int | None = None,
    elsewhere: Sets | None = None,
) -> list[str]:
    """Check a final assignment; partitions missing from `after` stay unchanged.

    Args:
        known: the observed cluster.
        after: replicas of each partition.
        brokers: ids of brokers that may hold replicas in scope (dead ones are excluded).
        scope: partitions that may change; None: all.
        replication: the replication factor required; None: as observed.
        min_racks: racks that each set must span; None: as many as it can.
        elsewhere: the final replicas of partitions that are checked separately, since they are on the same disks.

    Returns:
        One finding for each broken rule.
    """
    wrong = []
    homes = set(brokers) & set(known.live) - set(known.closed)
    stays = set(brokers) & set(known.closed)
    racks = {known.rack[broker] for broker in homes}
    before = _used(known, known.replicas)
    used = _used(known, {**known.replicas, **(elsewhere or {})})
    for name, replicas in after.items():
        if name not in known.replicas:
            wrong.append(f"{name}: unknown partition")
            continue
        old = known.replicas[name]
        if scope is not None and name not in scope:
            if replicas != old:
                wrong.append(f"{name}: out of scope, but changed to {replicas}")
            continue
        wanted = replication or len(old)
        if len(replicas) != wanted:
            wrong.append(f"{name}: {len(replicas)} replicas, {wanted} wanted")
        if len(set(replicas)) != len(replicas):
            wrong.append(f"{name}: a broker twice in {replicas}")
        strangers = sorted(set(replicas) - homes - (stays & set(old)))
        if strangers:
            wrong.append(f"{name}: on brokers {strangers}, outside the map, leaving or dead")
        spans = len({known.rack.get(broker) for broker in replicas})
        can = min(wanted, len(racks), min_racks or wanted)
        if spans < can:
            wrong.append(f"{name}: {replicas} spans {spans} racks, {can} are possible")
        elif can == min(wanted, len(racks)) and (uneven := _uneven(known, homes, replicas)):
            wrong.append(f"{name}: {replicas} is uneven over racks: {uneven}")
        _shift(known, used, name, old, replicas)
    return wrong + _over_capacity(known, used, before, "in the end")


def check_batch(
    known: Facts, before: Sets, batch: Sets, *, floor: int | None = None, racks: int | None = None, is_given: bool = False
) -> list[str]:
    """Check one batch, which changes the state `before` (all partitions) to that state with `batch` applied.

    While it runs every partition has its old and its new replicas (KIP-455), and disks hold both.

    Args:
        known: the observed cluster.
        before: replicas of every partition before the batch.
        batch: replicas of the partitions that change.
        floor: replication factor that a batch may go down to, where the plan lowers it.
        racks: racks of the brokers that may hold replicas after the plan; None: no rack leaves.
        is_given: an operator chose the destinations: racks, liveness and replication factor are not the planner's responsibility.

    Returns:
        One finding for each broken rule.
    """
    return _check_batch(known, before, _used(known, before), batch, floor, racks, is_given)


def check_batches(
    known: Facts, batches: Iterable[Sets], *, floor: int | None = None, racks: int | None = None, is_given: bool = False
) -> list[str]:
    """Check batches one after the other, each from the state that those before it leave; see `check_batch`.

    Args:
        known: the observed cluster.
        batches: replicas of the partitions that change, batch by batch.
        floor: replication factor that a batch may go down to, where the plan lowers it.
        racks: racks of the brokers that may hold replicas after the plan; None: no rack leaves.
        is_given: an operator chose the destinations.

    Returns:
        One finding for each broken rule, with the number of its batch.
    """
    wrong = []
    state, used = dict(known.replicas), _used(known, known.replicas)
    for number, batch in enumerate(batches):
        wrong += [f"batch {number}: {finding}" for finding in _check_batch(known, state, used, batch, floor, racks, is_given)]
        for name, replicas in batch.items():
            _shift(known, used, name, state[name], replicas)
        state.update(batch)
    return wrong


def _check_batch(
    known: Facts, before: Sets, used: Mapping[int, int], batch: Sets, floor: int | None, racks: int | None, is_given: bool
) -> list[str]:
    wrong = []
    peak = dict(used)
    for name, replicas in batch.items():
        old = before[name]
        if not replicas or len(set(replicas)) != len(replicas):
            wrong.append(f"{name}: not a replica list: {replicas}")
        if not is_given:
            wrong += _broken_by_planner(known, name, old, replicas, floor, racks)
        for broker in set(replicas) - set(old):
            peak[broker] = peak.get(broker, 0) + known.size_bytes[name]
    return wrong + _over_capacity(known, peak, used, "while both copies exist")


def _broken_by_planner(
    known: Facts, name: Name, old: list[int], new: list[int], floor: int | None, racks: int | None
) -> list[str]:
    """Check what planners guarantee for each partition: as many replicas, on live brokers, in as many racks."""
    wrong = []
    if len(new) < min(len(old), floor or len(old)):
        wrong.append(f"{name}: {len(old)} replicas before, {len(new)} after the batch")
    dead = [broker for broker in new if broker not in known.live and broker not in old]
    if dead:
        wrong.append(f"{name}: to dead or unknown brokers {dead}")
    spans, spanned = (len({known.rack.get(broker) for broker in row if broker >= 0}) for row in (new, old))
    if spans < min(spanned, len(new), racks or spanned):
        wrong.append(f"{name}: {new} spans {spans} racks, {old} spanned {spanned}")
    return wrong


def _uneven(known: Facts, homes: Collection[int], replicas: list[int]) -> str:
    """Two racks of which one has at least two replicas more than the other, though that one has a broker to spare."""
    share: dict[str, int] = {known.rack[broker]: 0 for broker in homes}
    for broker in replicas:
        share[known.rack[broker]] = share.get(known.rack[broker], 0) + 1
    room = {known.rack[broker] for broker in homes if broker not in replicas}
    fullest = max(share, key=lambda rack: share[rack])
    emptier = [rack for rack in room if share[rack] + 2 <= share[fullest]]
    return f"{share[fullest]} in {fullest}, {share[emptier[0]]} in {emptier[0]}" if emptier else ""


def check_order(known: Facts, after: Sets) -> list[str]:
    """Check an assignment that may only reorder sets; returns one finding for each set that changes."""
    return [
        f"{name}: {replicas} is not a new order of {known.replicas[name]}"
        for name, replicas in after.items()
        if sorted(replicas) != sorted(known.replicas[name])
    ]


def _used(known: Facts, sets: Sets) -> dict[int, int]:
    used = dict(known.unexplained_bytes)
    for name, replicas in sets.items():
        for broker in replicas:
            if broker >= 0:
                used[broker] = used.get(broker, 0) + known.size_bytes[name]
    return used


def _shift(known: Facts, used: dict[int, int], name: Name, old: Iterable[int], new: Iterable[int]) -> None:
    for sign, replicas in ((-1, old), (1, new)):
        for broker in replicas:
            if broker >= 0:
                used[broker] = used.get(broker, 0) + sign * known.size_bytes[name]


def _over_capacity(known: Facts, used: Mapping[int, int], before: Mapping[int, int], when: str) -> list[str]:
    """Brokers over what of their capacity may be used. One that already was over it is a finding only if it got more."""
    findings = []
    for broker in sorted(used):
        capacity = known.capacity_bytes.get(broker, 0)
        most = capacity if known.max_utilisation == 1.0 else int(capacity * known.max_utilisation)
        if 0 < most < used[broker] and used[broker] > before.get(broker, 0):
            share = "" if most == capacity else f" (max_utilisation {known.max_utilisation:g})"
            findings.append(f"broker {broker}: {used[broker]} of {most} bytes{share} {when}")
    return findings
