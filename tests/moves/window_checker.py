"""A judge of the window's decisions that shares no code with it: it counts with a pencil, from ids and plain dicts."""

from collections import defaultdict

from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.moves.admission import Seen
from kafka_runbooks.moves.window import Decision


def check(plan: MovePlan, seen: Seen, limits: MoveLimits, decision: Decision) -> list[str]:
    """Everything that is wrong with a decision."""
    wrong = []
    live = {broker.id for broker in seen.snapshot.brokers}
    now = {p.name: p for p in seen.snapshot.partitions}
    planned = {move.name: move for move in plan.moves}
    shrunk = [
        (p, [b for b in p.replicas if b not in p.in_sync and b not in _adding(seen, p.name)])
        for p in now.values()
        if len([b for b in p.replicas if b not in _adding(seen, p.name)]) >= seen.snapshot.minimum_in_sync[p.topic]
    ]
    by_themselves = [p for p, missing in shrunk if missing and set(missing) <= live]
    under = any(len(p.in_sync) < seen.snapshot.minimum_in_sync[p.topic] for p in by_themselves)
    at = any(len(p.in_sync) == seen.snapshot.minimum_in_sync[p.topic] for p in by_themselves)
    if under and decision.submit:
        wrong.append("starts moves while a partition is under min ISR on live brokers")

    for name in [move.name for move in decision.cancel]:
        target = [b for b in seen.reassignments[name].replicas if b not in seen.reassignments[name].removing]
        if name not in seen.ours or sorted(seen.ours[name]) != sorted(target):
            wrong.append(f"{name}: cancels what isn't ours")
        if sorted(target) == sorted(planned[name].after) and not set(target) & seen.dead:
            wrong.append(f"{name}: cancels what is well on its way")

    incoming: dict[int, list[int]] = defaultdict(list)
    outgoing: dict[int, list[int]] = defaultdict(list)
    everything = []
    copying = []
    for move in decision.submit:
        p = now[move.name]
        if move.name in seen.reassignments:
            wrong.append(f"{move.name}: submitted over a reassignment in progress")
        if p.replicas == move.after:
            wrong.append(f"{move.name}: is there already")
        if sorted(p.replicas) not in (sorted(move.before), sorted(move.after)):
            wrong.append(f"{move.name}: is neither where the plan found it nor where it wants it")
        arriving = [b for b in move.after if b not in p.replicas]
        if set(arriving) - live:
            wrong.append(f"{move.name}: onto a broker that is down")
        if arriving:
            copying.append((move, arriving))
            if p.leader is None:
                wrong.append(f"{move.name}: from nobody")
    for move in decision.in_flight:
        late = [b for b in seen.reassignments[move.name].adding if b not in now[move.name].in_sync]
        if late:
            copying.append((move, late))
    for move, arriving in copying:
        everything.append(move.size_bytes * len(arriving))
        for broker in arriving:
            incoming[broker].append(move.size_bytes)
        leader = now[move.name].leader
        if leader is not None:
            outgoing[leader].append(move.size_bytes * len(arriving))
    factor = 2 if at else 1
    for what, by_broker, moves, size in (
        ("in", incoming, limits.moves_in_per_broker, limits.bytes_in_per_broker),
        ("out", outgoing, limits.moves_out_per_broker, limits.bytes_out_per_broker),
        ("cluster", {0: everything}, limits.moves_at_once, limits.bytes_at_once),
    ):
        # What was in flight when limits were halved stays in flight: judged is whatever gets something new.
        new = [(move, arriving) for move, arriving in copying if move in decision.submit]
        touched: dict[str, set[int | None]] = {
            "in": {b for _, bs in new for b in bs},
            "out": {now[m.name].leader for m, _ in new},
            "cluster": {0} if new else set(),
        }
        for broker, sizes in by_broker.items():
            if broker not in touched[what]:
                continue
            if len(sizes) > max(1, moves // factor):
                wrong.append(f"{what} of {broker}: {len(sizes)} moves")
            if size is not None and len(sizes) > 1 and sum(sizes) > max(1, size // factor):
                wrong.append(f"{what} of {broker}: {sum(sizes)} bytes")
    for broker, free in seen.headroom_bytes.items():
        fresh = sum(m.size_bytes for m in decision.submit if broker in m.after and broker not in now[m.name].replicas)
        if fresh > free:
            wrong.append(f"broker {broker}: {fresh} bytes arrive, {free} are free")

    unfinished = [
        move.batch
        for move in plan.moves
        if move.name in now and (now[move.name].replicas != move.after or move.name in seen.reassignments)
    ]
    early = [move for move in decision.submit if unfinished and move.batch > min(unfinished) + 1]
    wrong += [f"{move.name}: batch {move.batch} before batch {min(unfinished)}" for move in early]
    done = all(
        move.name not in now or (now[move.name].replicas == move.after and move.name not in seen.reassignments)
        for move in plan.moves
    )
    if decision.is_done and not done:
        wrong.append("says done, and isn't")
    stuck = not (decision.submit or decision.cancel or decision.restore or decision.in_flight)
    if stuck and not decision.is_done and decision.hold is None:
        wrong.append("does nothing and doesn't say why")
    return wrong


def _adding(seen: Seen, name: object) -> tuple[int, ...]:
    return next((moving.adding for other, moving in seen.reassignments.items() if other == name), ())
