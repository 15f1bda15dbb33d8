"""From the assignment before and after to a plan: its figures, its bounds, and what the operator should know."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kafka_runbooks.placement.arrays import Cluster, Indices, added, distinct_racks
from kafka_runbooks.placement.leaders import by_bytes_out
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners.options import Options, Request
from kafka_runbooks.placement.planners.scope import bytes_out_of, regions_of, scope_of
from kafka_runbooks.placement.problem import Problem, Rules, observed_load, pose, spread_of
from kafka_runbooks.placement.solver.solve import Solution


class SolvedMap(NamedTuple):
    """One map's problem, and its solution."""

    problem: Problem
    solution: Solution


def report(request: Request, before: Indices, after: Indices, solved: Sequence[SolvedMap] = ()) -> Plan:
    """The plan that changes `before` to `after`; without solved maps only orders changed, or the assignment was given."""
    cluster, options = request.cluster, request.options
    required_racks = np.zeros(cluster.partition_count, dtype=np.int64)
    for problem, _ in solved:
        required_racks = np.where(problem.scope, problem.required_racks, required_racks)
    problems = [problem for problem, _ in solved]
    problems = problems or [pose(cluster, scope_of(cluster, options), request.allowed, Rules(measure=options.measure))]
    spread_before = max(spread_of(problem, observed_load(problem)) for problem in problems)
    plan = Plan(
        kind=request.kind,
        cluster=cluster,
        before=before,
        after=after,
        targets=np.logical_or.reduce([problem.allowed for problem, _ in solved]) if solved else request.allowed,
        required_racks=required_racks,
        measure=problems[0].measure,
        spread_before=spread_before,
        spread_after=max((s.spread for _, s in solved), default=spread_before),
        best_possible_spread=max((s.best_spread for _, s in solved), default=spread_before),
        best_possible_is_exact=all(s.best_is_exact for _, s in solved),
        lower_bound_bytes=sum(s.lower_bound_bytes for _, s in solved),
        forced_bytes=sum(s.forced_bytes for _, s in solved),
        notices=tuple(_notices(cluster, options, before, after)),
    )
    return _in_bytes_out(request, plan) if options.measure == "bytes out" else plan


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


def _notices(cluster: Cluster, options: Options, before: Indices, after: Indices) -> Iterable[str]:
    alive = ((cluster.replicas >= 0) & cluster.is_live[np.maximum(cluster.replicas, 0)]).any(axis=1)
    lost = np.nonzero(added(before, after).any(axis=1) & ~alive)[0]
    if len(lost):
        names = ", ".join("{}-{}".format(*cluster.name(int(row))) for row in lost[:5])
        yield f"{len(lost)} partitions have no live replica to copy from ({names}): they wait until one comes back"
    width = cluster.replicas.shape[1]
    crowded = distinct_racks(cluster.replicas, cluster.racks) < distinct_racks(after, cluster.racks)
    repaired = int((crowded & ((cluster.replicas >= 0).sum(axis=1) == (after[:, :width] >= 0).sum(axis=1))).sum())
    if repaired:
        yield f"{repaired} sets span more racks than before, for they could (min_racks sets how many are enough)"
    unsized = int((cluster.size_bytes[scope_of(cluster, options)] == 0).sum())
    if unsized and options.measure != "replica count":
        yield f"{unsized} partitions have no size (empty, or unknown): they are spread by replica count"
    if options.regions is not None:
        if options.regions.unmapped_topics:
            yield f"topics in no map, left as they are: {', '.join(options.regions.unmapped_topics[:20])}"
        for topic, names_of_maps in options.regions.contested_topics.items():
            yield f"topic {topic} is in several maps ({', '.join(names_of_maps)}), left as it is"
