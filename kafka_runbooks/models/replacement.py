"""A frozen plan of how brokers come back together, or how another broker takes the place of one."""

from collections.abc import Iterable

from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.kubernetes import BrokerPlace
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.plans import ExitPromises, Plan, PlannedPartition

SUBSTITUTION_MOVES_AT_ONCE = 10
"""Onto the one broker that takes over: few enough that a pause is soon felt, enough to keep the sources busy."""


class ReplacementPlan(Plan):
    """How brokers come back, each on its own way and all into one cluster; or how one is replaced by another."""

    LONG_FIELD = "partitions"
    places: tuple[BrokerPlace, ...]
    """Where the brokers were found before anything was changed, by id."""
    replacement_broker_id: int | None = None
    """The broker that takes over; then there is one place."""
    copies_everything: bool = False
    """The disks are lost, and every replica must come from its peers."""
    joining_voters: tuple[int, ...] = ()
    """Those that are controllers too: their votes are those of the lost disks, until they vote with the new ones."""
    partitions: tuple[PlannedPartition, ...]
    """Every partition that has a replica on one of the brokers."""

    @property
    def broker_ids(self) -> tuple[int, ...]:
        return tuple(place.broker_id for place in self.places)

    @property
    def planned(self) -> tuple[PlannedPartition, ...]:
        return self.partitions

    @property
    def total_bytes(self) -> int:
        return sum(partition.size_bytes * len(self.arriving(partition.before)) for partition in self.partitions)

    @property
    def destinations(self) -> tuple[int, ...]:
        """The brokers that data arrives on."""
        return self.broker_ids if self.replacement_broker_id is None else (self.replacement_broker_id,)

    @property
    def promises(self) -> ExitPromises:
        if self.replacement_broker_id is not None:
            return ExitPromises(in_sync_brokers=self.destinations, empty_brokers=self.broker_ids)
        return ExitPromises(in_sync_brokers=self.destinations, places=self.places, on_new_disks=self.copies_everything)

    def place_of(self, broker_id: int) -> BrokerPlace:
        """One broker's place.

        Raises:
            KeyError: the plan is not about this broker.
        """
        return {place.broker_id: place for place in self.places}[broker_id]

    def arriving(self, replicas: Iterable[int], only: Iterable[int] = ()) -> tuple[int, ...]:
        """On which of the brokers a partition with these replicas arrives.

        Args:
            replicas: the partition's, before.
            only: these of the plan's brokers; empty: all.
        """
        if self.replacement_broker_id is not None:
            return self.destinations
        wanted = set(only) or set(self.broker_ids)
        return tuple(broker for broker in replicas if broker in wanted)

    def as_moves(self) -> MovePlan:
        """The moves of a substitution: the broker that takes over gets every replica of the one that leaves."""
        return MovePlan(
            cluster=self.cluster,
            kind=self.kind,
            title=self.title,
            steps=self.steps,
            moves=tuple(
                Move(one.topic, one.partition, one.before, one.after, one.size_bytes, one.in_sync) for one in self.partitions
            ),
            leaving=self.broker_ids,
            joining_voters=self.joining_voters,
            throttle=self.throttle,
            limits=MoveLimits(moves_in_per_broker=SUBSTITUTION_MOVES_AT_ONCE),
            waits_for_destinations=True,
            made_at=self.made_at,
            lists_before=self.lists_before,
            rates_before=self.rates_before,
        )

    def throttled_entries(self) -> dict[str, EntryLease]:
        entries: dict[str, EntryLease] = {}
        for partition in self.partitions:
            held, arriving = entries.get(partition.topic, EntryLease()), self.arriving(partition.before)
            # A broker that is back may send to one that isn't.
            sources = partition.before if len(self.broker_ids) > 1 else [one for one in partition.before if one not in arriving]
            entries[partition.topic] = EntryLease(
                leader=(*held.leader, *(f"{partition.partition}:{broker}" for broker in sources)),
                follower=(*held.follower, *(f"{partition.partition}:{broker}" for broker in arriving)),
            )
        return entries
