"""The window's invariants, checked by code that shares nothing with what decides.

Whoever carries a decision out asks here first, so that a defect of the window or of admission stops a run instead of moving data
it shouldn't. The numbers are those of `window`. Everything is counted again from ids and plain dicts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.moves.admission import Observation
from kafka_runbooks.moves.window import WindowDecision


class MoveInvariantBroken(Exception):
    """A decision breaks invariants of the window: a defect of ours, and nothing of the decision may be carried out."""

    def __init__(self, broken: list[str]) -> None:
        super().__init__("; ".join(broken[:5]))
        self.broken = tuple(broken)


def check_invariants(plan: MovePlan, observation: Observation, limits: MoveLimits, decision: WindowDecision) -> None:
    """Check one decision before it is carried out.

    Args:
        plan: that the decision is about.
        observation: that it was made from.
        limits: as the operator gave them, not halved.
        decision: to be carried out.

    Raises:
        MoveInvariantBroken: with everything that is wrong.
    """
    broken = [
        *_ownership(plan, observation, decision),
        *_soundness(plan, observation, decision),
        *_limits(observation, limits, decision),
        *_disks(observation, decision),
        *_min_isr(observation, decision),
        *_batches(plan, observation, decision),
        *_change_window(observation, decision),
        *_approval(observation, decision),
        *_honesty(plan, observation, decision),
    ]
    if broken:
        raise MoveInvariantBroken(broken)


def _ownership(plan: MovePlan, observation: Observation, decision: WindowDecision) -> Iterator[str]:
    for move in (*decision.submit, *decision.restore):
        if move.name in observation.reassignments:
            yield f"1: {move.name} is submitted over a reassignment in progress"
    wanted = {move.name: sorted(move.after) for move in plan.moves}
    for move in decision.cancel:
        reassignment = observation.reassignments.get(move.name)
        if reassignment is None:
            yield f"1: {move.name} is cancelled and isn't in progress"
            continue
        target = sorted(broker for broker in reassignment.replicas if broker not in reassignment.removing)
        if sorted(observation.submitted.get(move.name, ())) != target:
            yield f"1: {move.name} is cancelled and was started by someone else"
        elif target == wanted.get(move.name) and not observation.dead.intersection(target) and _is_there(plan, observation, move):
            yield f"1: {move.name} is cancelled although it is on its way to where the plan wants it"


def _soundness(plan: MovePlan, observation: Observation, decision: WindowDecision) -> Iterator[str]:
    requests = Counter(move.name for move in (*decision.submit, *decision.cancel, *decision.restore))
    yield from (f"2: {name} has more than one request" for name, count in requests.items() if count > 1)
    planned = {(move.name, move.after) for move in plan.moves}
    live = {broker.id for broker in observation.snapshot.brokers}
    for move in decision.submit:
        partition = observation.partitions.get(move.name)
        if partition is None or (move.name, move.after) not in planned or not _is_there(plan, observation, move):
            yield f"2: {move.name} is not a move of the plan, or doesn't exist"
            continue
        if partition.replicas == move.after:
            yield f"2: {move.name} is already where the plan wants it"
        before, after = set(move.before), set(move.after)
        known = (before, after, before | after) if move.name in observation.submitted else (before,)
        if set(partition.replicas) not in known:
            yield f"2: {move.name} is not where it was planned from"
        arriving = after.difference(partition.replicas)
        if arriving - live:
            yield f"2: {move.name} goes to a broker that is down"
        if arriving and partition.leader is None:
            yield f"2: {move.name} has no leader to copy from"
        good = [broker for broker in move.after if broker in live and broker in partition.in_sync]
        if not arriving and after != set(partition.replicas) and not good:
            yield f"2: {move.name} would lose its last good replica"
    for move in decision.restore:
        partition = observation.partitions.get(move.name)
        if partition is None or sorted(partition.replicas) != sorted(move.before):
            yield f"2: {move.name} is restored although its replicas aren't those of before"


def _limits(observation: Observation, limits: MoveLimits, decision: WindowDecision) -> Iterator[str]:
    """What is in flight may exceed limits that were halved since: only brokers that get something new are judged."""
    partitions, started = observation.partitions, {move.name for move in decision.submit}
    by_destination: dict[int, list[int]] = defaultdict(list)
    by_source: dict[int, list[int]] = defaultdict(list)
    in_cluster: list[int] = []
    new_destinations: set[int] = set()
    new_sources: set[int] = set()
    for move, arriving in _copying(observation, decision):
        in_cluster.append(move.size_bytes * len(arriving))
        for broker in arriving:
            by_destination[broker].append(move.size_bytes)
        leader = partitions[move.name].leader
        if leader is not None:
            by_source[leader].append(move.size_bytes * len(arriving))
        if move.name in started:
            new_destinations.update(arriving)
            new_sources.update(() if leader is None else (leader,))
    factor = 2 if any(_lagging(observation)) else 1
    into = (limits.moves_in_per_broker, limits.bytes_in_per_broker)
    out_of = (limits.moves_out_per_broker, limits.bytes_out_per_broker)
    judged = [(f"into {broker}", by_destination[broker], *into) for broker in new_destinations]
    judged += [(f"out of {broker}", by_source[broker], *out_of) for broker in new_sources]
    if new_destinations:
        judged.append(("in the cluster", in_cluster, limits.moves_at_once, limits.bytes_at_once))
    for who, sizes, most_moves, most_bytes in judged:
        if len(sizes) > max(1, most_moves // factor):
            yield f"3: {len(sizes)} moves {who}"
        if most_bytes is not None and len(sizes) > 1 and sum(sizes) > max(1, most_bytes // factor):
            yield f"3: {sum(sizes)} bytes {who}"


def _disks(observation: Observation, decision: WindowDecision) -> Iterator[str]:
    arriving: dict[int, int] = defaultdict(int)
    for move in decision.submit:
        for broker in _arriving(observation, move):
            arriving[broker] += move.size_bytes
    for broker, size_bytes in arriving.items():
        if size_bytes > observation.headroom_bytes.get(broker, size_bytes):
            yield f"4: {size_bytes} bytes go to broker {broker}, which has {observation.headroom_bytes[broker]} free"


def _min_isr(observation: Observation, decision: WindowDecision) -> Iterator[str]:
    under, _ = _lagging(observation)
    for move in decision.submit if under else ():
        if not _can_not_wait(observation, move) or not _is_broken(observation, move):
            yield f"5: {move.name} starts although {under[0]} is under its min ISR and all its brokers are up"


def _batches(plan: MovePlan, observation: Observation, decision: WindowDecision) -> Iterator[str]:
    unfinished = [move.batch for move in plan.moves if _is_unfinished(plan, observation, move)]
    for move in decision.submit:
        if not unfinished or move.batch <= min(unfinished) + 1:
            continue
        if not _can_not_wait(observation, move):
            yield f"6: {move.name} of batch {move.batch} starts before batch {min(unfinished)} is done"
            continue
        for broker in _arriving(observation, move):
            rest = [other for other in plan.moves if other.name not in observation.reassignments]
            due = sum(other.size_bytes for other in rest if broker in _arriving(observation, other))
            if due > observation.headroom_bytes.get(broker, due):
                yield f"6: {move.name} of batch {move.batch} takes space on broker {broker} that earlier moves need"


def _change_window(observation: Observation, decision: WindowDecision) -> Iterator[str]:
    window = observation.change_window
    if window is None or not decision.submit:
        return
    if not window.is_open:
        yield "7: moves start although the change window is closed"
    copied = sum(move.size_bytes * len(_arriving(observation, move)) for move in decision.submit)
    if window.left_bytes is not None and copied > window.left_bytes:
        yield f"7: {copied} bytes start, {window.left_bytes} can be copied before the change window closes"


def _approval(observation: Observation, decision: WindowDecision) -> Iterator[str]:
    if decision.submit and (decision.drift or decision.drifted or decision.lost):
        yield "8: moves start although the rest must be re-planned"
    own = [name for name, target in observation.submitted.items() if _is_in_progress(observation, name, target)]
    if decision.must_replan and any(move.name in own for move in (*decision.in_flight, *decision.cancel)):
        yield "8: the rest is re-planned although moves are in flight"
    if decision.must_replan and not (decision.drift or decision.lost or decision.added):
        yield "8: the rest is re-planned without a cause"


def _honesty(plan: MovePlan, observation: Observation, decision: WindowDecision) -> Iterator[str]:
    unfinished = [move for move in plan.moves if _is_unfinished(plan, observation, move)]
    if decision.is_done and unfinished:
        yield f"9: done, and {unfinished[0].name} isn't where the plan wants it"
    is_idle = not (decision.submit or decision.cancel or decision.restore or decision.in_flight)
    if is_idle and not decision.is_done and decision.hold is None:
        yield "9: idle without a reason"
    if decision.is_done and decision.must_replan:
        yield "9: both done and to be re-planned"


def _can_not_wait(observation: Observation, move: Move) -> bool:
    """Its partition refuses writes, or hangs by one copy of several, and it brings another."""
    partition = observation.partitions[move.name]
    live = {broker.id for broker in observation.snapshot.brokers}
    good = len([broker for broker in partition.in_sync if broker in live])
    asked = min(observation.snapshot.minimum_in_sync.get(move.topic, 1), len(partition.replicas))
    wanted = max(len(partition.replicas), len(move.after))
    return bool(_arriving(observation, move)) and (good < asked or (good < 2 and wanted > 1))


def _is_broken(observation: Observation, move: Move) -> bool:
    partition = observation.partitions[move.name]
    live = {broker.id for broker in observation.snapshot.brokers}
    return bool(set(partition.replicas) - live or set(partition.replicas) & set(partition.offline))


def _arriving(observation: Observation, move: Move) -> list[int]:
    partition = observation.partitions.get(move.name)
    return [] if partition is None else [broker for broker in move.after if broker not in partition.replicas]


def _copying(observation: Observation, decision: WindowDecision) -> Iterator[tuple[Move, list[int]]]:
    """Moves that copy once the decision is carried out, with the brokers they copy to."""
    for move in decision.submit:
        if arriving := _arriving(observation, move):
            yield move, arriving
    for move in decision.in_flight:
        in_sync = observation.partitions[move.name].in_sync
        if lagging := [broker for broker in observation.reassignments[move.name].adding if broker not in in_sync]:
            yield move, lagging


def _is_in_progress(observation: Observation, name: TopicPartition, target: tuple[int, ...]) -> bool:
    reassignment = observation.reassignments.get(name)
    return reassignment is not None and set(reassignment.replicas) - set(reassignment.removing) == set(target)


def _is_there(plan: MovePlan, observation: Observation, move: Move) -> bool:
    """It exists, in the topic that was planned."""
    planned, now = plan.topic_ids.get(move.topic), observation.snapshot.topic_ids.get(move.topic)
    return move.name in observation.partitions and (planned is None or now is None or planned == now)


def _is_unfinished(plan: MovePlan, observation: Observation, move: Move) -> bool:
    partition = observation.partitions.get(move.name) if _is_there(plan, observation, move) else None
    return partition is not None and (partition.replicas != move.after or move.name in observation.reassignments)


def _lagging(observation: Observation) -> tuple[list[TopicPartition], list[TopicPartition]]:
    """Partitions under, and at, the min ISR that Kafka asks of them, with a lagging replica and all their brokers up."""
    live = {broker.id for broker in observation.snapshot.brokers}
    under, at = [], []
    for partition in observation.snapshot.partitions:
        if partition.in_sync == partition.replicas:
            continue
        reassignment = observation.reassignments.get(partition.name)
        adding = () if reassignment is None else reassignment.adding
        standing = [broker for broker in partition.replicas if broker not in adding]
        works = all(broker in live and broker not in partition.offline for broker in standing)
        if works and any(broker not in partition.in_sync for broker in standing):
            asked = min(observation.snapshot.minimum_in_sync.get(partition.topic, 1), len(standing))
            in_sync = len([broker for broker in partition.in_sync if broker in live])
            if in_sync < asked:
                under.append(partition.name)
            elif in_sync == asked:
                at.append(partition.name)
    return under, at
