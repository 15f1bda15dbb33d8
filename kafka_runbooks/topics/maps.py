"""Which map a topic belongs to, and which brokers that has.

A topic belongs to the map that its definition names, else to the one whose expression matches its whole name. What a
definition names is never against the expressions: a topic that one of them matches can't be declared for another map.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kafka_runbooks.models import patterns
from kafka_runbooks.models.maps import TopicMap
from kafka_runbooks.models.topics import TopicFacts


class NotInOneMap(ValueError):
    """A topic belongs to no map, to several, or to another than its definition names; the message says which."""


@dataclass(frozen=True)
class Maps:
    """The maps of a cluster; none where all brokers have all topics."""

    brokers: Mapping[str, tuple[int, ...] | None]
    """Of every map that is declared or labelled; None where they aren't known."""
    matching: Mapping[str, tuple[str, ...]]
    """Topic -> the maps whose expressions match it."""
    have_expressions: bool
    """Some are declared; else they are known by labels alone."""
    are_known: bool
    """There are no others."""

    def of(self, topic: str, named: str | None) -> str | None:
        """The map of a topic; None where there are no maps.

        Args:
            topic: the topic.
            named: the map that its definition names.

        Raises:
            NotInOneMap: it isn't in exactly one.
        """
        matching = self.matching.get(topic, ())
        if named is not None:
            if self.are_known and named not in self.brokers:
                raise NotInOneMap(f"no map is called {named!r}; there are {', '.join(sorted(self.brokers)) or 'none'}")
            if matching and named not in matching:
                raise NotInOneMap(f"{topic} is declared for map {named}, and its name is one of {' and '.join(matching)}")
            return named
        if len(matching) > 1:
            raise NotInOneMap(
                f"{topic} is in two maps, {' and '.join(matching)}: their expressions both match; say which by `map`"
            )
        if matching:
            return matching[0]
        if len(self.brokers) == 1 and not self.have_expressions:
            return next(iter(self.brokers))
        if self.brokers:
            raise NotInOneMap(
                f"{topic} is in no map: no expression matches it; say which by `map`: {', '.join(sorted(self.brokers))}"
            )
        return None


def resolve(declared: Iterable[TopicMap], topics: Iterable[str], facts: TopicFacts | None) -> Maps:
    """The maps of a cluster.

    Args:
        declared: maps of the definitions.
        topics: those whose maps are to be found.
        facts: of the cluster, if they are known.
    """
    entries, names = list(declared), list(topics)
    labelled = facts.brokers_by_map if facts is not None else None
    brokers: dict[str, tuple[int, ...] | None] = dict(labelled or {})
    matching: dict[str, list[str]] = {}
    for entry in entries:
        brokers[entry.name] = entry.brokers or brokers.get(entry.name)
        for topic in patterns.matching(entry.topics, names):
            matching.setdefault(topic, []).append(entry.name)
    found = {topic: tuple(dict.fromkeys(maps)) for topic, maps in matching.items()}
    return Maps(brokers, found, have_expressions=bool(entries), are_known=bool(entries) or labelled is not None)
