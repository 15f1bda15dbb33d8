"""Ask the independent checker about a plan and its steps. What it finds is a bug of the planner, and nothing is emitted."""

from collections.abc import Sequence

from kafka_runbooks.placement.arrays import Cluster, Flags
from kafka_runbooks.placement.batches import Step
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.snapshots import assignments
from kafka_runbooks.placement.verify import rules as checker


class InvalidPlan(RuntimeError):
    """A planner made a map that breaks a rule. Never the operator's fault."""


def check(plan: Plan, steps: Sequence[Step] = (), *, leader_kept_in_front: bool = False) -> None:
    """Check a plan, and its steps one after the other.

    :param leader_kept_in_front: the steps are leader-first phases, whose first may hold one replica more than the map wants
    :raises InvalidPlan: with every finding
    """
    cluster = plan.cluster
    known = checker.facts(cluster)
    after = {(t, p): ids for t, p, ids in assignments(cluster, plan.after, range(cluster.partition_count))}
    if plan.areas:
        wrong = []
        for scope, brokers in plan.areas:
            names = _names(cluster, scope)
            wrong += checker.check_map(
                known,
                {name: after[name] for name in names},
                brokers=cluster.broker_ids[brokers].tolist(),
                replication=plan.replication,
                min_racks=plan.min_racks,
            )
        inside = {name for scope, _ in plan.areas for name in _names(cluster, scope)}
        wrong += [
            f"{name}: changed, and in no map" for name in after if name not in inside and after[name] != known.replicas[name]
        ]
    else:
        wrong = checker.check_order(known, {name: row for name, row in after.items() if row != known.replicas[name]})
    state = dict(known.replicas)
    for number, step in enumerate(steps):
        change = {(p.topic, p.partition): list(p.replicas) for p in step.reassignment().partitions}
        floor = plan.replication if not leader_kept_in_front else 1
        wrong += [f"step {number}: {finding}" for finding in checker.check_step(known, state, change, floor=floor)]
        state = checker.apply(state, change)
    if steps and state != after:
        wrong.append("the steps do not end in the plan's map")
    if wrong:
        raise InvalidPlan(f"{len(wrong)} findings: " + "; ".join(wrong[:10]))


def _names(cluster: Cluster, scope: Flags) -> list[tuple[str, int]]:
    return [cluster.name(row) for row in scope.nonzero()[0].tolist()]
