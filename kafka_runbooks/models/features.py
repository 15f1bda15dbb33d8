"""Kafka's features (KIP-584), such as `metadata.version`: the levels that a broker supports, and those that the cluster uses.

What a level brings is used once it is finalised. A release that doesn't support a finalised level can't run any more, so until
then a rolled upgrade can be rolled back, and after it not.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kafka_runbooks.models.base import Model

METADATA_VERSION = "metadata.version"
NOT_OF_A_RELEASE = frozenset({"kraft.version"})
"""How the quorum finds its voters: a decision of its own (KIP-853), which no upgrade of a release makes."""


class BrokerFeatures(Model):
    """What one broker says."""

    supported: dict[str, tuple[int, int]]
    """Feature -> its lowest and highest level; all that tells one release from another."""
    finalised: dict[str, int]
    """Of the cluster, as this broker knows it; a feature that isn't in it has level 0. Empty in ZooKeeper mode."""


class FeatureChange(NamedTuple):
    """A feature, its level now, and the one to finalise."""

    name: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.name} {self.before} -> {self.after}"


def highest_common(brokers: Iterable[BrokerFeatures]) -> dict[str, int]:
    """The highest level of each feature that all of these brokers support."""
    each = [{name: highest for name, (_, highest) in one.supported.items()} for one in brokers]
    names = set.intersection(*(set(one) for one in each)) if each else set()
    return {name: min(one[name] for one in each) for name in sorted(names)}


def finalised(brokers: Iterable[BrokerFeatures]) -> dict[str, int]:
    """What is finalised, as the last of these brokers knows it."""
    each = [one.finalised for one in brokers]
    names = sorted({name for one in each for name in one})
    return {name: min(one.get(name, 0) for one in each) for name in names}


def to_finalise(brokers: Mapping[int, BrokerFeatures]) -> tuple[FeatureChange, ...]:
    """What is behind the highest level that all of these brokers support, but for what is no matter of the release."""
    now = finalised(brokers.values())
    return tuple(
        FeatureChange(name, now.get(name, 0), level)
        for name, level in highest_common(brokers.values()).items()
        if level > now.get(name, 0) and name not in NOT_OF_A_RELEASE
    )


def releases(brokers: Mapping[int, BrokerFeatures]) -> dict[str, tuple[int, ...]]:
    """What tells the releases apart that run: `metadata.version up to 29` -> the brokers of it. Patch releases look the same."""
    found: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for broker_id, one in sorted(brokers.items()):
        found.setdefault(tuple(sorted((name, highest) for name, (_, highest) in one.supported.items())), []).append(broker_id)
    shared = set.intersection(*(set(levels) for levels in found)) if found else set()
    named = {}
    for levels, ids in found.items():
        shown = [one for one in levels if one[0] == METADATA_VERSION or one not in shared]
        named[", ".join(f"{name} up to {highest}" for name, highest in shown) or "no feature"] = tuple(ids)
    return named
