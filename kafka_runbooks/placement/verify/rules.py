"""An independent judge of maps and steps: it shares no code with the planners, and reads ids and plain dicts only.

Whatever a planner's arrays say, a map is valid if a person with a pencil finds it so: distinct live brokers of the map, as many
replicas as wanted, as many racks as can be, nothing over capacity *while both copies exist*, and nothing touched that was not
asked for. Every emitted map and every step goes through here.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from kafka_runbooks.placement.arrays import Cluster

Name = tuple[str, int]
Sets = Mapping[Name, list[int]]


@dataclass(frozen=True)
class Facts:
    """The observed cluster in ids: rack, capacity and used bytes by broker; replicas and size by partition."""

    rack: Mapping[int, str]
    live: Collection[int]
    capacity_bytes: Mapping[int, int]
    unexplained_bytes: Mapping[int, int]
    size_bytes: Mapping[Name, int]
    replicas: Sets


def facts(cluster: Cluster) -> Facts:
    """A cluster in ids. -1 stands for an offline replica."""
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
    )


def check_map(
    known: Facts,
    after: Sets,
    *,
    brokers: Collection[int],
    scope: Collection[Name] | None = None,
    replication: int | None = None,
    min_racks: int | None = None,
) -> list[str]:
    """Everything that is wrong with a final map; partitions that `after` leaves out stay as they are.

    :param brokers: ids where replicas in scope may live (dead ones are taken out)
    :param scope: partitions that may change (all, if None)
    """
    wrong = []
    homes = set(brokers) & set(known.live)
    racks = {known.rack[broker] for broker in homes}
    used = _used(known, known.replicas)
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
        strangers = sorted(set(replicas) - homes)
        if strangers:
            wrong.append(f"{name}: on brokers {strangers}, outside the map, leaving or dead")
        spans = len({known.rack.get(broker) for broker in replicas})
        can = min(wanted, len(racks), min_racks or wanted)
        if spans < can:
            wrong.append(f"{name}: {replicas} spans {spans} racks, {can} are possible")
        _shift(known, used, name, old, replicas)
    return wrong + _over_capacity(known, used, _used(known, known.replicas), "in the end")


def check_step(known: Facts, before: Sets, step: Sets, *, floor: int | None = None, is_given: bool = False) -> list[str]:
    """Everything that is wrong with one step, from the state `before` (all partitions) to that state with `step` applied.

    While it runs every partition has its old and its new replicas (KIP-455), and the disk holds both.

    :param floor: replication factor that a step may go down to, where the plan lowers it
    :param is_given: an operator chose the destinations: racks, dead ones and fewer replicas are not the planner's to answer for
    """
    wrong = []
    before_used = _used(known, before)
    peak, after = dict(before_used), dict(before_used)
    for name, replicas in step.items():
        old = before[name]
        if not replicas or len(set(replicas)) != len(replicas):
            wrong.append(f"{name}: not a replica list: {replicas}")
        if not is_given:
            wrong += _broken_promises(known, name, old, replicas, floor)
        for broker in set(replicas) - set(old):
            peak[broker] = peak.get(broker, 0) + known.size_bytes[name]
        _shift(known, after, name, old, replicas)
    return wrong + _over_capacity(known, peak, before_used, "while both copies exist")


def _broken_promises(known: Facts, name: Name, old: list[int], new: list[int], floor: int | None) -> list[str]:
    """What planners promise of each partition: as many replicas, on live brokers, over as many racks."""
    wrong = []
    if len(new) < min(len(old), floor or len(old)):
        wrong.append(f"{name}: {len(old)} replicas before, {len(new)} after the step")
    dead = [broker for broker in new if broker not in known.live and broker not in old]
    if dead:
        wrong.append(f"{name}: to dead or unknown brokers {dead}")
    spans, spanned = (len({known.rack.get(broker) for broker in row if broker >= 0}) for row in (new, old))
    if spans < min(spanned, len(new)):
        wrong.append(f"{name}: {new} spans {spans} racks, {old} spanned {spanned}")
    return wrong


def check_order(known: Facts, after: Sets) -> list[str]:
    """Everything that is wrong with a map that only reorders: sets must stay."""
    return [
        f"{name}: {replicas} is not a new order of {known.replicas[name]}"
        for name, replicas in after.items()
        if sorted(replicas) != sorted(known.replicas[name])
    ]


def apply(before: Sets, step: Sets) -> dict[Name, list[int]]:
    """The state after a step."""
    return {**before, **step}


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
    """Brokers beyond their disks. One that was beyond before is only wrong if it got more."""
    return [
        f"broker {broker}: {used[broker]} of {known.capacity_bytes[broker]} bytes {when}"
        for broker in sorted(used)
        if 0 < known.capacity_bytes.get(broker, 0) < used[broker] and used[broker] > before.get(broker, 0)
    ]
