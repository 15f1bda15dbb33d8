"""The ledger of a run: everything it sets is recorded first, and removed according to the record.

These are parts of activities. Each can be interrupted between any two lines and called again: it reads the ledger, observes the
cluster, and does what is still to do. Before each act the fence is asked whether the run may still act; what was set when the
permit was lost in the middle is taken back. The ledger is written only in the version that was read: a late attempt can't bring
back one that another run has cleared.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from activities.errors import PermitLost, TemporalUnreachable, ThrottleRefused
from activities.in_parallel import for_each
from activities.permits import Fence
from kafka_runbooks.clients import store
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.protocols import Kafka, Kubernetes
from kafka_runbooks.models.cluster import ThrottleRates, TopicPartition
from kafka_runbooks.models.kubernetes import Node
from kafka_runbooks.models.ledger import Cordon, EntryLease, Ledger, Owner, RateLease
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.throttle import leases

LEASE_TIME = timedelta(minutes=30)
EVERY_LOG_DIRECTORY = "*"


def name_of(run_id: str) -> str:
    return f"kafka-runbooks-ledger-{run_id}"


def owner_of(token: Token) -> Owner:
    """The run as an owner, with its lease from now on."""
    expires_at = datetime.now(UTC) + LEASE_TIME
    return Owner(workflow_id=token.workflow_id, run_id=token.run_id, namespace=token.namespace, expires_at=expires_at)


def load(kubernetes: Kubernetes, name: str) -> Ledger | None:
    """A ledger by its record's name.

    Raises:
        Refused: it exists but can't be read.
    """
    found = store.load_versioned(kubernetes, name, Ledger)
    return None if found is None else found[0].model_copy(update={"version": found[1]})


def read(kubernetes: Kubernetes, token: Token) -> Ledger:
    """This run's ledger; an empty one where nothing was written yet."""
    found = load(kubernetes, name_of(token.run_id))
    return Ledger(owner=owner_of(token), cluster=token.cluster) if found is None else found


def write(kubernetes: Kubernetes, ledger: Ledger) -> Ledger:
    """Store the ledger with its expiry renewed; an empty one is deleted.

    Raises:
        Conflict: it was written or cleared by someone else since it was read.
    """
    name = name_of(ledger.owner.run_id)
    if ledger.is_empty:
        if ledger.version is not None:
            store.remove(kubernetes, name, version=ledger.version)
        return ledger.model_copy(update={"version": None})
    renewed = ledger.owner.model_copy(update={"expires_at": datetime.now(UTC) + LEASE_TIME})
    ledger = ledger.model_copy(update={"owner": renewed})
    summary = "\n".join([f"owner: {ledger.owner}", f"expires: {renewed.expires_at:%Y-%m-%dT%H:%M:%SZ}", *ledger.describe()])
    version = store.save(kubernetes, store.LEDGER, name, ledger, summary, version=ledger.version)
    return ledger.model_copy(update={"version": version})


def renewed(kubernetes: Kubernetes, ledger: Ledger) -> Ledger:
    """Renew the lease if less than half of it is left: called on every poll, written a few times an hour."""
    if ledger.is_empty or ledger.owner.expires_at - datetime.now(UTC) > LEASE_TIME / 2:
        return ledger
    return write(kubernetes, ledger)


def throttle(
    kafka: Kafka,
    kubernetes: Kubernetes,
    fence: Fence,
    ledger: Ledger,
    copies: Sequence[Copy],
    live: frozenset[int],
    rates: Mapping[int, ThrottleRates] | int,
    *,
    lowest_bytes_per_s: int | None = None,
    beside: Collection[tuple[TopicPartition, int]] = (),
) -> Ledger:
    """Take the leases that hold these copies at the rates: topics' entries first, then each live broker's rates.

    Args:
        rates: bytes per second by broker and direction; a number is the leader rate of every live source.
        beside: copies that no entry holds now (`throttle.urgent`).
        lowest_bytes_per_s: see `RateLease`.
    """
    ledger = list_entries(kafka, kubernetes, fence, ledger, leases.entries_for(copies, live, beside))
    if isinstance(rates, int):
        rates = dict.fromkeys(leases.sources_of(copies, live), ThrottleRates(leader_bytes_per_s=rates))
    wanted = {broker: found for broker, found in rates.items() if broker in live}
    return set_rates(kafka, kubernetes, fence, ledger, wanted, lowest_bytes_per_s=lowest_bytes_per_s)


def list_entries(kafka: Kafka, kubernetes: Kubernetes, fence: Fence, ledger: Ledger, wanted: Mapping[str, EntryLease]) -> Ledger:
    """Add entries to topics' throttled replica lists; existing entries keep their owner. A topic that is gone gets none.

    Raises:
        ThrottleRefused: Kafka refuses to change a topic's list.
    """
    owned, new = dict(ledger.entries), {}
    for topic, observed in kafka.throttled_replicas(wanted).items():
        _, added = leases.add_entries(observed, wanted[topic])
        if not (added.leader or added.follower):
            continue
        new[topic] = added
        held = owned.get(topic, EntryLease())
        owned[topic] = EntryLease(
            leader=tuple(dict.fromkeys([*held.leader, *added.leader])),
            follower=tuple(dict.fromkeys([*held.follower, *added.follower])),
        )
    if not new:
        return ledger
    if owned != ledger.entries:
        ledger = write(kubernetes, ledger.model_copy(update={"entries": owned}))
    refused: dict[str, str] = {}

    def add() -> None:
        fence.check_for_less()
        # Once more: writing the ledger takes a while, and others may have changed a list in between.
        now = kafka.throttled_replicas(new)
        refused.update(kafka.set_throttled_replicas({topic: leases.add_entries(now[topic], new[topic])[0] for topic in now}))

    def undo() -> None:
        now = kafka.throttled_replicas(new)
        kafka.set_throttled_replicas({topic: leases.remove_entries(now[topic], new[topic]) for topic in now})

    _unless_lost(fence, add, undo)
    if refused:
        topic, why = next(iter(sorted(refused.items())))
        raise ThrottleRefused(f"throttled replica lists of {len(refused)} topics: {topic}: {why}")
    return ledger


def remove_finished_entries(
    kafka: Kafka, kubernetes: Kubernetes, fence: Fence, ledger: Ledger, moving: Collection[TopicPartition]
) -> Ledger:
    """Remove the entries of partitions that no longer move from the topics' lists and from the ledger."""
    done = leases.entries_to_remove(ledger.entries, moving)
    if not done:
        return ledger
    fence.check()
    lists = kafka.throttled_replicas(done)
    refused = kafka.set_throttled_replicas({topic: leases.remove_entries(lists[topic], done[topic]) for topic in lists})
    gone = {topic: lease for topic, lease in done.items() if topic not in refused}
    return write(kubernetes, ledger.model_copy(update={"entries": leases.without_entries(ledger.entries, gone)}))


def leave_out(kafka: Kafka, fence: Fence, ledger: Ledger, beside: Collection[tuple[TopicPartition, int]]) -> dict[str, str]:
    """Take the run's entries of some copies off the topics' lists, and keep them in the ledger.

    So they go back without a record, in an outage of the Kubernetes API too; and the next attempt after a crash puts them back,
    unless it leaves them out again.

    Returns:
        The topics whose lists Kafka refuses to change, with its reason: they stay throttled.
    """
    own = leases.entries_beside(ledger.entries, beside)
    if own:
        fence.check()
    lists = kafka.throttled_replicas(own) if own else {}
    without = {topic: leases.remove_entries(found, own[topic]) for topic, found in lists.items()}
    changed = {topic: entries for topic, entries in without.items() if entries != lists[topic]}
    return kafka.set_throttled_replicas(changed) if changed else {}


def set_rates(
    kafka: Kafka,
    kubernetes: Kubernetes,
    fence: Fence,
    ledger: Ledger,
    wanted: Mapping[int, ThrottleRates],
    *,
    lowest_bytes_per_s: int | None = None,
) -> Ledger:
    """Set each broker's rates, where the run owns them. A broker that doesn't answer is left for the next poll.

    All are written ahead at once. Destinations come first, so that faster sources are already limited by what destinations may
    receive. A rate that somebody has set since it was read stays, for the next poll to see.
    """
    found = kafka.rates(wanted)
    observed = {broker: rates.own for broker, rates in found.items()}
    inherited = {broker: rates.inherited for broker, rates in found.items()}
    taken = leases.rates_to_take(observed, ledger.rates, wanted, inherited=inherited, lowest_bytes_per_s=lowest_bytes_per_s)
    changes = {broker: leases.rates_to_set(observed[broker], lease) for broker, lease in taken.items()}
    changes = {broker: rates for broker, rates in changes.items() if rates != observed[broker]}
    if not changes:
        return ledger
    held = {broker: taken[broker] for broker in changes}
    ledger = write(kubernetes, ledger.model_copy(update={"rates": {**ledger.rates, **held}}))

    def set_one(broker: int) -> None:
        (fence.check_for_less if leases.is_lower(changes[broker], observed[broker]) else fence.check)()
        if kafka.throttle_rates([broker])[broker] == observed[broker]:
            kafka.set_throttle_rates(broker, changes[broker])

    def set_all() -> None:
        destinations = {broker for broker in changes if wanted[broker].follower_bytes_per_s is not None}
        for some in (destinations, changes.keys() - destinations):
            for_each(some, set_one)

    _unless_lost(fence, set_all, lambda: restore_rates(kafka, held))
    return ledger


def lower_without_record(
    kafka: Kafka, fence: Fence, ledger: Ledger, wanted: Mapping[int, ThrottleRates]
) -> dict[int, ThrottleRates]:
    """Where the ledger can't be written: take rates of the run that should be lower to the lowest that the ledger allows.

    Returns:
        What was set.
    """
    observed, _ = for_each(ledger.rates.keys() & wanted.keys(), lambda broker: kafka.throttle_rates([broker])[broker])
    changes = {
        broker: lowered
        for broker, rates in observed.items()
        if (lowered := leases.lowest_rates(rates, ledger.rates[broker], wanted[broker])) != rates
    }

    def set_one(broker: int) -> ThrottleRates:
        fence.check_for_less()
        kafka.set_throttle_rates(broker, changes[broker])
        return changes[broker]

    done, _ = for_each(changes, set_one)
    return done


def restore_rates(
    kafka: Kafka, held: Mapping[int, RateLease], may_act: Callable[[], None] = lambda: None
) -> dict[int, ClientError]:
    """Restore brokers' rates where they still are as a run set them; returns those that didn't let it, with the reason."""

    def restore(broker: int) -> None:
        for found, rates in leases.rates_to_restore(kafka.throttle_rates([broker]), {broker: held[broker]}).items():
            may_act()
            kafka.set_throttle_rates(found, rates)

    _, failed = for_each(held, restore)
    return failed


def own_cordon(kubernetes: Kubernetes, ledger: Ledger, node: Node) -> Ledger:
    """Cordon a node in this run's name."""
    cordon = Cordon(node=node.name, uid=node.uid)
    if cordon not in ledger.cordons:
        ledger = write(kubernetes, ledger.model_copy(update={"cordons": (*ledger.cordons, cordon)}))
    kubernetes.cordon(node.name, node.uid, str(ledger.owner))
    return ledger


def lift_cordons(kubernetes: Kubernetes, ledger: Ledger, cordons: Sequence[Cordon]) -> Ledger:
    """Uncordon nodes that this run has cordoned, and needs to no more."""
    for cordon in cordons:
        kubernetes.uncordon(cordon.node, cordon.uid, str(ledger.owner))
    left = tuple(one for one in ledger.cordons if one not in cordons)
    return ledger if left == ledger.cordons else write(kubernetes, ledger.model_copy(update={"cordons": left}))


def _unless_lost(fence: Fence, act: Callable[[], None], undo: Callable[[], object]) -> None:
    """Act, and take it back if the permit was lost meanwhile: another run may have cleared the ledger before this was set.

    Raises:
        PermitLost: it was.
    """
    try:
        act()
        with contextlib.suppress(TemporalUnreachable):  # The next act asks again.
            fence.ask()
    except PermitLost:
        undo()
        raise
