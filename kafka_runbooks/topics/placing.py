"""Where the replicas of new partitions go.

Nothing is copied and nothing weighs anything yet, so this is no problem for the planners, which level what there is. Each replica
in turn goes to the rack that has the fewest of its partition; there to the broker with the fewest of its topic, since a topic's
load is spread by its partitions; then to the one that has shared the fewest partitions with those chosen already, so that what a
failed broker led goes to many; then to the one with the fewest of all. Preferred leaders are levelled within the topic, and where
that leaves a choice, by what brokers lead of others. The same input gives the same places.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

Replicas = Sequence[int]


class Placer:
    """Counts what brokers have, what it places included."""

    def __init__(self, racks: Mapping[int, str | None], replicas: Iterable[Replicas]) -> None:
        """Begin with what there is.

        Args:
            racks: of the brokers that may get replicas; one without is in none with another.
            replicas: of every partition of the cluster, the preferred leader first.
        """
        self._racks: dict[int, object] = {broker: broker if rack is None else rack for broker, rack in racks.items()}
        self._replicas: Counter[int] = Counter()
        self._leaders: Counter[int] = Counter()
        for row in replicas:
            self._replicas.update(row)
            self._leaders.update(row[:1])

    def place(
        self, brokers: Collection[int], partitions: int, replication_factor: int, beside: Sequence[Replicas] = ()
    ) -> tuple[tuple[int, ...], ...]:
        """Place partitions of a topic; returns the replicas of each, the preferred leader first.

        Args:
            brokers: at least as many as replicas, all of them with a rack.
            partitions: how many.
            replication_factor: replicas of each.
            beside: the partitions that the topic has already.
        """
        own, pairs = Counter[int](), Counter[tuple[int, int]]()
        for row in beside:
            _count(row, own, pairs)
        candidates, found = sorted(brokers), []
        for _ in range(partitions):
            chosen: list[int] = []
            in_rack: Counter[object] = Counter()
            for _ in range(replication_factor):
                best = min(
                    (broker for broker in candidates if broker not in chosen),
                    key=lambda broker: (
                        in_rack[self._racks[broker]],
                        own[broker],
                        sum(pairs[broker, other] for other in chosen),
                        self._replicas[broker],
                        broker,
                    ),
                )
                chosen.append(best)
                in_rack[self._racks[best]] += 1
            _count(chosen, own, pairs)
            self._replicas.update(chosen)
            found.append(chosen)
        return tuple(self._led(found, Counter(row[0] for row in beside)))

    def _led(self, rows: Sequence[Sequence[int]], led: Counter[int]) -> list[tuple[int, ...]]:
        """The rows with their leaders first, levelled with what is `led` of the topic already."""
        leaders: list[int] = []
        for row in rows:
            leaders.append(min(row, key=lambda broker: (led[broker], self._leaders[broker], broker)))
            led[leaders[-1]] += 1
            self._leaders[leaders[-1]] += 1
        while path := _handovers(rows, leaders, led):
            led[leaders[path[0][0]]] -= 1
            self._leaders[leaders[path[0][0]]] -= 1
            led[path[-1][1]] += 1
            self._leaders[path[-1][1]] += 1
            for number, broker in path:
                leaders[number] = broker
        return [(leader, *(broker for broker in row if broker != leader)) for row, leader in zip(rows, leaders, strict=True)]


def _handovers(rows: Sequence[Sequence[int]], leaders: Sequence[int], led: Counter[int]) -> list[tuple[int, int]]:
    """(row, its next leader): the shortest chain after which one broker leads one less and another, with two less, one more."""
    of: dict[int, list[int]] = {}
    for number, leader in enumerate(leaders):
        of.setdefault(leader, []).append(number)
    for first in sorted(of, key=lambda broker: (-led[broker], broker)):
        came: dict[int, tuple[int, int]] = {}
        """Broker -> the row that would make it lead, and who leads that now."""
        reached, seen = [first], {first}
        for broker in reached:
            for number in of.get(broker, ()):
                for other in sorted(set(rows[number]) - seen):
                    seen.add(other)
                    came[other] = (number, broker)
                    reached.append(other)
        least = min(reached, key=lambda broker: (led[broker], reached.index(broker)))
        if led[first] - led[least] < 2:
            continue
        path = []
        while least != first:
            number, broker = came[least]
            path.append((number, least))
            least = broker
        return path[::-1]
    return []


def _count(row: Replicas, own: Counter[int], pairs: Counter[tuple[int, int]]) -> None:
    own.update(row)
    pairs.update((one, other) for one in row for other in row if one != other)
