"""In which rounds nodes restart: as few as the rules allow, each verified by the rules and not by which brokers share partitions.

Orion and Strimzi's proposal 103 restart brokers together that share no partition. Here a partition is a capacity: with five
replicas, a minimum of two and no headroom it lets three of its brokers go at once. Partitions that have the same replicas, in
sync on the same ones, are one such capacity (`Capacities`), and the metadata quorum is another, so 200,000 partitions of 300
brokers are some thousand rows of numbers.

The nodes go in stages: sick controllers, the other controllers, the active one, sick brokers, the other brokers; a node that is
both is a controller that brokers' rules hold for. Within a stage rounds are filled greedily in several orders, and the best is
taken. A round ends when its nodes are back and in sync, which also helps those that had to wait for a sick one. What can't
restart even alone after all others of its stage have is named with its reasons.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from kafka_runbooks.models.cluster import Broker, MetadataQuorum, Partition, QuorumReplica
from kafka_runbooks.models.restarts import BlockedNode, KafkaNode, RestartLimits, RestartObservation, RestartRounds
from kafka_runbooks.safety.capacities import Capacities
from kafka_runbooks.safety.restarts import reasons_not_to_restart
from kafka_runbooks.safety.rounds_bound import lower_bound

RESTART_SECONDS = 120.0
"""Of a node of which nothing else is known: what Strimzi's default intervals add up to for a broker without much to catch up."""


def plan_rounds(
    observation: RestartObservation,
    nodes: Collection[KafkaNode],
    limits: RestartLimits,
    *,
    acknowledged_risks: Collection[str] = (),
    restart_seconds: Mapping[int, float] | None = None,
    first_broker: int | None = None,
) -> RestartRounds:
    """The rounds in which these nodes restart, from what is seen now; the same for the same input.

    Args:
        observation: the cluster now. How old it is matters before a stop, not here.
        nodes: those to restart.
        limits: as the operator gave them.
        acknowledged_risks: names of reasons that an operator has accepted.
        restart_seconds: node -> from its stop until it is in sync again, as far as it is known.
        first_broker: one that restarts alone, before the other brokers that are not sick.
    """
    ordered = sorted(nodes, key=lambda node: node.id)
    seconds = np.array([(restart_seconds or {}).get(node.id, RESTART_SECONDS) for node in ordered])
    capacities = Capacities.of(observation, ordered, limits, acknowledged_risks)
    filler = _Filler(ordered, limits, seconds)
    rounds: list[tuple[int, ...]] = []
    blocked: list[BlockedNode] = []
    bound_rounds, bound_seconds, makespan = 0, 0.0, 0.0
    for stage in _stages(observation, ordered, first_broker):
        conflicts = capacities.conflicts() | filler.conflicts
        found, after = filler.best(capacities, conflicts, stage)
        placed = sorted(index for one in found for index in one)
        bound = lower_bound(placed, conflicts, capacities, ordered, limits, seconds)
        bound_rounds, bound_seconds = bound_rounds + bound.rounds, bound_seconds + bound.seconds
        makespan += filler.makespan(found)
        rounds += [tuple(sorted(ordered[index].id for index in one)) for one in found]
        left = [ordered[index] for index in stage if index not in set(placed)]
        blocked += _blocked(observation, left, {one for found in rounds for one in found}, limits, acknowledged_risks)
        capacities = after
    return RestartRounds(
        rounds=tuple(rounds),
        blocked=tuple(sorted(blocked, key=lambda node: node.id)),
        lower_bound_rounds=bound_rounds,
        makespan_seconds=makespan,
        lower_bound_seconds=bound_seconds,
    )


def _stages(observation: RestartObservation, nodes: Sequence[KafkaNode], first_broker: int | None) -> list[list[int]]:
    """Indexes of nodes in the order of the stages. In ZooKeeper mode the active controller is a broker, and the last of them."""
    active = observation.active_controller

    def stage_of(node: KafkaNode) -> tuple[bool, ...]:
        is_last = node.id == active and (node.is_controller or observation.quorum is None)
        return not node.is_controller, is_last, node.is_ready or is_last, node.id != first_broker

    found: dict[tuple[bool, ...], list[int]] = {}
    for index, node in enumerate(nodes):
        found.setdefault(stage_of(node), []).append(index)
    return [found[stage] for stage in sorted(found)]


class _Filler:
    """Fills rounds of nodes, given by their index, within limits."""

    def __init__(self, nodes: Sequence[KafkaNode], limits: RestartLimits, seconds: np.ndarray) -> None:
        self._nodes, self._limits, self._seconds = nodes, limits, seconds
        self.conflicts = self._by_rack() if limits.one_rack_at_a_time else np.zeros((len(nodes), len(nodes)), dtype=bool)

    def _by_rack(self) -> np.ndarray:
        """One whose rack isn't known may be in any other's."""
        names = {name: number for number, name in enumerate(sorted({node.rack for node in self._nodes if node.rack is not None}))}
        racks = np.array(
            [-1 - i if node.rack is None else names[node.rack] for i, node in enumerate(self._nodes)], dtype=np.int64
        )
        found: np.ndarray = racks[:, None] != racks[None, :]
        return found

    def best(self, capacities: Capacities, conflicts: np.ndarray, stage: Sequence[int]) -> tuple[list[list[int]], Capacities]:
        """The fewest rounds, then the shortest, of some orders; nodes that nothing lets go are in none."""
        tried = [self._fill(capacities.copy(), conflicts, order) for order in self._orders(conflicts, stage)]
        return min(tried, key=lambda one: (len(one[0]), self.makespan(one[0])))

    def makespan(self, rounds: Sequence[Sequence[int]]) -> float:
        """A round takes as long as its slowest node."""
        return float(sum(self._seconds[list(one)].max() for one in rounds))

    def _orders(self, conflicts: np.ndarray, stage: Sequence[int]) -> list[list[int]]:
        """By rack, which is how replicas are spread; the most entangled first; the slowest first."""
        degree, nodes = conflicts[np.ix_(stage, stage)].sum(axis=1), self._nodes
        entangled = dict(zip(stage, degree.tolist(), strict=True))
        of_map: dict[str | None, int] = {}
        for index in stage:
            of_map[nodes[index].map] = of_map.get(nodes[index].map, 0) + 1

        def place(index: int) -> tuple[str, int, str, int]:
            node = nodes[index]
            return node.rack or "", -of_map[node.map], node.map or "", node.id

        return [
            sorted(stage, key=place),
            sorted(stage, key=lambda index: (-entangled[index], place(index))),
            sorted(stage, key=lambda index: (-float(self._seconds[index]), place(index))),
            sorted(stage, key=lambda index: (place(index)[0], -float(self._seconds[index]), place(index))),
        ]

    def _fill(self, capacities: Capacities, conflicts: np.ndarray, order: Sequence[int]) -> tuple[list[list[int]], Capacities]:
        rounds: list[list[int]] = []
        remaining = list(order)
        while remaining:
            chosen = self._round(capacities, conflicts, remaining)
            if not chosen:
                break
            capacities.restart(chosen)
            rounds.append(chosen)
            taken = set(chosen)
            remaining = [index for index in remaining if index not in taken]
        return rounds, capacities

    def _round(self, capacities: Capacities, conflicts: np.ndarray, candidates: Sequence[int]) -> list[int]:
        limits, nodes = self._limits, self._nodes
        chosen: list[int] = []
        excluded = np.zeros(len(nodes), dtype=bool)
        of_map: dict[str, int] = {}
        load = capacities.empty_load()
        for index in candidates:
            if limits.at_once is not None and len(chosen) == limits.at_once:
                break
            name = nodes[index].map
            is_full = name is not None and limits.at_once_per_map is not None and of_map.get(name, 0) == limits.at_once_per_map
            if excluded[index] or is_full or not capacities.may_join(index, load):
                continue
            capacities.add(index, load)
            chosen.append(index)
            excluded |= conflicts[index]
            if name is not None:
                of_map[name] = of_map.get(name, 0) + 1
        return chosen


def _blocked(
    observation: RestartObservation,
    left: Sequence[KafkaNode],
    restarted: Collection[int],
    limits: RestartLimits,
    acknowledged_risks: Collection[str],
) -> list[BlockedNode]:
    """Those that no round of their stage has, and why not even alone once the others of it are back."""
    if not left:
        return []
    then = after_restart(observation, restarted)
    on_broker: dict[int, list[Partition]] = {node.id: [] for node in left}
    for partition in then.snapshot.partitions:
        for broker in partition.replicas:
            if broker in on_broker:
                on_broker[broker].append(partition)
    found = []
    for node in left:
        own = replace(then, snapshot=replace(then.snapshot, partitions=tuple(on_broker[node.id])))
        reasons = reasons_not_to_restart(own, [node], limits, acknowledged_risks=acknowledged_risks)
        found.append(BlockedNode(id=node.id, reasons=tuple(reasons)))
    return found


def after_restart(observation: RestartObservation, restarted: Collection[int]) -> RestartObservation:
    """What is to be seen once these nodes have restarted: they are live, in sync with all they hold, and caught up."""
    ids, snapshot = set(restarted), observation.snapshot
    partitions = tuple(
        partition._replace(
            in_sync=tuple(b for b in partition.replicas if b in partition.in_sync or b in ids),
            offline=tuple(b for b in partition.offline if b not in ids),
        )
        if ids.intersection(partition.replicas)
        else partition
        for partition in snapshot.partitions
    )
    known = {broker.id: broker for broker in (*snapshot.fenced_brokers, *snapshot.brokers)}
    hosts = ids & {broker for partition in snapshot.partitions for broker in partition.replicas} - snapshot.live_broker_ids
    back = tuple(known.get(one, Broker(id=one, host="", port=0)) for one in sorted(hosts))
    return replace(
        observation,
        age_seconds=0.0,
        shutting_down=(),
        snapshot=replace(
            snapshot,
            partitions=partitions,
            brokers=(*snapshot.brokers, *back),
            fenced_brokers=tuple(broker for broker in snapshot.fenced_brokers if broker.id not in hosts),
        ),
        quorum=None if observation.quorum is None else _caught_up(observation.quorum, ids),
    )


def _caught_up(quorum: MetadataQuorum, ids: set[int]) -> MetadataQuorum:
    """These follow the leader, those that it didn't know before too."""
    leader = next((voter for voter in quorum.voters if voter.id == quorum.leader_id), None)
    if leader is None:
        return quorum
    known = {one.id for one in (*quorum.voters, *quorum.observers)}
    new = [leader.model_copy(update={"id": one}) for one in sorted(ids - known)]

    def caught_up(one: QuorumReplica) -> QuorumReplica:
        return one.model_copy(update={"last_caught_up_at": leader.last_caught_up_at}) if one.id in ids else one

    return quorum.model_copy(
        update={"voters": tuple(map(caught_up, quorum.voters)), "observers": (*map(caught_up, quorum.observers), *new)}
    )
