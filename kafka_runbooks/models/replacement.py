"""A frozen plan of how one broker comes back, or how another one takes its place."""

from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.kubernetes import BrokerPlace
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.plans import ExitPromises, Plan, PlannedPartition

SUBSTITUTION_MOVES_AT_ONCE = 10
"""Onto the one broker that takes over: few enough that a pause is soon felt, enough to keep the sources busy."""


class ReplacementPlan(Plan):
    """How one broker is replaced."""

    LONG_FIELD = "partitions"
    place: BrokerPlace
    """Where the broker was found before anything was changed."""
    replacement_broker_id: int | None = None
    copies_everything: bool = False
    """The disk is lost, and every replica must come from its peers."""
    node_is_gone: bool = False
    """The operator confirmed that the node will not come back."""
    partitions: tuple[PlannedPartition, ...]

    @property
    def broker_id(self) -> int:
        return self.place.broker_id

    @property
    def planned(self) -> tuple[PlannedPartition, ...]:
        return self.partitions

    @property
    def total_bytes(self) -> int:
        return sum(partition.size_bytes for partition in self.partitions)

    @property
    def destination(self) -> int:
        """The broker that the data arrives on."""
        return self.broker_id if self.replacement_broker_id is None else self.replacement_broker_id

    @property
    def promises(self) -> ExitPromises:
        if self.replacement_broker_id is not None:
            return ExitPromises(in_sync_brokers=(self.destination,), empty_brokers=(self.broker_id,))
        return ExitPromises(
            in_sync_brokers=(self.destination,),
            place=self.place,
            on_new_disk=self.copies_everything,
            node_is_gone=self.node_is_gone,
        )

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
            leaving=(self.broker_id,),
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
            held = entries.get(partition.topic, EntryLease())
            sources = tuple(f"{partition.partition}:{broker}" for broker in partition.before if broker != self.destination)
            entries[partition.topic] = EntryLease(
                leader=(*held.leader, *sources), follower=(*held.follower, f"{partition.partition}:{self.destination}")
            )
        return entries
