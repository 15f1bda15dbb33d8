"""What moves in flight wait for: a broker that doesn't answer, is down, or has lost the log directory a replica belongs on.

A reassignment ends when every replica of its target is in sync, those that stay as well as those that arrive; and bytes come from
the leader. So one silent broker holds up moves of which it is neither source nor destination.
"""

from collections.abc import Collection, Iterable, Mapping

from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Replica, TopicPartition
from kafka_runbooks.models.moves import Move
from kafka_runbooks.moves.window import Hold


def brokers_that_matter(moves: Iterable[Move], partitions: Mapping[TopicPartition, Partition]) -> frozenset[int]:
    """Every broker that these moves need: destinations, those that stay, and leaders."""
    found: set[int] = set()
    for move in moves:
        found.update(move.after)
        partition = partitions.get(move.name)
        if partition is not None and partition.leader is not None:
            found.add(partition.leader)
    return frozenset(found)


def replicas_that_matter(move: Move, partitions: Mapping[TopicPartition, Partition]) -> set[Replica]:
    """Where data of a move is or arrives: on the brokers that it needs, and on every other one that may be its source."""
    partition = partitions.get(move.name)
    brokers = brokers_that_matter([move], partitions).union(() if partition is None else partition.replicas)
    return {Replica(move.topic, move.partition, broker) for broker in brokers}


def why_moves_wait(in_flight: Iterable[Move], snapshot: ClusterSnapshot, silent: Collection[int]) -> Hold | None:
    """The brokers that moves in flight wait for, with those moves; None where they wait for none.

    Args:
        silent: brokers that are registered and gave no answer to the last question.
    """
    partitions = snapshot.by_name
    live = snapshot.live_broker_ids
    causes: dict[str, list[TopicPartition]] = {}
    for move in in_flight:
        partition = partitions[move.name]
        for broker in sorted(brokers_that_matter([move], partitions)):
            if broker not in live:
                causes.setdefault(f"broker {broker} is down", []).append(move.name)
            elif broker in silent:
                causes.setdefault(f"broker {broker} doesn't answer", []).append(move.name)
            elif broker in partition.offline:
                causes.setdefault(f"a log directory of broker {broker} is offline", []).append(move.name)
    if not causes:
        return None
    reason = "; ".join(
        f"{cause}: {len(names)} of the moves in flight wait for it ({', '.join(map(str, names[:5]))})"
        for cause, names in list(causes.items())[:5]
    )
    waiting = dict.fromkeys(str(name) for names in causes.values() for name in names)
    return Hold(reason, "no longer: " + ", ".join(list(causes)[:5]), tuple(waiting)[:20])
