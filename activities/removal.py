"""Removing what a ledger lists, where it still is as its run set it.

Each item is removed on its own and by the answer that it got: a broker that is silent, a node or a topic whose change is refused,
a reassignment that the controller doesn't cancel stays in the ledger, with its reason, and the others are removed. What stays in
flight keeps the entries and rates that throttle it.
"""

import time
from collections.abc import Collection, Mapping

from activities.in_parallel import for_each
from activities.ledgers import EVERY_LOG_DIRECTORY, restore_rates, write
from activities.permits import Fence
from kafka_runbooks.clients.errors import ClientError, Unreachable
from kafka_runbooks.clients.protocols import Kafka, Kubernetes
from kafka_runbooks.models.cluster import ThrottleRates, TopicPartition
from kafka_runbooks.models.ledger import EntryLease, Item, Kind, Ledger, OwnedReassignment
from kafka_runbooks.models.messages import Released
from kafka_runbooks.throttle import leases

SETTLE_POLLS, SETTLE_SECONDS = 20, 0.25
"""How long brokers may take to learn of a cancelled reassignment."""
IS_DOWN = "it is down"
IN_FLIGHT = "a reassignment that it throttles is still in flight"


class Why(dict[Item, str]):
    """Why something is still there."""

    is_unanswered = False
    """Somebody didn't answer just now."""

    def note(self, item: Item, error: ClientError) -> None:
        """An act on this item has failed."""
        self[item] = str(error)
        self.is_unanswered |= isinstance(error, Unreachable)


def release(
    kafka: Kafka,
    kubernetes: Kubernetes,
    fence: Fence,
    ledger: Ledger,
    live: frozenset[int] | None,
    silent: set[int] | None = None,
) -> Released:
    """Remove everything that the ledger lists, and drop it from the ledger; what can't be removed stays in it.

    The run's reassignments in progress are cancelled first (KIP-455: replicas return to what they were), while the throttles
    still hold.

    Args:
        live: brokers that are registered; None: Kafka doesn't answer, and only what is in Kubernetes can be removed.
        silent: those of them that have just not answered: they aren't asked again, and others are added.
    """
    why, before = Why(), ledger
    if live is None:
        ledger = _uncordon(kubernetes, fence, ledger, why)
        why |= dict.fromkeys(_in_kafka(ledger), "Kafka doesn't answer")
        why.is_unanswered = True
        return _released(before, ledger, why)
    silent = set() if silent is None else silent
    ledger = _without_renewed_topics(kafka, kubernetes, ledger)
    ledger, in_flight = _cancel(kafka, kubernetes, fence, ledger, why)
    ledger = _remove_entries(kafka, kubernetes, fence, ledger, in_flight, why)
    moving = [move for move in ledger.reassignments if move.name in in_flight]
    throttling = {broker for move in moving for broker in (*move.before, *move.after)}
    why |= {_broker(broker): IN_FLIGHT for broker in throttling}
    why |= {_broker(broker): "it doesn't answer" for broker in (live & silent) - throttling}
    why |= {_broker(broker): IS_DOWN for broker in ledger.rates.keys() - live}
    why |= {Item(Kind.LOG_DIRECTORIES, str(broker)): IS_DOWN for broker in ledger.log_directories.keys() - live}
    ledger = release_rates(kafka, kubernetes, fence, ledger, live - silent - throttling, why, silent)
    ledger = _uncordon(kubernetes, fence, ledger, why)
    ledger = release_log_directories(kafka, kubernetes, fence, ledger, live - silent, why)
    return _released(before, ledger, why)


def _in_kafka(ledger: Ledger) -> list[Item]:
    return [
        *(_broker(broker) for broker in ledger.rates),
        *(Item(Kind.TOPIC, topic) for topic in ledger.entries),
        *(Item(Kind.LOG_DIRECTORIES, str(broker)) for broker in ledger.log_directories),
        *(Item(Kind.REASSIGNMENT, str(move.name)) for move in ledger.reassignments),
    ]


def _released(before: Ledger, ledger: Ledger, why: Why) -> Released:
    return Released(
        is_unanswered=why.is_unanswered,
        given_back=before.less(ledger).describe(),
        left_behind=ledger.describe(why),
        rates={
            broker: ThrottleRates(**{f"{one}_bytes_per_s": lease.ours.of(one) for one in lease.directions})
            for broker, lease in before.rates.items()
            if broker not in ledger.rates
        },
    )


def release_rates(
    kafka: Kafka,
    kubernetes: Kubernetes,
    fence: Fence,
    ledger: Ledger,
    brokers: Collection[int],
    why: Why | None = None,
    silent: set[int] | None = None,
) -> Ledger:
    """Restore the rates of these brokers, and drop from the ledger those that answered.

    Args:
        why: takes the reasons of the others.
        silent: takes those that didn't answer.
    """
    held = {broker: lease for broker, lease in ledger.rates.items() if broker in brokers}
    if not held:
        return ledger
    failed = restore_rates(kafka, held, fence.check)
    if why is not None:
        for broker, error in failed.items():
            why.note(_broker(broker), error)
    if silent is not None:
        silent |= {broker for broker, error in failed.items() if isinstance(error, Unreachable)}
    left = {broker: lease for broker, lease in ledger.rates.items() if broker not in held or broker in failed}
    return _written(kubernetes, ledger, rates=left)


def release_log_directories(
    kafka: Kafka, kubernetes: Kubernetes, fence: Fence, ledger: Ledger, brokers: Collection[int], why: Why | None = None
) -> Ledger:
    """Uncordon log directories of these brokers, where they still are as the run cordoned them; see `release_rates`."""
    held = ledger.log_directories.keys() & set(brokers)
    if not held:
        return ledger

    def restore(broker: int) -> None:
        if kafka.log_directory_cordons([broker])[broker] == EVERY_LOG_DIRECTORY:
            fence.check()
            kafka.cordon_log_directories(broker, ledger.log_directories[broker])

    _, failed = for_each(held, restore)
    if why is not None:
        for broker, error in failed.items():
            why.note(Item(Kind.LOG_DIRECTORIES, str(broker)), error)
    left = {broker: was for broker, was in ledger.log_directories.items() if broker not in held or broker in failed}
    return _written(kubernetes, ledger, log_directories=left)


def _uncordon(kubernetes: Kubernetes, fence: Fence, ledger: Ledger, why: Why) -> Ledger:
    left = []
    for cordon in ledger.cordons:
        fence.check()
        try:
            kubernetes.uncordon(cordon.node, cordon.uid, str(ledger.owner))
        except ClientError as error:
            left.append(cordon)
            why.note(Item(Kind.NODE, cordon.node), error)
    return _written(kubernetes, ledger, cordons=tuple(left))


def _without_renewed_topics(kafka: Kafka, kubernetes: Kubernetes, ledger: Ledger) -> Ledger:
    """What concerned topics that were deleted and made again is gone: a topic of the same name is someone else's."""
    known = {move.topic: move.topic_id for move in ledger.reassignments if move.topic_id is not None}
    renewed = kafka.snapshot().renewed_topics(known) if known else frozenset()
    return _written(
        kubernetes,
        ledger,
        reassignments=tuple(move for move in ledger.reassignments if move.topic not in renewed),
        entries={topic: lease for topic, lease in ledger.entries.items() if topic not in renewed},
    )


def _remove_entries(
    kafka: Kafka, kubernetes: Kubernetes, fence: Fence, ledger: Ledger, in_flight: Collection[TopicPartition], why: Why
) -> Ledger:
    """All entries but those of reassignments that are still in flight."""
    done = leases.entries_to_remove(ledger.entries, in_flight)
    if not done:
        return ledger
    try:
        fence.check()
        lists = kafka.throttled_replicas(done)
        refused = kafka.set_throttled_replicas({topic: leases.remove_entries(lists[topic], done[topic]) for topic in lists})
    except ClientError as error:
        refused = dict.fromkeys(done, str(error))
        why.is_unanswered |= isinstance(error, Unreachable)
    gone: Mapping[str, EntryLease] = {topic: lease for topic, lease in done.items() if topic not in refused}
    ledger = _written(kubernetes, ledger, entries=leases.without_entries(ledger.entries, gone))
    why |= {Item(Kind.TOPIC, topic): refused.get(topic, IN_FLIGHT) for topic in ledger.entries}
    return ledger


def _cancel(
    kafka: Kafka, kubernetes: Kubernetes, fence: Fence, ledger: Ledger, why: Why
) -> tuple[Ledger, frozenset[TopicPartition]]:
    """Cancel the run's reassignments, and restore the order of replicas.

    Returns:
        The ledger with those that are still in flight, or aren't in order again; and the names of the former.
    """
    moves = {move.name: move for move in ledger.reassignments}
    # Until the controller has said otherwise.
    in_flight = frozenset(moves)
    kept: dict[TopicPartition, str] = {}
    if not moves:
        return ledger, in_flight
    try:
        running = _running(kafka, moves)
        if running:
            fence.check()
            refused = kafka.alter_reassignments(dict.fromkeys(sorted(running)))
            # By the controller's list: a topic that is gone has no reassignment, whatever the answer was.
            in_flight = _running(kafka, moves)
            kept = {name: refused.get(name, "it is still in flight") for name in in_flight}
        else:
            in_flight = frozenset()
        kept |= _restore_order(kafka, fence, {name: moves[name] for name in moves.keys() - in_flight}, running)
    except ClientError as error:
        kept = {name: kept.get(name, str(error)) for name in moves}
        why.is_unanswered |= isinstance(error, Unreachable)
    why |= {Item(Kind.REASSIGNMENT, str(name)): reason for name, reason in kept.items()}
    left = tuple(move for move in ledger.reassignments if move.name in kept)
    return _written(kubernetes, ledger, reassignments=left), in_flight


def _running(kafka: Kafka, moves: Mapping[TopicPartition, OwnedReassignment]) -> frozenset[TopicPartition]:
    return frozenset(
        moving.name
        for moving in kafka.reassignments()
        if moving.name in moves and set(moving.target) == set(moves[moving.name].after)
    )


def _restore_order(
    kafka: Kafka, fence: Fence, moves: Mapping[TopicPartition, OwnedReassignment], cancelled: Collection[TopicPartition]
) -> dict[TopicPartition, str]:
    """Restore the order of cancelled reassignments: Kafka leaves them in the order of the union, with another preferred leader.

    One that an interrupted attempt has cancelled is restored too. One that ended before the cancel reached it is at its
    target, and stays: restoring its old replicas would copy them again.

    Returns:
        Those whose order could not be restored, with the reason.
    """
    disordered: list[TopicPartition] = []
    unsettled: list[TopicPartition] = []
    for number in range(SETTLE_POLLS):
        if number:
            time.sleep(SETTLE_SECONDS)
        found = {partition.name: partition.replicas for partition in kafka.snapshot().partitions if partition.name in moves}
        disordered = [
            name
            for name, replicas in found.items()
            if set(replicas) == set(moves[name].before)
            and replicas != moves[name].after
            and (name in cancelled or replicas != moves[name].before)
        ]
        # A broker that hasn't learned of the cancel yet still reports the union of old and new replicas.
        asked = found.keys() & set(cancelled)
        unsettled = [name for name in asked if set(found[name]) not in (set(moves[name].before), set(moves[name].after))]
        if not unsettled:
            break
    failed = dict.fromkeys(unsettled, "the brokers don't know yet that it was cancelled")
    if disordered:
        fence.check()
        refused = kafka.alter_reassignments({name: moves[name].before for name in sorted(disordered)})
        failed |= {name: f"its replicas' order is not restored: {reason}" for name, reason in refused.items()}
    return failed


def _written(kubernetes: Kubernetes, ledger: Ledger, **changed: object) -> Ledger:
    if all(getattr(ledger, field) == value for field, value in changed.items()):
        return ledger
    return write(kubernetes, ledger.model_copy(update=changed))


def _broker(broker: int) -> Item:
    return Item(Kind.BROKER, str(broker))
