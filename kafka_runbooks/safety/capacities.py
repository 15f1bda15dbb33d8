"""How many nodes may go at once, as numbers: one row for all partitions with the same replicas, in sync on the same ones.

The same rule as `availability.may_go_down` with the same `in_sync_to_keep`, counted instead of worded. A row has as many in-sync
replicas as may still go (its spare), and each of its members that is in sync takes one. The metadata quorum is one more row.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation
from kafka_runbooks.safety.availability import effective_min_isr, in_sync_to_keep, min_isr_of
from kafka_runbooks.safety.quorum import ALREADY_NO_MAJORITY, caught_up_voters, majority
from kafka_runbooks.safety.restarts import cut_off_brokers


class _Row(NamedTuple):
    """What is the same for some partitions, or the quorum."""

    members: tuple[int, ...]
    in_sync: frozenset[int]
    """As the leader says, on live brokers: one of these can lower the row."""
    kept: int
    minimum: int
    """Below it the row is in trouble already."""
    none_may_go: bool
    """It has no spare replica, and nobody has acknowledged that."""
    none_may_join: bool
    """Nobody has acknowledged that what isn't in sync restarts while it is below its minimum."""


@dataclass(frozen=True)
class Capacities:
    """Rows, and each node's places in them. A node's own arrays are slices of those of all places."""

    kept: np.ndarray
    minimum: np.ndarray
    none_may_go: np.ndarray
    none_may_join: np.ndarray
    replicas: np.ndarray
    counted: np.ndarray
    """Row -> in-sync members now, on brokers that follow the controllers."""
    start: np.ndarray
    """Node -> its first place; the last one ends them."""
    row_of: np.ndarray
    """Place -> row."""
    lowers: np.ndarray
    """Place -> whether the node is in sync there."""
    counts: np.ndarray
    """Place -> whether it is one of those that are counted."""
    refused: np.ndarray
    """Node -> it takes part in a reassignment."""

    @classmethod
    def of(
        cls,
        observation: RestartObservation,
        nodes: Sequence[KafkaNode],
        limits: RestartLimits,
        acknowledged_risks: Collection[str],
    ) -> "Capacities":
        """Of these nodes, in this order."""
        rows = [*_quorum_row(observation, nodes, limits, acknowledged_risks)]
        quorum_rows = len(rows)
        rows += _partition_rows(observation, limits, acknowledged_risks)
        cut_off = cut_off_brokers(observation).keys()
        index_of = {node.id: index for index, node in enumerate(nodes)}
        places: list[list[tuple[int, bool, bool]]] = [[] for _ in nodes]
        counted = np.zeros(len(rows), dtype=np.int64)
        for number, row in enumerate(rows):
            is_quorum = number < quorum_rows
            fresh = row.in_sync if is_quorum else row.in_sync - cut_off
            counted[number] = len(fresh)
            for member in row.members:
                index = index_of.get(member)
                if index is not None and (nodes[index].is_controller if is_quorum else nodes[index].is_broker):
                    places[index].append((number, member in row.in_sync, member in fresh))
        moving = {broker for one in observation.reassignments for broker in one.replicas}
        flat = [place for found in places for place in found]
        return cls(
            kept=np.array([row.kept for row in rows], dtype=np.int64),
            minimum=np.array([row.minimum for row in rows], dtype=np.int64),
            none_may_go=np.array([row.none_may_go for row in rows], dtype=bool),
            none_may_join=np.array([row.none_may_join for row in rows], dtype=bool),
            replicas=np.array([len(row.members) for row in rows], dtype=np.int64),
            counted=counted,
            start=np.cumsum([0, *map(len, places)], dtype=np.int64),
            row_of=np.array([place[0] for place in flat], dtype=np.int64),
            lowers=np.array([place[1] for place in flat], dtype=bool),
            counts=np.array([place[2] for place in flat], dtype=bool),
            refused=np.array([node.is_broker and node.id in moving for node in nodes], dtype=bool),
        )

    def copy(self) -> "Capacities":
        """With what a restart changes being its own."""
        return replace(self, counted=self.counted.copy(), lowers=self.lowers.copy(), counts=self.counts.copy())

    def places(self, node: int) -> slice:
        return slice(int(self.start[node]), int(self.start[node + 1]))

    def empty_load(self) -> np.ndarray:
        """Of a round: row -> how many of those that are counted go."""
        return np.zeros(len(self.kept), dtype=np.int64)

    def may_join(self, node: int, load: np.ndarray) -> bool:
        """Whether a node may go with those of a round."""
        places = self.places(node)
        rows, lowers, counts = self.row_of[places], self.lowers[places], self.counts[places]
        left = self.counted[rows] - load[rows] - counts
        too_few = np.where(
            lowers,
            (left < self.kept[rows]) | self.none_may_go[rows],
            (left < self.minimum[rows]) & self.none_may_join[rows],
        )
        return not self.refused[node] and not too_few.any()

    def add(self, node: int, load: np.ndarray) -> None:
        """Let it go with the others of a round."""
        places = self.places(node)
        load[self.row_of[places]] += self.counts[places]

    def restart(self, nodes: Sequence[int]) -> None:
        """These are back: in sync with all that they hold."""
        for node in nodes:
            places = self.places(node)
            self.counted[self.row_of[places]] += ~self.counts[places]
            self.counts[places] = True
            self.lowers[places] = True

    def most_at_once(self) -> np.ndarray:
        """Row -> of its members that are in sync, how many may ever go together; below 1 none."""
        found: np.ndarray = self.replicas - self.kept
        return found

    def conflicts(self) -> np.ndarray:
        """Pairs of nodes that can never go together, whoever catches up: a row that both lower spares only one of them."""
        count = len(self.start) - 1
        node_of = np.repeat(np.arange(count), np.diff(self.start))
        counts = self.counts & (self.most_at_once()[self.row_of] <= 1)
        rows, nodes = self.row_of[counts], node_of[counts]
        order = np.lexsort((nodes, rows))
        rows, nodes = rows[order], nodes[order]
        found = np.zeros((count, count), dtype=bool)
        for distance in range(1, len(rows)):
            same = rows[distance:] == rows[:-distance]
            if not same.any():
                break
            found[nodes[distance:][same], nodes[:-distance][same]] = True
        return found | found.T


def _quorum_row(
    observation: RestartObservation, nodes: Sequence[KafkaNode], limits: RestartLimits, acknowledged_risks: Collection[str]
) -> Iterator[_Row]:
    quorum = observation.quorum
    controllers = tuple(sorted(node.id for node in nodes if node.is_controller))
    if not controllers:
        return
    if quorum is None:  # Nobody knows theirs.
        count = len(controllers)
        yield _Row(controllers, frozenset(controllers), kept=count, minimum=count, none_may_go=True, none_may_join=True)
        return
    voters = tuple(sorted({voter.id for voter in quorum.voters}))
    needed = majority(len(voters))
    yield _Row(
        members=voters,
        in_sync=caught_up_voters(quorum, observation.fetch_timeout_seconds),
        kept=in_sync_to_keep(len(voters), needed, limits.headroom),
        minimum=min(needed, len(voters) - 1),
        none_may_go=False,
        none_may_join=ALREADY_NO_MAJORITY not in acknowledged_risks,
    )


def _partition_rows(observation: RestartObservation, limits: RestartLimits, acknowledged_risks: Collection[str]) -> list[_Row]:
    snapshot, live = observation.snapshot, observation.snapshot.live_broker_ids
    of_topic: dict[str, tuple[int, bool, bool]] = {}
    distinct: dict[tuple[tuple[int, ...], tuple[int, ...], tuple[int, bool, bool]], None] = {}
    for topic, _, _, replicas, in_sync, _ in snapshot.partitions:
        known = of_topic.get(topic)
        if known is None:
            no_spare, below = f"no-spare-replica:{topic}", f"already-below-min-isr:{topic}"
            known = (min_isr_of(snapshot, topic), no_spare not in acknowledged_risks, below not in acknowledged_risks)
            of_topic[topic] = known
        distinct[replicas, in_sync, known] = None
    rows: dict[_Row, None] = {}
    for replicas, in_sync, (minimum, none_may_go, none_may_join) in distinct:
        row = _Row(
            members=tuple(sorted(replicas)),
            in_sync=live.intersection(in_sync),
            kept=in_sync_to_keep(len(replicas), minimum, limits.headroom),
            minimum=effective_min_isr(replicas, minimum),
            none_may_go=none_may_go and len(replicas) <= minimum,
            none_may_join=none_may_join,
        )
        rows[row] = None
    return list(rows)
