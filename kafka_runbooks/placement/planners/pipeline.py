"""The steps common to all planners: solve map after map, choose preferred leaders, report."""

from dataclasses import replace

import numpy as np

from kafka_runbooks.placement.arrays import (
    NONE,
    Cluster,
    Flags,
    Indices,
    added,
    holds,
    leader_counts,
    widen,
    with_leaders,
)
from kafka_runbooks.placement.errors import InvalidRequest, NoAssignment
from kafka_runbooks.placement.leaders import by_bytes_out, by_count
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.planners.convergence import converge, may_lead, only_a_leader_or_two
from kafka_runbooks.placement.planners.left_alone import asked_to_move
from kafka_runbooks.placement.planners.options import Request
from kafka_runbooks.placement.planners.report import SolvedMap, report
from kafka_runbooks.placement.planners.scope import bytes_out_of, regions_of
from kafka_runbooks.placement.problem import pose
from kafka_runbooks.placement.solver.balance import DEFAULT_SPREAD, Goal, is_balanced
from kafka_runbooks.placement.solver.solve import solve

ATTEMPTS = 5
"""Times that partitions are left out because they have no valid set: what they don't take, others may then get."""


def plan(request: Request) -> Plan:
    """Plan every map, so that planning again would change nothing (a budget of bytes is another one each time)."""
    made, is_done = _plan_once(request)
    if (is_done and request.new is None) or not request.moves or request.options.max_moved_bytes is not None:
        return made
    return converge(lambda cluster: _plan_once(replace(request, cluster=cluster))[0], request.cluster, made)


def _plan_once(request: Request) -> tuple[Plan, bool]:
    """(the plan, whether every map ends as balanced as it was to be).

    Bytes out are balanced by choosing leaders alone where that is enough: then no replica moves.
    """

    request, sets, solved = solve_what_has_a_set(request)

    def planned(request: Request) -> Plan:
        return finish(request, *solve_maps(request))

    if request.options.measure != "bytes out" or not request.moves:
        goal = Goal(request.moves, request.options.target_spread)
        is_done = len(solved) <= 1 and all(is_balanced(problem, sets, goal) for problem, _ in solved)
        return finish(request, sets, solved), is_done
    by_leaders = planned(replace(request, moves=False))
    if by_leaders.spread_after <= by_leaders.best_possible_spread + _tolerance(request, by_leaders):
        return by_leaders, False
    by_moves = planned(request)
    return by_moves if by_moves.spread_after < by_leaders.spread_after else by_leaders, False


def solve_what_has_a_set(request: Request) -> tuple[Request, Indices, list[SolvedMap]]:
    """Solve every map; partitions without a valid set that nobody asked to move are left out, so that they block no other.

    Returns:
        The request with what was left out, the sets, and the solved maps.

    Raises:
        NoAssignment: a partition that must move has no valid set, or none that is in scope has one.
    """
    asked = asked_to_move(request)
    for _ in range(ATTEMPTS):
        try:
            return request, *solve_maps(request)
        except NoAssignment as error:
            rows = np.zeros(request.cluster.partition_count, dtype=np.bool_)
            rows[list(error.rows)] = True
            left = np.logical_or.reduce([region.scope for region in regions_of(request)]) & ~rows
            if not rows.any() or (rows & asked).any() or not left.any():
                raise
            without = rows if request.without_set is None else rows | request.without_set
            request = replace(request, without_set=without, refused=(*request.refused, str(error.reasons[0])))
    return request, *solve_maps(request)


def _tolerance(request: Request, plan: Plan) -> float:
    if request.options.target_spread is not None:
        return request.options.target_spread
    served = by_bytes_out.served(plan.after, bytes_out_of(plan.cluster), plan.cluster.broker_count)
    return DEFAULT_SPREAD * float(served[plan.targets].mean()) if plan.targets.any() else 0.0


def solve_maps(request: Request) -> tuple[Indices, list[SolvedMap]]:
    """Solve map after map, each starting where the one before it left the replicas; returns the final sets."""
    options = request.options
    goal = Goal(request.moves, options.target_spread, options.max_moved_bytes, options.prove)
    leads = options.leaders == "balance" and options.measure != "bytes out"
    substitutes = dict(request.substitutes) if request.substitutes is not None else None
    sets: Indices | None = None
    solved = []
    for region in regions_of(request):
        if not region.scope.any():
            continue
        _require_racks(request, region.brokers)
        problem = pose(request.cluster, region.scope, region.brokers, options.rules(request.replication))
        solution = solve(problem, goal, sets, substitutes=substitutes, new=request.new if leads else None)
        if goal.max_moved_bytes is not None:
            goal = goal._replace(max_moved_bytes=goal.max_moved_bytes - solution.moved_bytes)
        sets = solution.sets
        solved.append(SolvedMap(problem, solution))
    return request.cluster.replicas if sets is None else sets, solved


def _require_racks(request: Request, brokers: Flags) -> None:
    """Refuse brokers with and without a rack together: whether two of them share a rack isn't known."""
    cluster = request.cluster
    ids = {
        int(cluster.broker_ids[b]): cluster.rack_name(b)
        for b in np.nonzero(brokers & cluster.is_live & ~cluster.keeps_only)[0].tolist()
    }
    bare = [broker for broker, rack in ids.items() if rack is None]
    if bare and len(bare) < len(ids) and request.options.min_racks != 1:
        raise InvalidRequest(
            f"racks: brokers {bare[:20]} have none and others do, so no set can be spread over racks: "
            "set broker.rack on them, or ask for no more than one rack (--min-racks 1)"
        )


def finish(request: Request, sets: Indices, solved: list[SolvedMap]) -> Plan:
    """Choose preferred leaders, and report."""
    cluster, pairs = request.cluster, request.substitutes
    if not solved:
        return report(request, cluster.replicas, cluster.replicas)
    before = solved[-1].solution.before
    in_place: Flags | None = None if not pairs else np.asarray(np.isin(before, list(pairs)).any(axis=1))
    after = in_preference_order(before, widen(sets, before.shape[1]), in_place)
    if pairs is None:  # A substitute takes over its predecessor's leaderships too.
        keep = request.options.leaders == "keep"
        open_rows = ~holds(after, before[:, 0]) if keep else np.ones(len(after), dtype=np.bool_)
        for region in regions_of(request):
            after = choose_leaders(request, after, region.scope & open_rows, may_lead(cluster, after), before[:, 0])
    if (
        request.options.measure != "bytes out"
        and _all_lead(cluster, before, after)
        and only_a_leader_or_two(before, after, *(_leader_range(request, s) for s in (before, after)))
    ):
        after = before
    areas = tuple((region.scope, region.brokers) for region in regions_of(request))
    reported = report(request, before, after, solved)
    return replace(reported, areas=areas, replication=request.replication, min_racks=request.options.min_racks)


def _all_lead(cluster: Cluster, before: Indices, after: Indices) -> bool:
    """Whether every preferred leader that changes could go on leading."""
    changed = (before[:, 0] != after[:, 0]).nonzero()[0]
    return bool(may_lead(cluster, before)[changed, 0].all())


def _leader_range(request: Request, sets: Indices) -> int:
    led = leader_counts(sets, request.cluster.broker_count)[request.allowed & request.cluster.is_live]
    return int(led.max() - led.min()) if len(led) else 0


def in_preference_order(before: Indices, sets: Indices, in_place: Flags | None = None) -> Indices:
    """Replica lists in preference order: replicas that stay keep their order, and the new ones follow.

    A broker with a new copy is the worst preferred leader, the longest-standing replica the best. Rows flagged `in_place`
    keep their slots (substitution: the new broker takes over exactly its predecessor's role).
    """
    new = added(before, sets)
    rank = np.where(sets == NONE, 2, np.where(new, 1, 0))
    if in_place is not None:
        rank[in_place] = np.where(sets[in_place] == NONE, 2, 0)
    order = np.argsort(rank, axis=1, kind="stable")
    return np.take_along_axis(sets, order, axis=1)


def choose_leaders(request: Request, sets: Indices, rows: Flags, eligible: Flags, before: Indices | None = None) -> Indices:
    """The sets with chosen preferred leaders in the flagged rows, given those of the other rows.

    Args:
        request: with the measure to balance.
        sets: P x W, in preference order.
        rows: P, partitions whose leader may change.
        eligible: P x W, replicas that may lead.
        before: P, preferred leaders until now; None: the first of each set.
    """
    picked, count = np.nonzero(rows)[0], request.cluster.broker_count
    if request.options.measure == "bytes out":
        weight = bytes_out_of(request.cluster)
        others = by_bytes_out.served(sets[~rows], weight[~rows], count)
        return with_leaders(sets, picked, by_bytes_out.balance(sets, picked, eligible, weight, others))
    leader = by_count.balance(sets, picked, eligible, count, leader_counts(sets[~rows], count), before)
    return with_leaders(sets, picked, leader)
