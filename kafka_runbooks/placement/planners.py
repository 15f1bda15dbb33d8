"""The planners: from an observed cluster and a wish to a plan, one function each.

All of them are the same three questions (`solving`): what may stay, where the rest goes, and whether more may move to level. They
differ in which brokers are allowed, which replication factor is wanted and how far to level.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kafka_runbooks.placement import affinity, leaders, maps, problems, solving
from kafka_runbooks.placement.arrays import NONE, Cluster, Flags, Indices, added, distinct_racks, holds
from kafka_runbooks.placement.errors import BadWish, InFlight
from kafka_runbooks.placement.plan import Plan, settle
from kafka_runbooks.placement.problems import Measure
from kafka_runbooks.placement.snapshots import broker_indices

ALL_MAPPED, ALL_KNOWN = -1, -2
"""topicmappr's reserved broker ids: every broker in the map as it is, every broker of the cluster."""


@dataclass(frozen=True)
class Options:
    """What every planner understands."""

    topics: Sequence[str] | None = None
    """Names or anchored regexes; None: all."""
    exclude: Sequence[str] = ()
    regions: maps.Regions | None = None
    """Maps; None: one map of all live brokers."""
    measure: Measure = "utilisation"
    """What is to be level."""
    min_racks: int | None = None
    """Racks a set must span; None: as many as it can. 1: none asked for."""
    leaders: Literal["balance", "keep"] = "balance"
    """`keep` names a new preferred leader only where the old one goes."""
    on_target: bool = False
    """Plan on the target of reassignments in progress, instead of refusing them."""
    target_spread: float | None = None
    """How far above the best possible spread is level enough; a fraction of capacity, or the measure's unit."""
    max_moved_bytes: int | None = None
    within_racks: bool = False
    """Moves that are not forced stay inside a rack (topicmappr's `--locality-scoped`)."""
    smallest_moved_bytes: int = 0
    """Partitions smaller than this are not moved to level (topicmappr's `--partition-size-threshold`)."""
    prove: bool = False
    """Solve for the best possible spread exactly where the cluster is small enough, instead of bounding it."""
    size_factor: float = 1.0
    """Plan as if partitions were this much larger, before a change of retention."""


DEFAULTS = Options()


def rebuild(
    cluster: Cluster,
    brokers: Iterable[int],
    options: Options = DEFAULTS,
    *,
    replication: int | None = None,
    force: bool = False,
    substitute: bool = False,
) -> Plan:
    """Bring topics onto a list of brokers: what is on others moves, the rest stays; with `force` all of it is levelled.

    :param brokers: ids; ALL_MAPPED and ALL_KNOWN stand for those brokers
    :param substitute: pair leaving and new brokers by rack
    """
    cluster = _observed(cluster, options)
    wanted = set(brokers)
    scope = _scope(cluster, options)
    mapped: Flags = np.zeros(cluster.broker_count, dtype=np.bool_)
    held = cluster.replicas[scope]
    mapped[held[held >= 0]] = True
    allowed = np.zeros(cluster.broker_count, dtype=np.bool_)
    if ALL_MAPPED in wanted:
        allowed |= mapped
    if ALL_KNOWN in wanted:
        allowed |= cluster.is_live
    allowed[broker_indices(cluster, wanted - {ALL_MAPPED, ALL_KNOWN})] = True
    pairs = None
    if substitute:
        gone = np.nonzero(mapped & ~(allowed & cluster.is_live))[0]
        pairs = affinity.pair(cluster, gone, np.nonzero(allowed & cluster.is_live & ~mapped)[0])
    return _plan("rebuild", cluster, options, allowed=allowed, replication=replication, moves=force, pairs=pairs)


def replace_brokers(
    cluster: Cluster,
    leaving: Iterable[int],
    replacements: Iterable[int] | None = None,
    options: Options = DEFAULTS,
    *,
    substitute: bool = False,
) -> Plan:
    """Move everything off some brokers; the bytes on them and no more.

    :param replacements: new brokers; None: any live broker takes its part
    :param substitute: each replacement takes over exactly one leaving broker's replicas, in its rack
    """
    cluster = _observed(cluster, options)
    gone = broker_indices(cluster, leaving, where="leaving")
    new = None if replacements is None else broker_indices(cluster, replacements, where="replacements")
    allowed = cluster.is_live.copy()
    allowed[gone] = False
    if new is not None and np.isin(new, gone).any():
        raise BadWish("replacements: a broker can't replace itself")
    pairs = None
    if substitute:
        if new is None:
            used = np.unique(cluster.replicas[cluster.replicas >= 0])
            new = np.setdiff1d(np.nonzero(allowed)[0], used)
        pairs = affinity.pair(cluster, gone, new)
    return _plan("replace", cluster, options, allowed=allowed, pairs=pairs)


def rebalance(cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None) -> Plan:
    """Level brokers (all live ones, or these) with the fewest bytes that get them there."""
    cluster = _observed(cluster, options)
    return _plan("rebalance", cluster, options, allowed=chosen(cluster, brokers), moves=True)


def scale_up(cluster: Cluster, new: Iterable[int], options: Options = DEFAULTS, brokers: Iterable[int] | None = None) -> Plan:
    """Bring new brokers to the level of the others.

    :raises BadWish: a broker that holds replicas already is not new
    """
    cluster = _observed(cluster, options)
    fresh = broker_indices(cluster, new, where="new")
    if not len(fresh):
        raise BadWish("new: name at least one broker to scale up with")
    old = [int(cluster.broker_ids[b]) for b in fresh if holds(cluster.replicas[_scope(cluster, options)], int(b)).any()]
    if old:
        raise BadWish(f"new: brokers {old} hold replicas already; `rebalance` levels brokers that are in use")
    allowed = chosen(cluster, brokers)
    allowed[fresh] = True
    return _plan("scale", cluster, options, allowed=allowed, moves=True)


def decommission(cluster: Cluster, leaving: Iterable[int] = (), options: Options = DEFAULTS, *, rack: str | None = None) -> Plan:
    """Empty several brokers, or a rack, at once: none of them is a destination, so that nothing moves twice."""
    cluster = _observed(cluster, options)
    gone = set(broker_indices(cluster, leaving, where="leaving").tolist())
    if rack is not None:
        if rack not in cluster.rack_names:
            raise BadWish(f"rack: {rack!r} is unknown; known: {list(cluster.rack_names)}")
        gone |= set(np.nonzero(cluster.racks == cluster.rack_names.index(rack))[0].tolist())
    if not gone:
        raise BadWish("leaving: name at least one broker, or a rack")
    allowed = cluster.is_live.copy()
    allowed[sorted(gone)] = False
    return _plan("decommission", cluster, options, allowed=allowed)


def set_replication(
    cluster: Cluster, replication: int, options: Options = DEFAULTS, brokers: Iterable[int] | None = None
) -> Plan:
    """Another replication factor. Down: live, in-sync, rack-diverse replicas stay, nothing is copied. Up: only new ones are."""
    if replication < 1:
        raise BadWish("replication: at least 1")
    cluster = _observed(cluster, options)
    return _plan("set-rf", cluster, options, allowed=chosen(cluster, brokers), replication=replication)


def spread_topics(cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None) -> Plan:
    """Each topic's replicas evenly over the brokers: counts per topic and broker differ by 1 where racks allow."""
    cluster = _observed(cluster, options)
    options = replace(options, measure="replica count")
    return _plan("spread", cluster, options, allowed=chosen(cluster, brokers), moves=True, by_topic=True)


def balance_leaders(
    cluster: Cluster, options: Options = DEFAULTS, brokers: Iterable[int] | None = None, *, by_share: bool = False
) -> Plan:
    """Preferred leaders as even as replica sets allow (exact); sets stay as they are.

    :param by_share: each broker leads its share of the replicas it holds (topicmappr's ratio), instead of all brokers alike
    """
    cluster = _observed(cluster, options)
    return _leaders_plan("leaders", cluster, options, chosen(cluster, brokers), by_share)


def evacuate_leaders(cluster: Cluster, leaving: Iterable[int], options: Options = DEFAULTS) -> Plan:
    """No preferred leader on some brokers; replicas stay.

    :raises BadWish: a partition has replicas on those brokers only
    """
    cluster = _observed(cluster, options)
    gone = broker_indices(cluster, leaving, where="brokers")
    rows = np.nonzero(_scope(cluster, options))[0]
    after, impossible = leaders.evacuate(cluster.replicas, rows, gone.tolist(), cluster.in_sync, cluster.broker_count)
    if len(impossible):
        names = ["{}-{}".format(*cluster.name(int(row))) for row in impossible[:5]]
        raise BadWish(
            f"{len(impossible)} partitions have no in-sync replica on another broker ({', '.join(names)}): "
            "evacuate fewer brokers at once, or move a replica first"
        )
    return _report("evacuate", cluster, options, cluster.replicas, after, cluster.is_live.copy(), [])


def _observed(cluster: Cluster, options: Options) -> Cluster:
    scope = _scope(cluster, options)
    busy = np.nonzero(cluster.in_flight & scope)[0]
    if len(busy):
        if not options.on_target:
            topic, number = cluster.name(int(busy[0]))
            raise InFlight(
                f"{len(busy)} partitions are being reassigned ({topic}-{number} …): wait for them, "
                "or plan on their target (on_target)"
            )
        cluster = cluster.on_target()
    if options.size_factor != 1.0:
        cluster = replace(cluster, size_bytes=np.rint(cluster.size_bytes * options.size_factor).astype(np.int64))
    return cluster


def _scope(cluster: Cluster, options: Options) -> Flags:
    topics = list(cluster.topics) if options.topics is None else maps.matching(options.topics, cluster.topics)
    scope = maps.rows_of(cluster, maps.excluding(options.exclude, topics))
    return scope


def chosen(cluster: Cluster, brokers: Iterable[int] | None) -> Flags:
    """B: these brokers, or all live ones."""
    if brokers is None:
        return cluster.is_live.copy()
    flags = np.zeros(cluster.broker_count, dtype=np.bool_)
    flags[broker_indices(cluster, brokers)] = True
    return flags


def _regions(cluster: Cluster, options: Options, allowed: Flags) -> list[maps.Region]:
    scope = _scope(cluster, options)
    if options.regions is None:
        return [maps.Region("", scope, allowed)]
    return [replace(region, scope=region.scope & scope, brokers=region.brokers & allowed) for region in options.regions.regions]


def _plan(
    kind: str,
    cluster: Cluster,
    options: Options,
    *,
    allowed: Flags,
    replication: int | None = None,
    moves: bool = False,
    pairs: dict[int, int] | None = None,
    by_topic: bool = False,
) -> Plan:
    regions = [region for region in _regions(cluster, options, allowed) if region.scope.any()]
    if by_topic:
        regions = [
            replace(region, scope=region.scope & (cluster.topic == t))
            for region in regions
            for t in np.unique(cluster.topic[region.scope]).tolist()
        ]
    sets: Indices | None = None
    made: list[tuple[problems.Problem, solving.Solution]] = []
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
    if sets is None:
        return _report(kind, cluster, options, cluster.replicas, cluster.replicas, allowed, [])
    before = made[-1][1].before
    sets = np.concatenate([sets, np.full((len(sets), before.shape[1] - sets.shape[1]), NONE, dtype=np.int32)], axis=1)
    in_place: Flags | None = None
    if pairs:
        in_place = np.asarray(np.isin(before, list(pairs)).any(axis=1))
    after = settle(before, sets, in_place)
    if pairs is None:  # A substitute takes over its predecessor's leaderships too.
        lost = ~holds(after, before[:, 0]) if options.leaders == "keep" else np.ones(len(after), dtype=np.bool_)
        for region in _regions(cluster, options, allowed):
            after = _led(cluster, before, after, region.scope & lost)
    plan = _report(kind, cluster, options, before, after, allowed, made)
    areas = tuple((region.scope, region.brokers) for region in _regions(cluster, options, allowed))
    return replace(plan, areas=areas, replication=replication, min_racks=options.min_racks)


def _led(cluster: Cluster, before: Indices, after: Indices, rows: Flags) -> Indices:
    """Choose preferred leaders of some rows, given those of the others."""
    picked, count = np.nonzero(rows)[0], cluster.broker_count
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


def _leaders_plan(kind: str, cluster: Cluster, options: Options, allowed: Flags, by_share: bool) -> Plan:
    after = cluster.replicas
    for region in _regions(cluster, options, allowed):
        rows = np.nonzero(region.scope)[0]
        eligible = cluster.in_sync & region.brokers[np.maximum(after, 0)]
        standing = leaders.counts(after[~region.scope], cluster.broker_count)
        if by_share:
            chosen_leaders = leaders.balance_by_share(after, rows, eligible, cluster.broker_count)
        else:
            chosen_leaders = leaders.balance(after, rows, eligible, cluster.broker_count, standing)
        after = leaders.lead(after, rows, chosen_leaders)
    return _report(kind, cluster, options, cluster.replicas, after, allowed, [])


def _report(
    kind: str,
    cluster: Cluster,
    options: Options,
    before: Indices,
    after: Indices,
    allowed: Flags,
    made: list[tuple[problems.Problem, solving.Solution]],
) -> Plan:
    wanted = np.zeros(cluster.partition_count, dtype=np.int64)
    for problem, _ in made:
        wanted = np.where(problem.scope, problem.spread, wanted)
    measured = made[0][0] if made else problems.make(cluster, _scope(cluster, options), allowed, measure=options.measure)
    observed = [problems.levels(problem, problems.observed_load(problem)) for problem in ([p for p, _ in made] or [measured])]
    spread_before = max((float(at.max() - at.min()) for at in observed if len(at)), default=0.0)
    return Plan(
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
    unsized = int((cluster.size_bytes[_scope(cluster, options)] == 0).sum())
    if unsized and options.measure != "replica count":
        yield f"{unsized} partitions have no size (empty, or unknown): they are spread by replica count"
    if options.regions is not None:
        if options.regions.unmapped_topics:
            yield f"topics in no map, left as they are: {', '.join(options.regions.unmapped_topics[:20])}"
        for topic, names_of_maps in options.regions.contested_topics.items():
            yield f"topic {topic} is in several maps ({', '.join(names_of_maps)}), left as it is"
