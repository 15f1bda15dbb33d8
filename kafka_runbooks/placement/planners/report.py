"""From the assignment before and after to a plan: its figures, its bounds, and what the operator should know."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement.arrays import Indices, distinct_racks
from kafka_runbooks.placement.disks import already_above
from kafka_runbooks.placement.leaders import by_bytes_out
from kafka_runbooks.placement.plan import Plan, losing_racks
from kafka_runbooks.placement.planners import left_alone
from kafka_runbooks.placement.planners.options import Request
from kafka_runbooks.placement.planners.scope import bytes_out_of, regions_of, scope_of
from kafka_runbooks.placement.problem import Problem, Rules, observed_load, pose, spread_of
from kafka_runbooks.placement.racks import misplaced
from kafka_runbooks.placement.solver.solve import Solution


class SolvedMap(NamedTuple):
    """One map's problem, and its solution."""

    problem: Problem
    solution: Solution


def report(request: Request, before: Indices, after: Indices, solved: Sequence[SolvedMap] = ()) -> Plan:
    """The plan that changes `before` to `after`; without solved maps only orders changed, or the assignment was given."""
    cluster, options = request.cluster, request.options
    violations = sum(int((misplaced(problem.rack_rules, after)[problem.scope] > 0).sum()) for problem, _ in solved)
    problems = [problem for problem, _ in solved]
    if not problems:
        # Nothing moves, so no set is asked for: one that is not possible is no reason to refuse another's order.
        nothing = np.zeros(cluster.partition_count, dtype=np.bool_)
        problems = [pose(cluster, nothing, request.allowed, Rules(measure=options.measure))]
    spread_before = max(spread_of(problem, observed_load(problem)) for problem in problems)
    plan = Plan(
        kind=request.kind,
        cluster=cluster,
        before=before,
        after=after,
        targets=np.logical_or.reduce([problem.allowed for problem, _ in solved]) if solved else request.allowed,
        rack_violations=violations,
        measure=problems[0].measure,
        spread_before=spread_before,
        spread_after=max((s.spread for _, s in solved), default=spread_before),
        best_possible_spread=max((s.best_spread for _, s in solved), default=spread_before),
        best_possible_is_exact=all(s.best_is_exact for _, s in solved),
        lower_bound_bytes=sum(s.lower_bound_bytes for _, s in solved),
        forced_bytes=sum(s.forced_bytes for _, s in solved),
        notices=(*_notices(request, before, after, may_move=bool(solved)), *_to_lead(solved)),
    )
    return _in_bytes_out(request, plan) if options.measure == "bytes out" else plan


def _to_lead(solved: Sequence[SolvedMap]) -> Iterable[str]:
    """What it costs that new brokers lead their share."""
    replicas, cost = (sum(getattr(s, name) for _, s in solved) for name in ("replicas_to_lead", "bytes_to_lead"))
    if replicas:
        yield f"new brokers get {replicas} more replicas, to lead their share: {max(0, cost)} bytes more to copy"


def _in_bytes_out(request: Request, plan: Plan) -> Plan:
    """The plan with the spreads of what leaders serve, instead of those of replicas' shares."""
    cluster, weight = plan.cluster, bytes_out_of(plan.cluster)
    regions = regions_of(replace(request, allowed=plan.targets))
    before, after = (
        max(by_bytes_out.spread(by_bytes_out.served(sets, weight, cluster.broker_count), region.brokers) for region in regions)
        for sets in (plan.before, plan.after)
    )
    # Maps may share brokers, and what one map puts there no other can change: this bound holds for a single map only.
    best = min(after, by_bytes_out.best_spread(weight, int(plan.targets.sum()))) if len(regions) == 1 else 0.0
    return replace(
        plan,
        spread_before=before,
        spread_after=after,
        best_possible_spread=best,
        best_possible_is_exact=after <= best,
        lower_bound_bytes=plan.forced_bytes,
    )


def _notices(request: Request, before: Indices, after: Indices, *, may_move: bool) -> Iterable[str]:
    cluster, options = request.cluster, request.options
    scope = scope_of(cluster, options)
    yield from left_alone.notices(request, scope)
    yield from cluster.remarks
    if may_move and (full := already_above(cluster, request.allowed & cluster.is_live)):
        yield full
    if request.without_set is not None and len(rows := np.nonzero(request.without_set)[0]):
        yield f"{left_alone.named(cluster, rows)} have no valid set and are left as they are: {'; '.join(request.refused)}"
    if len(rows := losing_racks(cluster, before, after)):
        yield f"{left_alone.named(cluster, rows)} span fewer racks than before: the brokers that are left allow no more"
    width = cluster.replicas.shape[1]
    crowded = distinct_racks(cluster.replicas, cluster.racks) < distinct_racks(after, cluster.racks)
    repaired = int((crowded & ((cluster.replicas >= 0).sum(axis=1) == (after[:, :width] >= 0).sum(axis=1))).sum())
    if repaired:
        yield f"{repaired} sets span more racks than before, for they could (min_racks sets how many are enough)"
    unsized = int((cluster.size_bytes[scope] == 0).sum())
    if unsized and options.measure != "replica count":
        yield f"{unsized} partitions have no size (empty, or unknown): they are spread by replica count"
    if options.regions is not None:
        if options.regions.unmapped_topics:
            yield f"topics in no map, left as they are: {', '.join(options.regions.unmapped_topics[:20])}"
        for topic, names_of_maps in options.regions.contested_topics.items():
            yield f"topic {topic} is in several maps ({', '.join(names_of_maps)}), left as it is"
