"""A frozen plan of moves: which replicas go where, in which batches, and how to undo it.

One move is one partition from its observed replicas straight to its final ones (KIP-455 keeps the old replicas until the new ones
are in sync). Everything that moves data is such a plan, whoever made it, so that one executor carries it out, one exit contract
proves it and one inverse takes it back. It grows with the cluster and lives in the plan store.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic import Field

from kafka_runbooks.models.change_windows import ChangeWindow
from kafka_runbooks.models.cluster import Partition, TopicPartition
from kafka_runbooks.models.inputs import MoveLimits
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.plans import ExitPromises, Plan, PlannedPartition
from kafka_runbooks.models.steps import StepName


class Copy(NamedTuple):
    """A partition that is being copied, and the brokers that its data arrives on."""

    partition: Partition
    destinations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Move(PlannedPartition):
    """One partition of a plan; `batch` counts from 0."""

    batch: int = 0

    @property
    def arriving(self) -> tuple[int, ...]:
        """Brokers that get a copy."""
        return tuple(broker for broker in self.after if broker not in self.before)

    @property
    def copied_bytes(self) -> int:
        return self.size_bytes * len(self.arriving)


class MovePlan(Plan):
    """Moves in the order in which they are started."""

    LONG_FIELD = "moves"
    steps: tuple[StepName, ...] = (StepName.REASSIGN, StepName.ELECT, StepName.RELEASE, StepName.PROVE)
    moves: tuple[Move, ...]
    leaving: tuple[int, ...] = ()
    """Brokers that must hold nothing in the end."""
    leads_nothing: tuple[int, ...] = ()
    """Brokers that must lead nothing in the end."""
    leaving_voters: tuple[int, ...] = ()
    """Those of the leaving brokers that are voters of the metadata quorum, where their pods are to go."""
    joining_voters: tuple[int, ...] = ()
    """Brokers that are controllers too, and become voters."""
    limits: MoveLimits = Field(default_factory=MoveLimits)
    change_windows: tuple[ChangeWindow, ...] = ()
    max_utilisation: float = 1.0
    """How full moves may make a disk, as a share of its capacity."""
    is_given: bool = False
    """An operator brought the assignment."""
    checks_racks: bool = False
    """An operator brought the plan: planners keep replicas on as many racks as they can, a given plan may not."""
    waits_for_destinations: bool = False
    """An operator named the destination: one that dies is waited for instead of planned around."""
    partition_counts: dict[str, int] = Field(default_factory=dict)
    """Partitions of each topic that the plan moves, when it was made: more of them later is drift."""

    @property
    def planned(self) -> tuple[Move, ...]:
        return self.moves

    @property
    def total_bytes(self) -> int:
        return sum(move.copied_bytes for move in self.moves)

    @property
    def promises(self) -> ExitPromises:
        return ExitPromises(
            empty_brokers=self.leaving,
            leaderless_brokers=self.leads_nothing,
            without_vote=self.leaving_voters,
            exact_assignment=True,
        )

    def inverse(self) -> "MovePlan":
        """The way back to the assignment that the plan was made from, order included."""
        last = max((move.batch for move in self.moves), default=0)
        return self.model_copy(
            update={
                "title": f"undo: {self.title}",
                "leaving": (),
                "leads_nothing": (),
                "leaving_voters": (),
                "joining_voters": (),
                "partition_counts": {},
                "max_utilisation": 1.0,  # What was there before fits, however full that made a disk.
                "moves": tuple(
                    replace(move, before=move.after, after=move.before, batch=last - move.batch) for move in reversed(self.moves)
                ),
            }
        )

    def without(self, names: Collection[TopicPartition]) -> "MovePlan":
        """The plan less some partitions."""
        return self.model_copy(update={"moves": tuple(move for move in self.moves if move.name not in names)})

    def throttled_entries(self) -> dict[str, EntryLease]:
        """Every list entry that this plan or its inverse may need, whoever is up: topic -> entries."""
        entries: dict[str, tuple[list[str], list[str]]] = {}
        for move in self.moves:
            if set(move.before) == set(move.after):
                continue
            leader, follower = entries.setdefault(move.topic, ([], []))
            brokers = [f"{move.partition}:{broker}" for broker in dict.fromkeys((*move.before, *move.after))]
            leader += brokers
            follower += brokers
        return {
            topic: EntryLease(leader=tuple(leader), follower=tuple(follower)) for topic, (leader, follower) in entries.items()
        }

    def is_within(self, approved: "MovePlan") -> bool:
        """Whether it does nothing that wasn't in an approved plan: a remainder needs no second approval.

        Where brokers are to be emptied, that was approved of whatever is on them: partitions that came onto them since too.
        """
        wanted = {(move.name, move.after) for move in approved.moves}
        leaving = set(approved.leaving)
        if not (
            set(self.leaving_voters) <= set(approved.leaving_voters) and set(self.joining_voters) <= set(approved.joining_voters)
        ):
            return False
        return all((move.name, move.after) in wanted or _only_empties(move, leaving) for move in self.moves)


def _only_empties(move: Move, leaving: Collection[int]) -> bool:
    """Whether a move takes replicas off leaving brokers and does nothing else."""
    gone = set(move.before).difference(move.after)
    return bool(gone) and gone <= set(leaving) and not set(move.after) & set(leaving) and len(move.after) >= len(move.before)


def by_name(moves: Iterable[Move]) -> dict[TopicPartition, Move]:
    return {move.name: move for move in moves}
