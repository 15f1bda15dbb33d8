"""How every planner works: solve map after map, put leaders in front, and report what came out."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kafka_runbooks.placement import problem as problems
from kafka_runbooks.placement.arrays import NONE, Cluster, Flags, Indices, Ints, added, distinct_racks, holds
from kafka_runbooks.placement.leaders import by_bytes_out as consuming
from kafka_runbooks.placement.leaders import by_count as leaders
from kafka_runbooks.placement.plan import Plan, settle
from kafka_runbooks.placement.planners import topic_spread as spreading
from kafka_runbooks.placement.planners.options import Options, regions_of, scope_of
from kafka_runbooks.placement.solver import solve as solving


def plan(
    kind: str,
    cluster: Cluster,
    options: Options,
    *,
    allowed: Flags,
    replication: int | None = None,
    moves: bool = False,
    pairs: dict[int, int] | None = None,
) -> Plan:
    """Plan every map; `moves`: replicas may move to level, beyond those that must.

    Bytes out are levelled by choosing leaders alone, where that does it: no replica moves then.
    """

    def made(moves: bool) -> Plan:
        sets, solved = _solve(cluster, options, allowed, replication, moves, pairs)
        return _finish(kind, cluster, options, allowed, replication, pairs, sets, solved)

    if options.measure != "bytes out" or not moves:
        return made(moves)
    led = made(False)
    if led.spread_after <= led.best_possible_spread + _tolerance(led, options):
        return led
    moved = made(True)
    return moved if moved.spread_after < led.spread_after else led


def spread(cluster: Cluster, options: Options, *, allowed: Flags) -> Plan:
    """Place what must be placed, then level each topic on its own."""
    options = replace(options, measure="replica count")
    sets, solved = _solve(cluster, options, allowed, None, False, None)
    forced = sum(solution.moved_bytes for _, solution in solved)
    result = spreading.Spread(sets.copy())
    for region in regions_of(cluster, options, allowed):
        left = None if options.max_moved_bytes is None else max(0, options.max_moved_bytes - forced - result.moved_bytes)
        spreading.spread(cluster, options, region, result, left)
    made = _finish("spread", cluster, options, allowed, None, None, result.sets, solved)
    return replace(
        made,
        spread_before=result.before,
        spread_after=result.after,
        best_possible_spread=result.best,
        best_possible_is_exact=result.after <= result.best,
        lower_bound_bytes=min(made.moved_bytes, made.forced_bytes + result.lower_bound_bytes),
    )


def _tolerance(led: Plan, options: Options) -> float:
    if options.target_spread is not None:
        return options.target_spread
    out = consuming.led(led.after, _bytes_out(led.cluster), led.cluster.broker_count)
    return solving.DEFAULT_SPREAD * float(out[led.targets].mean()) if led.targets.any() else 0.0


def _bytes_out(cluster: Cluster) -> Ints:
    return cluster.bytes_out if cluster.bytes_out is not None else np.zeros(cluster.partition_count, dtype=np.int64)


Solved = list[tuple[problems.Problem, solving.Solution]]


def _solve(
    cluster: Cluster,
    options: Options,
    allowed: Flags,
    replication: int | None,
    moves: bool,
    pairs: dict[int, int] | None,
) -> tuple[Indices, Solved]:
    """Map after map, each starting where the one before it left the replicas."""
    regions = [region for region in regions_of(cluster, options, allowed) if region.scope.any()]
    sets: Indices | None = None
    made: Solved = []
    budget = options.max_moved_bytes
    for region in regions:
        problem = problems.make(
            cluster,
            region.scope,
            region.brokers,
            replication=replication,
            min_racks=options.min_racks,
            measure=options.measure,
            within_racks=options.within_racks,
            smallest_moved_bytes=options.smallest_moved_bytes,
        )
        solution = solving.solve(
            problem,
            sets,
            moves=moves,
            target_spread=options.target_spread,
            max_moved_bytes=budget,
            affinity=pairs,
            prove=options.prove,
        )
        budget = None if budget is None else budget - solution.moved_bytes
        sets = solution.sets
        made.append((problem, solution))
    return cluster.replicas if sets is None else sets, made


def _finish(
    kind: str,
    cluster: Cluster,
    options: Options,
    allowed: Flags,
    replication: int | None,
    pairs: dict[int, int] | None,
    sets: Indices,
    made: Solved,
) -> Plan:
    """Put leaders in front, and report."""
    if not made:
        return report(kind, cluster, options, cluster.replicas, cluster.replicas, allowed, [])
    before = made[-1][1].before
    sets = np.concatenate([sets, np.full((len(sets), before.shape[1] - sets.shape[1]), NONE, dtype=np.int32)], axis=1)
    in_place: Flags | None = None
    if pairs:
        in_place = np.asarray(np.isin(before, list(pairs)).any(axis=1))
    after = settle(before, sets, in_place)
    if pairs is None:  # A substitute takes over its predecessor's leaderships too.
        lost = ~holds(after, before[:, 0]) if options.leaders == "keep" else np.ones(len(after), dtype=np.bool_)
        for region in regions_of(cluster, options, allowed):
            after = _led(cluster, before, after, region.scope & lost, options)
    made_plan = report(kind, cluster, options, before, after, allowed, made)
    areas = tuple((region.scope, region.brokers) for region in regions_of(cluster, options, allowed))
    return replace(made_plan, areas=areas, replication=replication, min_racks=options.min_racks)


def _led(cluster: Cluster, before: Indices, after: Indices, rows: Flags, options: Options) -> Indices:
    """Choose preferred leaders of some rows, given those of the others."""
    picked, count = np.nonzero(rows)[0], cluster.broker_count
    if options.measure == "bytes out":
        weight = _bytes_out(cluster)
        standing = consuming.led(after[~rows], weight[~rows], count)
        return leaders.lead(after, picked, consuming.balance(after, picked, _may_lead(cluster, before, after), weight, standing))
    leader = leaders.balance(after, picked, _may_lead(cluster, before, after), count, leaders.counts(after[~rows], count))
    return leaders.lead(after, picked, leader)


def _may_lead(cluster: Cluster, before: Indices, after: Indices) -> Flags:
    """Replicas that are in sync, or will be since they are copied anew."""
    stale = np.zeros(after.shape, dtype=np.bool_)
    for slot in range(cluster.replicas.shape[1]):
        out_of_sync = ~cluster.in_sync[:, slot] & (cluster.replicas[:, slot] >= 0)
        stale |= (after == cluster.replicas[:, slot, None]) & out_of_sync[:, None]
    fine: Flags = (after >= 0) & ~stale
    return fine


def leaders_plan(kind: str, cluster: Cluster, options: Options, allowed: Flags, by_share: bool) -> Plan:
    after = cluster.replicas
    for region in regions_of(cluster, options, allowed):
        rows = np.nonzero(region.scope)[0]
        eligible = cluster.in_sync & region.brokers[np.maximum(after, 0)]
        standing = leaders.counts(after[~region.scope], cluster.broker_count)
        if options.measure == "bytes out":
            weight = _bytes_out(cluster)
            carried = consuming.led(after[~region.scope], weight[~region.scope], cluster.broker_count)
            chosen_leaders = consuming.balance(after, rows, eligible, weight, carried)
        elif by_share:
            chosen_leaders = leaders.balance_by_share(after, rows, eligible, cluster.broker_count)
        else:
            chosen_leaders = leaders.balance(after, rows, eligible, cluster.broker_count, standing)
        after = leaders.lead(after, rows, chosen_leaders)
    return report(kind, cluster, options, cluster.replicas, after, allowed, [])


def report(
    kind: str,
    cluster: Cluster,
    options: Options,
    before: Indices,
    after: Indices,
    allowed: Flags,
    made: Solved,
) -> Plan:
    wanted = np.zeros(cluster.partition_count, dtype=np.int64)
    for problem, _ in made:
        wanted = np.where(problem.scope, problem.spread, wanted)
    measured = made[0][0] if made else problems.make(cluster, scope_of(cluster, options), allowed, measure=options.measure)
    observed = [problems.levels(problem, problems.observed_load(problem)) for problem in ([p for p, _ in made] or [measured])]
    spread_before = max((float(at.max() - at.min()) for at in observed if len(at)), default=0.0)
    made_plan = Plan(
        kind=kind,
        cluster=cluster,
        before=before,
        after=after,
        targets=np.logical_or.reduce([p.allowed for p, _ in made]) if made else allowed,
        spread_wanted=wanted,
        measure=measured.measure,
        spread_before=spread_before,
        spread_after=max((s.spread for _, s in made), default=spread_before),
        best_possible_spread=max((s.best_spread for _, s in made), default=spread_before),
        best_possible_is_exact=all(s.best_is_exact for _, s in made),
        lower_bound_bytes=sum(s.lower_bound_bytes for _, s in made),
        forced_bytes=sum(s.forced_bytes for _, s in made),
        notices=tuple(_notices(cluster, options, before, after)),
    )
    return _by_leaders(made_plan, options) if options.measure == "bytes out" else made_plan


def _by_leaders(plan: Plan, options: Options) -> Plan:
    """Bytes out are what leaders serve: the plan's spreads are those of leaders, not of replicas' shares."""
    cluster, weight = plan.cluster, _bytes_out(plan.cluster)
    regions = regions_of(cluster, options, plan.targets)
    before, after = (
        max(consuming.spread(consuming.led(sets, weight, cluster.broker_count), region.brokers) for region in regions)
        for sets in (plan.before, plan.after)
    )
    # Maps may share brokers: what one of them puts there no other can change, and only one map alone has this bound.
    best = min(after, consuming.best_spread(weight, int(plan.targets.sum()))) if len(regions) == 1 else 0.0
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
