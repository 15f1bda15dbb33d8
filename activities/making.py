"""From what an operator asks to a placement plan: which planner, on which maps, and what speaks against the rest of the wish."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import pydantic

from activities import evacuations
from activities.observing import View, regions
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.inputs import (
    DecommissionInput,
    EvacuateLeadersInput,
    RebalanceInput,
    RunPlanInput,
    ScaleUpInput,
    SetReplicationFactorInput,
)
from kafka_runbooks.models.placement import ReassignmentMap
from kafka_runbooks.models.results import Reason
from kafka_runbooks.placement import planners
from kafka_runbooks.placement.errors import InvalidRequest
from kafka_runbooks.placement.given import given
from kafka_runbooks.placement.plan import Plan
from kafka_runbooks.placement.wishes import Options
from kafka_runbooks.safety.moves import reasons_not_to_remove


@dataclass(frozen=True)
class Made:
    """What a planner made of a wish."""

    plan: Plan
    title: str
    nothing: str
    """What to say where there is nothing to do."""
    leaving: tuple[int, ...] = ()
    reasons: Sequence[Reason] = ()
    """What speaks against what the runbook does beside moving."""
    goes_on: bool = False
    """There is something to do although nothing moves."""


def rebalance(clients: ClusterClients, view: View, request: RebalanceInput) -> Made:
    only = None if request.map is None else (request.map,)
    options = Options(
        topics=request.topics or None,
        regions=regions(view, only),
        measure=request.level,
        target_spread=request.target_spread,
        max_moved_bytes=request.max_moved_bytes,
    )
    what = f"map {request.map}" if request.map is not None else "every map" if options.regions is not None else "the cluster"
    return Made(planners.rebalance(view.cluster, options), f"rebalance {what}", f"{what} is as level as it can be")


def scale_up(clients: ClusterClients, view: View, request: ScaleUpInput) -> Made:
    new = _listed(request.brokers)
    maps = sorted({view.map_of[broker] for broker in request.brokers if broker in view.map_of})
    down = sorted(set(request.brokers) - view.snapshot.live_broker_ids)
    if down:
        raise InvalidRequest(
            f"brokers: {down} are not registered with the cluster; live: {sorted(view.snapshot.live_broker_ids)}"
        )
    options = Options(
        regions=regions(view, maps or None),
        measure=request.level,
        target_spread=request.target_spread,
        max_moved_bytes=request.max_moved_bytes,
    )
    if _hold_something(view, request.brokers):
        # A run that was broken off has brought something already: what is left is to level.
        made = planners.rebalance(view.cluster, options)
    else:
        made = planners.scale_up(view.cluster, request.brokers, options)
    return Made(made, f"scale up with brokers {new}", f"brokers {new} are level with the others")


def _hold_something(view: View, brokers: Sequence[int]) -> bool:
    return any(set(brokers) & set(partition.replicas) for partition in view.snapshot.partitions)


def decommission(clients: ClusterClients, view: View, request: DecommissionInput) -> Made:
    leaving = leaving_brokers(view, request)
    names = _listed(leaving)
    # One that is down and holds nothing isn't in the metadata any more; there may still be a pod to remove.
    known = sorted(set(leaving) & set(view.cluster.broker_ids.tolist()))
    maps = sorted({view.map_of[broker] for broker in known if broker in view.map_of})
    options = Options(regions=regions(view, maps or None), leaders="keep")
    made = planners.decommission(view.cluster, known, options) if known else given(view.cluster, ReassignmentMap(partitions=()))
    reasons: list[Reason] = []
    if request.remove_pods:
        pods = clients.kubernetes.broker_pods()
        reasons = reasons_not_to_remove(leaving, pods, clients.kubernetes.stateful_sets())
    return Made(
        made, f"decommission brokers {names}", f"brokers {names} hold no replica", leaving, reasons, goes_on=request.remove_pods
    )


def leaving_brokers(view: View, request: DecommissionInput) -> tuple[int, ...]:
    """The brokers that are meant, by id or by rack."""
    if request.rack is None:
        return tuple(sorted(request.brokers))
    found = tuple(sorted(broker.id for broker in view.snapshot.brokers if broker.rack == request.rack))
    if not found:
        racks = sorted({broker.rack for broker in view.snapshot.brokers if broker.rack is not None})
        raise InvalidRequest(f"rack: {request.rack!r} has no live broker; known: {racks}")
    return found


def replication_factor(clients: ClusterClients, view: View, request: SetReplicationFactorInput) -> Made:
    options = Options(topics=request.topics, regions=regions(view), leaders="keep")
    made = planners.set_replication(view.cluster, request.replication_factor, options)
    what = f"replication factor {request.replication_factor} for {', '.join(request.topics[:5])}"
    return Made(made, what, f"{what}: it is so already")


def evacuation(clients: ClusterClients, view: View, request: EvacuateLeadersInput) -> Made:
    names = _listed(request.brokers)
    if request.back:
        wanted = evacuations.way_back(clients, view, request.brokers)
        made = given(view.cluster, wanted, "leaders back")
        return Made(made, f"leaders back to brokers {names}", f"brokers {names} lead what they led before the evacuation")
    made = planners.evacuate_leaders(view.cluster, request.brokers)
    return Made(made, f"evacuate leaders from brokers {names}", f"brokers {names} are no partition's preferred leader")


def run_given(clients: ClusterClients, view: View, request: RunPlanInput) -> Made:
    wanted = request.plan if request.plan is not None else _from_config_map(clients, str(request.config_map))
    if not wanted.partitions:
        raise InvalidRequest("plan.partitions: it is empty")
    known = {(partition.topic, partition.partition) for partition in view.snapshot.partitions}
    brokers = set(view.cluster.broker_ids.tolist())
    seen: dict[tuple[str, int], int] = {}
    wrong = []
    for number, entry in enumerate(wanted.partitions):
        where = f"plan.partitions.{number}"
        if (entry.topic, entry.partition) not in known:
            wrong.append(f"{where}: {entry.topic}-{entry.partition} is unknown to the cluster")
        if (first := seen.setdefault((entry.topic, entry.partition), number)) != number:
            wrong.append(f"{where}: {entry.topic}-{entry.partition} is in plan.partitions.{first} already")
        if len(set(entry.replicas)) != len(entry.replicas):
            wrong.append(f"{where}.replicas: a broker appears twice in {list(entry.replicas)}")
        if unknown := sorted(set(entry.replicas) - brokers):
            wrong.append(f"{where}.replicas: {unknown} are unknown to the cluster; known: {sorted(brokers)}")
    if wrong:
        raise InvalidRequest("; ".join(wrong[:20]) + (f"; and {len(wrong) - 20} more" if len(wrong) > 20 else ""))
    count = f"{len(wanted.partitions)} partitions"
    return Made(given(view.cluster, wanted), f"run the given plan of {count}", f"{count} are where the plan wants them")


def _from_config_map(clients: ClusterClients, name: str) -> ReassignmentMap:
    """The JSON under a ConfigMap's one key (gzipped under `binaryData`, or plain)."""
    found = clients.kubernetes.read_record(name)
    entries = {key: value for key, value in (found or {}).items() if key not in ("summary", "parts")}
    if not entries:
        raise InvalidRequest(f"config_map: there is no ConfigMap {name!r} with a reassignment JSON in the cluster's namespace")
    if len(entries) > 1:
        raise InvalidRequest(f"config_map: {name!r} has several keys ({', '.join(sorted(entries))}); leave one")
    data = next(iter(entries.values()))
    try:
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return ReassignmentMap.model_validate_json(text)
    except pydantic.ValidationError as error:
        lines = [f"plan.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:10]]
        raise InvalidRequest(f"config_map {name}: {'; '.join(lines)}") from error
    except (OSError, EOFError, ValueError) as error:
        raise InvalidRequest(f"config_map {name}: can't be read: {error}") from error


def _listed(brokers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(brokers)))
