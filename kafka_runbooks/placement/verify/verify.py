"""Check a plan and its batches with the independent rules. A finding is a planner's bug, and the plan must not be used."""

from collections.abc import Iterator, Sequence

from kafka_runbooks.placement.arrays import Cluster, Flags
from kafka_runbooks.placement.batches import Batch
from kafka_runbooks.placement.errors import PlannerDefect
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.verify import rules


def check(plan: Plan, batches: Sequence[Batch] = (), *, leader_first: bool = False) -> None:
    """Check a plan, and its batches one after the other.

    Args:
        plan: the plan.
        batches: all of its batches in order; empty where it isn't split.
        leader_first: the batches are leader-first phases, the first of which may hold one replica more than wanted.

    Raises:
        PlannerDefect: with every finding.
    """
    cluster = plan.cluster
    known = rules.facts(cluster)
    after = {cluster.name(row): cluster.ids(members) for row, members in enumerate(plan.after)}
    findings = [*_of_plan(plan, known, after), *_of_batches(plan, batches, known, after, leader_first)]
    if findings:
        raise PlannerDefect(findings)


def _of_plan(plan: Plan, known: rules.Facts, after: rules.Sets) -> Iterator[str]:
    cluster = plan.cluster
    if not plan.areas:
        yield from rules.check_order(known, {name: row for name, row in after.items() if row != known.replicas[name]})
        return
    inside: set[rules.Name] = set()
    for scope, brokers in plan.areas:
        names = _names(cluster, scope)
        inside.update(names)
        here = set(names)
        yield from rules.check_assignment(
            known,
            {name: after[name] for name in names},
            brokers=cluster.broker_ids[brokers].tolist(),
            replication=plan.replication,
            min_racks=plan.min_racks,
            elsewhere={name: row for name, row in after.items() if name not in here},
        )
    for name, replicas in after.items():
        if name not in inside and replicas != known.replicas[name]:
            yield f"{name}: changed, but in no map"


def _of_batches(plan: Plan, batches: Sequence[Batch], known: rules.Facts, after: rules.Sets, leader_first: bool) -> Iterator[str]:
    changes = [{(p.topic, p.partition): list(p.replicas) for p in batch.reassignment().partitions} for batch in batches]
    yield from rules.check_batches(known, changes, floor=1 if leader_first else plan.replication, racks=plan.racks_left)
    state = dict(known.replicas)
    for change in changes:
        state |= change
    if batches and state != after:
        yield "the batches do not end in the plan's assignment"


def _names(cluster: Cluster, scope: Flags) -> list[rules.Name]:
    return [cluster.name(row) for row in scope.nonzero()[0].tolist()]
