"""What must hold on the live cluster before a runbook may be called done.

Pure: from what was observed at the end to checks. A check that doesn't hold is reported with what was found, and the runbook
has failed, whatever its steps said of themselves.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from kafka_runbooks.models.cluster import (
    ClusterSnapshot,
    Direction,
    MetadataQuorum,
    Reassignment,
    ThrottledReplicas,
    ThrottleRates,
    TopicPartition,
)
from kafka_runbooks.models.ensemble import Ensemble
from kafka_runbooks.models.features import BrokerFeatures, finalised, releases, to_finalise
from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Claim, KafkaPod, Node, StatefulSet
from kafka_runbooks.models.plans import Plan, PlannedPartition, PromisedTopic
from kafka_runbooks.models.results import Check
from kafka_runbooks.safety.availability import not_led_by_preferred, out_of_sync, would_lead
from kafka_runbooks.safety.ensemble import not_in_sync

ONE_READY_POD = "one Ready pod"
MADE_ANEW = "pods made anew"
FEATURES = "one release, features finalised"


def replicas_in_sync(snapshot: ClusterSnapshot, broker_id: int) -> Check:
    """Every replica of the broker is in sync, topics that were made meanwhile included."""
    assigned = list(snapshot.on_broker(broker_id))
    late = out_of_sync(snapshot, broker_id)
    detail = f"{len(assigned) - len(late)} of {len(assigned)} replicas of broker {broker_id} are in sync"
    if late:
        detail += ": not " + ", ".join(str(partition.name) for partition in late[:10])
    return Check(name="replicas in sync", passed=broker_id in snapshot.live_broker_ids and not late, detail=detail)


def replicas_as_planned(
    snapshot: ClusterSnapshot, planned: Sequence[PlannedPartition], gone: Collection[TopicPartition] = ()
) -> Check:
    """Every partition of the plan has exactly the replicas that the plan wants, in this order.

    Args:
        planned: those that still exist.
        gone: those that don't, or are another topic's by now; named, and counted nowhere.
    """
    now = {partition.name: partition.replicas for partition in snapshot.partitions}
    wrong = [f"{one.name} is {list(now.get(one.name, ()))}" for one in planned if now.get(one.name) != one.after]
    detail = f"{len(planned) - len(wrong)} of {len(planned)} partitions"
    if gone:
        detail += f"; gone or new since the plan: {', '.join(map(str, sorted(gone)[:10]))}"
    if wrong:
        detail += ": not " + "; ".join(wrong[:10])
    return Check(name="replicas as planned", passed=not wrong, detail=detail)


def topics_as_planned(
    snapshot: ClusterSnapshot,
    configs: Mapping[str, Mapping[str, str]],
    promised: Sequence[PromisedTopic],
    deleted: Mapping[str, str],
) -> Check:
    """Topics that were made, grown or configured are as planned, and those that were deleted are gone.

    Args:
        snapshot: the cluster.
        configs: what is set on each topic itself.
        promised: what each must have.
        deleted: name -> id.
    """
    wrong = []
    for one in promised:
        there = snapshot.by_topic.get(one.name, ())
        placed = [partition.replicas for partition in there[one.first_partition :]]
        own = configs.get(one.name, {})
        other = [key for key, value in one.configs.items() if own.get(key) != value]
        if not there:
            wrong.append(f"{one.name} doesn't exist")
        elif one.replicas and placed != list(one.replicas):
            wrong.append(f"partitions of {one.name} from {one.first_partition} on are on {placed}")
        elif other:
            wrong.append(f"{one.name} has {', '.join(f'{key}={own.get(key)}' for key in other)}")
    wrong += [f"{name} is still there" for name, topic_id in deleted.items() if snapshot.topic_ids.get(name) == topic_id]
    topics = {*(one.name for one in promised), *deleted}
    detail = f"{len(topics)} topics" + (f": not {'; '.join(wrong[:10])}" if wrong else "")
    return Check(name="topics as planned", passed=not wrong, detail=detail)


def is_empty(snapshot: ClusterSnapshot, broker_id: int) -> Check:
    """Nothing is left on a broker that leaves."""
    left = [str(partition.name) for partition in snapshot.on_broker(broker_id)]
    detail = f"{len(left)} replicas {' '.join(left[:10])}".strip()
    return Check(name=f"broker {broker_id} is empty", passed=not left, detail=detail)


def has_no_vote(quorum: MetadataQuorum | None, node_id: int) -> Check:
    """The node has left the metadata quorum."""
    voters = sorted(quorum.voter_ids) if quorum is not None else []
    return Check(
        name=f"controller {node_id} has no vote", passed=node_id not in voters, detail=f"voters: {', '.join(map(str, voters))}"
    )


def leads_nothing(snapshot: ClusterSnapshot, broker_id: int) -> Check:
    """Nobody's requests go to the broker: it leads nothing now, and would lead nothing if leaders were elected anew."""
    led = [str(partition.name) for partition in snapshot.partitions if partition.leader == broker_id]
    would = [
        str(partition.name)
        for partition in snapshot.on_broker(broker_id)
        if partition.leader != broker_id and would_lead(snapshot, partition.replicas, partition.in_sync) == broker_id
    ]
    detail = f"leads {len(led)} partitions {' '.join(led[:10])}".strip()
    if would:
        detail += f"; would lead {len(would)} more at the next election: {' '.join(would[:10])}"
    return Check(name=f"broker {broker_id} leads nothing", passed=not led and not would, detail=detail)


def in_sync_no_worse(snapshot: ClusterSnapshot, planned: Sequence[PlannedPartition]) -> Check:
    """No partition of the plan has fewer in-sync replicas than when it was made, where the plan keeps as many."""
    before = {partition.name: min(len(partition.in_sync), len(partition.after)) for partition in planned}
    worse = [
        f"{partition.name} has {len(partition.in_sync)}, had {before[partition.name]}"
        for partition in snapshot.partitions
        if len(partition.in_sync) < before.get(partition.name, 0)
    ]
    return Check(name="in-sync replicas no worse", passed=not worse, detail="; ".join(worse[:10]) or f"{len(before)} partitions")


def preferred_leaders_lead(snapshot: ClusterSnapshot, planned: Sequence[PlannedPartition]) -> Check:
    """Each partition of the plan is led by its first replica, where that one is up and in sync."""
    names = {partition.name for partition in planned}
    found = [partition for partition in snapshot.partitions if partition.name in names]
    wrong = not_led_by_preferred(snapshot, found)
    detail = f"{len(found) - len(wrong)} of {len(found)}"
    if wrong:
        detail += ": not " + ", ".join(str(partition.name) for partition in wrong[:10])
    return Check(name="preferred leaders lead", passed=not wrong, detail=detail)


class Leftovers(NamedTuple):
    """What was found at the end that may be the run's: on the cluster, and in its records."""

    lists: Mapping[str, ThrottledReplicas] = {}
    rates: Mapping[int, ThrottleRates] = {}
    """Of the brokers that answered."""
    silent: Collection[int] = ()
    """Live brokers that didn't."""
    cordoned_nodes: Collection[str] = ()
    """Whose cordon names the run as its owner."""
    records: Sequence[str] = ()
    """What its ledger and its overrides still say, or why they can't be read."""


def no_throttle_of_ours(plan: Plan, found: Leftovers, our_rates: Mapping[int, ThrottleRates]) -> Check:
    """The records are empty; no list has an entry of the plan's that wasn't there before; no broker has the rate that we set.

    Args:
        our_rates: by broker, what we set last.
    """
    left = list(found.records)
    for topic, wanted in plan.throttled_entries().items():
        before, now = plan.lists_before.get(topic, ThrottledReplicas()), found.lists.get(topic, ThrottledReplicas())
        extra = (set(wanted.leader) & _entries(now.leader)) - _entries(before.leader)
        extra |= (set(wanted.follower) & _entries(now.follower)) - _entries(before.follower)
        if extra:
            left.append(f"topic {topic}: {', '.join(sorted(extra)[:5])}")
    for broker_id, ours in sorted(our_rates.items()):
        for direction in Direction:
            rate = found.rates.get(broker_id, ThrottleRates()).of(direction)
            was_there = direction is Direction.LEADER and plan.rates_before.get(broker_id) == rate
            if rate is not None and rate == ours.of(direction) and not was_there:
                left.append(f"broker {broker_id}: {direction} replication throttle {rate} B/s")
    left += [f"broker {broker} doesn't answer: its rates are not known" for broker in sorted(found.silent)]
    left += [f"node {node}: cordon" for node in sorted(found.cordoned_nodes)]
    return Check(name="no throttle or cordon of ours", passed=not left, detail="; ".join(left[:10]) or "none is left")


def _entries(text: str) -> set[str]:
    return {entry.strip() for entry in text.split(",")}


def no_reassignment_of_ours(reassignments: Sequence[Reassignment], plan: Plan, *, is_rollback: bool = False) -> Check:
    """The controller carries out nothing towards the replicas that the plan wants; whatever any record says of it.

    Args:
        is_rollback: the plan is an inverse: what it undoes must not go on either.
    """
    ours: dict[TopicPartition, list[set[int]]] = {}
    for one in plan.planned:
        ours[one.name] = [set(one.after), set(one.before)] if is_rollback else [set(one.after)]
    left = [str(move.name) for move in reassignments if set(move.target) in ours.get(move.name, [])]
    return Check(name="no reassignment of ours", passed=not left, detail=", ".join(left[:10]) or "none")


def one_ready_pod(pods: Sequence[BrokerPod], nodes: Sequence[Node], place: BrokerPlace) -> list[Check]:
    """One pod carries the broker's id, it is Ready, and exactly its node carries the broker's label."""
    carriers = [pod for pod in pods if pod.broker_id == place.broker_id]
    ready = [pod for pod in carriers if pod.is_ready and not pod.is_terminating and pod.name == place.pod]
    where = ", ".join(f"{pod.name} on {pod.node}{'' if pod.is_ready else ' (not Ready)'}" for pod in carriers)
    nodes_of_pods = {pod.node for pod in carriers}
    stray = [
        node.name for node in nodes if node.broker_id == place.broker_id and node.is_ready and node.name not in nodes_of_pods
    ]
    return [
        Check(name=ONE_READY_POD, passed=len(carriers) == 1 and len(ready) == 1, detail=where or "no pod"),
        Check(name="no stray node label", passed=not stray, detail=", ".join(stray) or "none"),
    ]


def made_anew(pods: Sequence[KafkaPod], sets: Sequence[StatefulSet], before: Mapping[str, str]) -> Check:
    """Each of these pods was made anew, from the current template of its StatefulSet, and is Ready.

    Args:
        before: pod -> its uid before.
    """
    newest, known = {found.name: found.update_revision for found in sets}, {pod.name: pod for pod in pods}
    wrong = []
    for name, uid in sorted(before.items()):
        pod = known.get(name)
        if pod is None or pod.is_terminating or pod.uid == uid:
            wrong.append(f"{name} is the one of before" if pod is not None else f"{name} doesn't exist")
        elif None not in (pod.revision, newest.get(pod.stateful_set)) and pod.revision != newest[pod.stateful_set]:
            wrong.append(f"{name} is of an older template than its StatefulSet's")
        elif not pod.is_ready:
            wrong.append(f"{name} is not Ready")
    detail = f"{len(before) - len(wrong)} of {len(before)} pods" + (f": not {'; '.join(wrong[:10])}" if wrong else "")
    return Check(name=MADE_ANEW, passed=not wrong, detail=detail)


def ensemble_in_sync(ensemble: Ensemble) -> Check:
    """The ensemble commits, and every server of its configuration has what was committed."""
    away = not_in_sync(ensemble)
    wrong = [f"it commits nothing: {ensemble.fault}"] if ensemble.committed_zxid is None else list(away.values())
    detail = "; ".join(wrong[:10]) or f"{len(ensemble.servers)} members"
    return Check(name="ensemble in sync", passed=not wrong and bool(ensemble.servers), detail=detail)


def features_finalised(found: Mapping[int, BrokerFeatures], live: Collection[int], upgraded: Collection[int]) -> Check:
    """Those that were upgraded run one release, and every live broker knows as finalised what all of them support.

    While others run an older release, that is what the older one has.
    """
    kinds = releases({broker: one for broker, one in found.items() if broker in upgraded})
    wrong = [f"{change} is not" for change in to_finalise(found)]
    wrong += [f"broker {broker} doesn't tell" for broker in sorted(set(live) - found.keys())]
    wrong += [f"{len(brokers)} brokers support {name}" for name, brokers in kinds.items() if len(kinds) > 1]
    shown = ", ".join(f"{name} {level}" for name, level in finalised(found.values()).items())
    return Check(name=FEATURES, passed=not wrong, detail="; ".join(wrong[:10]) or shown)


def have_ended(pods: Sequence[KafkaPod], before: Mapping[str, str]) -> Check:
    """None of these pods runs any more.

    Args:
        before: pod -> its uid.
    """
    left = sorted(pod.name for pod in pods if before.get(pod.name) == pod.uid)
    detail = f"{len(before) - len(left)} of {len(before)} pods" + (f": not {', '.join(left[:10])}" if left else "")
    return Check(name="pods have ended", passed=not left, detail=detail)


def claims_are_sound(claims: Mapping[str, Claim | None], place: BrokerPlace, *, disk_is_lost: bool) -> Check:
    """Every claim of the broker's pod is bound, and it is a new one where the old disk was given up."""
    wrong = []
    for name, claim in claims.items():
        if claim is None or claim.is_terminating or claim.volume is None:
            wrong.append(f"claim {name} is missing, terminating or unbound")
        elif disk_is_lost and claim.uid in place.claim_uids:
            wrong.append(f"claim {name} is still the lost one")
    bound = ", ".join(f"{name} is bound to {claim.volume}" for name, claim in claims.items() if claim is not None)
    return Check(name="volume claim", passed=bool(claims) and not wrong, detail="; ".join(wrong) or bound or "no claim")
