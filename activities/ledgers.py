"""The ledger of a run: everything it sets is recorded first, and removed according to the record.

These are parts of activities, called with the permit checked. Each can be interrupted between any two lines and called again:
it reads the ledger, observes the cluster, and does what is still to do.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from kafka_runbooks.clients import store
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.protocols import Kafka, Kubernetes
from kafka_runbooks.models.cluster import Direction, ThrottleRates, TopicPartition
from kafka_runbooks.models.kubernetes import Node
from kafka_runbooks.models.ledger import Cordon, EntryLease, Ledger, OwnedReassignment, Owner
from kafka_runbooks.models.messages import Released, Token
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.throttle import leases

LEASE_TIME = timedelta(minutes=30)
EVERY_LOG_DIRECTORY = "*"
SETTLE_POLLS, SETTLE_SECONDS = 20, 0.25
"""How long brokers may take to learn of a cancelled reassignment."""


def name_of(run_id: str) -> str:
    return f"kafka-runbooks-ledger-{run_id}"


def read(kubernetes: Kubernetes, token: Token) -> Ledger:
    """This run's ledger; an empty one where nothing was written yet."""
    found = store.load(kubernetes, name_of(token.run_id), Ledger)
    if found is not None:
        return found
    owner = Owner(workflow_id=token.workflow_id, run_id=token.run_id, expires_at=datetime.now(UTC) + LEASE_TIME)
    return Ledger(owner=owner, cluster=token.cluster)


def write(kubernetes: Kubernetes, ledger: Ledger) -> Ledger:
    """Store the ledger with its expiry renewed; an empty one is deleted."""
    name = name_of(ledger.owner.run_id)
    if ledger.is_empty:
        store.remove(kubernetes, name)
        return ledger
    renewed = ledger.owner.model_copy(update={"expires_at": datetime.now(UTC) + LEASE_TIME})
    ledger = ledger.model_copy(update={"owner": renewed})
    summary = "\n".join([f"owner: {ledger.owner}", f"expires: {renewed.expires_at:%Y-%m-%dT%H:%M:%SZ}", *ledger.describe()])
    store.save(kubernetes, store.LEDGER, name, ledger, summary)
    return ledger


def renewed(kubernetes: Kubernetes, ledger: Ledger) -> Ledger:
    """Renew the lease if less than half of it is left: called on every poll, written a few times an hour."""
    if ledger.is_empty or ledger.owner.expires_at - datetime.now(UTC) > LEASE_TIME / 2:
        return ledger
    return write(kubernetes, ledger)


def throttle(
    kafka: Kafka,
    kubernetes: Kubernetes,
    ledger: Ledger,
    copies: Sequence[Copy],
    live: frozenset[int],
    rates: Mapping[int, ThrottleRates] | int,
) -> Ledger:
    """Take the leases that hold these copies at the rates: topics' entries first, then each live broker's rates.

    Args:
        rates: bytes per second by broker and direction; a number is the leader rate of every live source.
    """
    ledger = list_entries(kafka, kubernetes, ledger, leases.entries_for(copies, live))
    if isinstance(rates, int):
        rates = dict.fromkeys(leases.sources_of(copies, live), ThrottleRates(leader_bytes_per_s=rates))
    # Destinations first, so that faster sources are already limited by what destinations may receive.
    destinations_first = sorted(rates, key=lambda broker: (rates[broker].follower_bytes_per_s is None, broker))
    return set_rates(kafka, kubernetes, ledger, {broker: rates[broker] for broker in destinations_first if broker in live})


def list_entries(kafka: Kafka, kubernetes: Kubernetes, ledger: Ledger, wanted: Mapping[str, EntryLease]) -> Ledger:
    """Add entries to topics' throttled replica lists; existing entries keep their owner."""
    lists, owned = {}, dict(ledger.entries)
    for topic, observed in kafka.throttled_replicas(wanted).items():
        together, added = leases.add_entries(observed, wanted[topic])
        if not (added.leader or added.follower):
            continue
        lists[topic] = together
        held = owned.get(topic, EntryLease())
        owned[topic] = EntryLease(
            leader=tuple(dict.fromkeys([*held.leader, *added.leader])),
            follower=tuple(dict.fromkeys([*held.follower, *added.follower])),
        )
    if owned != ledger.entries:
        ledger = write(kubernetes, ledger.model_copy(update={"entries": owned}))
    kafka.set_throttled_replicas(lists)
    return ledger


def remove_finished_entries(kafka: Kafka, kubernetes: Kubernetes, ledger: Ledger, moving: Collection[TopicPartition]) -> Ledger:
    """Remove the entries of partitions that no longer move from the topics' lists and from the ledger."""
    done = leases.entries_to_remove(ledger.entries, moving)
    if not done:
        return ledger
    lists = kafka.throttled_replicas(done)
    kafka.set_throttled_replicas({topic: leases.remove_entries(lists[topic], done[topic]) for topic in lists})
    left = {}
    for topic, held in ledger.entries.items():
        gone = done.get(topic, EntryLease())
        lease = EntryLease(
            leader=tuple(entry for entry in held.leader if entry not in gone.leader),
            follower=tuple(entry for entry in held.follower if entry not in gone.follower),
        )
        if lease.leader or lease.follower:
            left[topic] = lease
    return write(kubernetes, ledger.model_copy(update={"entries": left}))


def set_rates(kafka: Kafka, kubernetes: Kubernetes, ledger: Ledger, wanted: Mapping[int, ThrottleRates]) -> Ledger:
    """Set each broker's rates, where the run owns them. A broker that dies in between is left for the next poll."""
    for broker_id in wanted:
        try:
            observed = kafka.throttle_rates([broker_id])
        except ClientError:
            continue
        taken = leases.rates_to_take(observed, ledger.rates, wanted)
        if broker_id not in taken:
            continue
        rates = leases.rates_to_set(observed[broker_id], taken[broker_id])
        if rates == observed[broker_id]:
            continue
        ledger = write(kubernetes, ledger.model_copy(update={"rates": {**ledger.rates, **taken}}))
        try:
            kafka.set_throttle_rates(broker_id, rates)
        except ClientError:
            continue
    return ledger


def release_rates(kafka: Kafka, kubernetes: Kubernetes, ledger: Ledger, brokers: Iterable[int]) -> Ledger:
    """Restore the rates of these live brokers, where they still are as the run set them, and drop them from the ledger."""
    for broker_id in [broker_id for broker_id in brokers if broker_id in ledger.rates]:
        observed = kafka.throttle_rates([broker_id])
        for broker, rates in leases.rates_to_restore(observed, {broker_id: ledger.rates[broker_id]}).items():
            kafka.set_throttle_rates(broker, rates)
        left = {other: lease for other, lease in ledger.rates.items() if other != broker_id}
        ledger = write(kubernetes, ledger.model_copy(update={"rates": left}))
    return ledger


def own_cordon(kubernetes: Kubernetes, ledger: Ledger, node: Node) -> Ledger:
    """Cordon a node in this run's name."""
    cordon = Cordon(node=node.name, uid=node.uid)
    if cordon not in ledger.cordons:
        ledger = write(kubernetes, ledger.model_copy(update={"cordons": (*ledger.cordons, cordon)}))
    kubernetes.cordon(node.name, node.uid, str(ledger.owner))
    return ledger


def release_log_directories(kafka: Kafka, kubernetes: Kubernetes, ledger: Ledger, live: frozenset[int]) -> Ledger:
    """Uncordon log directories of live brokers, where they still are as the run cordoned them; other changes are left alone."""
    for broker_id in sorted(live & ledger.log_directories.keys()):
        if kafka.log_directory_cordons([broker_id])[broker_id] == EVERY_LOG_DIRECTORY:
            kafka.cordon_log_directories(broker_id, ledger.log_directories[broker_id])
        left = {other: before for other, before in ledger.log_directories.items() if other != broker_id}
        ledger = write(kubernetes, ledger.model_copy(update={"log_directories": left}))
    return ledger


def release(kafka: Kafka, kubernetes: Kubernetes, ledger: Ledger, live: frozenset[int]) -> Released:
    """Remove everything that the ledger lists and that still is as the run set it, and drop it from the ledger.

    The run's reassignments in progress are cancelled first (KIP-455: replicas return to what they were), while the throttles
    still hold. What concerns a broker that is down stays in the ledger.
    """
    before = list(ledger.describe())
    own_rates = {
        broker: lease.ours.leader_bytes_per_s for broker, lease in ledger.rates.items() if Direction.LEADER in lease.directions
    }
    ledger = _cancel(kafka, kubernetes, ledger)
    lists = kafka.throttled_replicas(ledger.entries)
    kafka.set_throttled_replicas({topic: leases.remove_entries(lists[topic], ledger.entries[topic]) for topic in lists})
    ledger = write(kubernetes, ledger.model_copy(update={"entries": {}}))
    ledger = release_rates(kafka, kubernetes, ledger, sorted(live))
    for cordon in ledger.cordons:
        kubernetes.uncordon(cordon.node, cordon.uid, str(ledger.owner))
    ledger = write(kubernetes, ledger.model_copy(update={"cordons": ()}))
    ledger = release_log_directories(kafka, kubernetes, ledger, live)
    left_behind = ledger.describe()
    return Released(
        given_back=tuple(line for line in before if line not in left_behind),
        left_behind=left_behind,
        rates_bytes_per_s={broker: rate for broker, rate in own_rates.items() if rate is not None},
    )


def _cancel(kafka: Kafka, kubernetes: Kubernetes, ledger: Ledger) -> Ledger:
    if not ledger.reassignments:
        return ledger
    moves = {move.name: move for move in ledger.reassignments}
    running = {
        moving.name
        for moving in kafka.reassignments()
        if moving.name in moves and set(moving.target) == set(moves[moving.name].after)
    }
    if running:
        kafka.alter_reassignments(dict.fromkeys(sorted(running)))
    _restore_order(kafka, moves, running)
    return write(kubernetes, ledger.model_copy(update={"reassignments": ()}))


def _restore_order(
    kafka: Kafka, moves: Mapping[TopicPartition, OwnedReassignment], cancelled: Collection[TopicPartition]
) -> None:
    """Restore the order of cancelled reassignments: Kafka leaves them in the order of the union, with another preferred leader.

    One that an interrupted attempt has cancelled is restored too. One that ended before the cancel reached it is at its
    target, and stays: restoring its old replicas would copy them again.
    """
    disordered: list[TopicPartition] = []
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
        if all(set(found[name]) in (set(moves[name].before), set(moves[name].after)) for name in found.keys() & set(cancelled)):
            break
    if disordered:
        kafka.alter_reassignments({name: moves[name].before for name in sorted(disordered)})
