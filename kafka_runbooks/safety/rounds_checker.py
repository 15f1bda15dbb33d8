"""Planned rounds, replayed on the cluster that they were planned for, by code that shares nothing with the planner.

Everything is counted again from ids, sets and the partitions themselves: who is down, what is in sync, what is left. Nothing here
knows rows, capacities or conflicts. After each round its nodes are back and in sync, as whoever carries rounds out makes sure.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence

from kafka_runbooks.models.cluster import Partition
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation, RestartRounds

METADATA_LAG_SECONDS = 10.0


def check_rounds(
    observation: RestartObservation,
    nodes: Collection[KafkaNode],
    limits: RestartLimits,
    plan: RestartRounds,
    acknowledged_risks: Collection[str] = (),
) -> list[str]:
    """What is wrong with a plan; empty: nothing. The arguments are those that it was made from."""
    by_id = {node.id: node for node in nodes}
    named = Counter([*(one for found in plan.rounds for one in found), *(node.id for node in plan.blocked)])
    wrong = [f"node {one} is named {named[one]} times" for one in sorted(by_id.keys() | named.keys()) if named[one] != 1]
    wrong += [f"node {one} is no target" for one in sorted(named.keys() - by_id.keys())]
    wrong += [f"round {number} is empty" for number, found in enumerate(plan.rounds) if not found]
    wrong += [f"node {node.id} is blocked for no reason" for node in plan.blocked if not node.reasons]
    if wrong:
        return wrong
    rounds = [[by_id[one] for one in found] for found in plan.rounds]
    if len(rounds) < plan.lower_bound_rounds or plan.makespan_seconds < plan.lower_bound_seconds - 1e-6:
        wrong.append("the plan is better than its bound")
    return [
        *wrong,
        *_limits(rounds, limits),
        *_order(observation, rounds),
        *_reassignments(observation, rounds),
        *_quorum(observation, rounds, limits, acknowledged_risks),
        *_Replay(observation, limits, acknowledged_risks).broken(rounds),
    ]


def _limits(rounds: Sequence[Sequence[KafkaNode]], limits: RestartLimits) -> Iterator[str]:
    for number, nodes in enumerate(rounds):
        if limits.at_once is not None and len(nodes) > limits.at_once:
            yield f"round {number} has {len(nodes)} nodes"
        racks = {node.rack if node.rack is not None else f"of node {node.id}" for node in nodes}
        if limits.one_rack_at_a_time and len(racks) > 1:
            yield f"round {number} is in {len(racks)} racks"
        for name, count in Counter(node.map for node in nodes if node.map is not None).items():
            if limits.at_once_per_map is not None and count > limits.at_once_per_map:
                yield f"round {number} has {count} nodes of map {name}"


def _order(observation: RestartObservation, rounds: Sequence[Sequence[KafkaNode]]) -> Iterator[str]:
    if observation.quorum is not None:
        active: int | None = observation.quorum.leader_id
        rivals = [node.id for found in rounds for node in found if node.is_controller]
    else:
        active = observation.snapshot.controller_id
        rivals = [node.id for found in rounds for node in found]
    when = {node.id: number for number, found in enumerate(rounds) for node in found}
    everyone = [node for found in rounds for node in found]
    if active in rivals and any(when[one] >= when[active] for one in rivals if one != active):
        yield f"the active controller {active} isn't the last"
    for one in everyone:
        for other in everyone:
            if one.is_controller and not other.is_controller and when[one.id] >= when[other.id]:
                yield f"controller {one.id} isn't before broker {other.id}"
            alike = one.is_controller == other.is_controller and active not in (one.id, other.id)
            if alike and not one.is_ready and other.is_ready and when[one.id] >= when[other.id]:
                yield f"sick node {one.id} isn't before {other.id}"


def _reassignments(observation: RestartObservation, rounds: Sequence[Sequence[KafkaNode]]) -> Iterator[str]:
    brokers = {node.id for found in rounds for node in found if node.is_broker}
    for one in observation.reassignments:
        for broker in sorted(brokers & set(one.replicas)):
            yield f"broker {broker} restarts although {one.name} is being reassigned"


def _quorum(
    observation: RestartObservation,
    rounds: Sequence[Sequence[KafkaNode]],
    limits: RestartLimits,
    acknowledged_risks: Collection[str],
) -> Iterator[str]:
    quorum = observation.quorum
    if quorum is None:
        for node in (node for nodes in rounds for node in nodes if node.is_controller):
            yield f"controller {node.id} restarts although nobody knows its quorum"
        return
    times = {voter.id: voter.last_caught_up_at for voter in quorum.voters}
    newest = times.get(quorum.leader_id)
    good = {quorum.leader_id} if quorum.leader_id in times else set()
    if newest is not None:
        for voter, time in times.items():
            if time is not None and newest.timestamp() - time.timestamp() < observation.fetch_timeout_seconds:
                good.add(voter)
    for number, nodes in enumerate(rounds):
        going = {node.id for node in nodes if node.is_controller} & times.keys()
        left = good - going
        if going:
            is_majority = 2 * len(left) > len(times)
            is_all_but_one = len(left) >= len(times) - 1
            has_headroom = limits.headroom is not None and 2 * (len(left) - limits.headroom) > len(times)
            if going & good:
                is_enough = is_all_but_one or (is_majority and has_headroom)
            else:
                is_enough = is_all_but_one or is_majority or "already-no-majority" in acknowledged_risks
            if not is_enough:
                yield f"round {number} leaves {len(left)} of {len(times)} voters"
        good |= going


class _Replay:
    """The brokers' side: which partitions each round takes too much from."""

    def __init__(self, observation: RestartObservation, limits: RestartLimits, acknowledged_risks: Collection[str]) -> None:
        snapshot = observation.snapshot
        self._minimum, self._headroom, self._accepted = snapshot.minimum_in_sync, limits.headroom, frozenset(acknowledged_risks)
        self._of_broker: dict[int, list[int]] = defaultdict(list)
        self._partitions: list[Partition] = list(snapshot.partitions)
        self._live = {broker.id for broker in snapshot.brokers}
        self._in_sync = [{one for one in partition.in_sync if one in self._live} for partition in self._partitions]
        self._doubtful = self._live - _following(observation)
        for number, partition in enumerate(self._partitions):
            for broker in partition.replicas:
                self._of_broker[broker].append(number)

    def broken(self, rounds: Sequence[Sequence[KafkaNode]]) -> Iterator[str]:
        for number, nodes in enumerate(rounds):
            going = {node.id for node in nodes if node.is_broker}
            for touched in sorted({one for broker in going for one in self._of_broker[broker]}):
                why = self._why_not(touched, going)
                if why is not None:
                    yield f"round {number}, {self._partitions[touched].name}: {why}"
            self._doubtful -= going
            for broker in going:
                for touched in self._of_broker[broker]:
                    self._in_sync[touched].add(broker)

    def _why_not(self, number: int, going: set[int]) -> str | None:
        partition, in_sync = self._partitions[number], self._in_sync[number]
        minimum, replicas = self._minimum.get(partition.topic, 1), len(partition.replicas)
        left = len(in_sync - self._doubtful - going)
        if not in_sync & going:
            takes_writes = left >= minimum or left == replicas
            is_accepted = f"already-below-min-isr:{partition.topic}" in self._accepted
            return None if takes_writes or is_accepted else "below its minimum, and what restarts may be the next to catch up"
        if replicas <= minimum and f"no-spare-replica:{partition.topic}" not in self._accepted:
            return "it has no spare replica"
        if left >= replicas - 1:
            return None
        if left < minimum:
            return f"{left} in-sync replicas left, of at least {minimum}"
        if self._headroom is None or left - minimum < self._headroom:
            return f"{left} in-sync replicas left, less than the headroom"
        return None


def _following(observation: RestartObservation) -> set[int]:
    """Brokers that follow the metadata log, by the newest entry of each."""
    quorum = observation.quorum
    if quorum is None:
        return {broker.id for broker in observation.snapshot.brokers}
    newest: dict[int, float] = {}
    for one in [*quorum.voters, *quorum.observers]:
        if one.last_caught_up_at is not None:
            newest[one.id] = max(newest.get(one.id, 0.0), one.last_caught_up_at.timestamp())
    now = newest.get(quorum.leader_id)
    return {one for one, time in newest.items() if now is not None and now - time <= METADATA_LAG_SECONDS}
