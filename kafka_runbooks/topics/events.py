"""What is said of definitions beside them: Kubernetes Events, so that `kubectl describe configmap` tells their owners."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kafka_runbooks.documents import Fault
from kafka_runbooks.models.topic_changes import DriftKind
from kafka_runbooks.topics.changes import Changes
from kafka_runbooks.topics.reading import Definitions, config_map_of

SHOWN = 5
MOST_CHARACTERS = 1024
"""Of an Event's message, by Kubernetes' validation."""


class Said(NamedTuple):
    """What is said of a ConfigMap."""

    config_map: str
    reason: str
    """In one word, as Events have it."""
    message: str
    is_warning: bool


DRIFT = {
    DriftKind.CONFIG: "ConfigsSetByHand",
    DriftKind.KEPT: "TopicsKept",
    DriftKind.DELETION: "DeletionWaits",
    DriftKind.UNMANAGED: "TopicsUnmanaged",
}
"""The reason of what stays as it is; the detail is told too."""


def of_faults(faults: Iterable[Fault]) -> list[Said]:
    """Definitions that can't be followed."""
    return _grouped((config_map_of(one.place), "InvalidDefinition", str(one)) for one in faults)


def of_changes(definitions: Definitions, changes: Changes) -> list[Said]:
    """How the cluster differs from what a ConfigMap says. Topics that no definition has are told on the first ConfigMap."""
    sources = {name: config_map_of(one.place()) for one in reversed(definitions.topics) for name in one.entry.topics}

    def found() -> Iterator[tuple[str, str, str]]:
        for reason, names in (
            ("TopicsMissing", [one.name for one in changes.created]),
            ("PartitionsDiffer", [one.name for one in changes.grown]),
            ("ConfigsDiffer", [one.topic for one in changes.configs]),
            ("PlacementDiffers", [one.name for one in changes.moved]),
            ("TopicsToDelete", [one.topic for one in changes.deleted]),
        ):
            yield from ((sources[name], reason, name) for name in names)
        for drift in changes.drift:
            if (source := sources.get(drift.topic, min(sources.values(), default=None))) is not None:
                text = drift.topic if drift.kind is DriftKind.UNMANAGED else f"{drift.topic}: {drift.detail}"
                yield source, DRIFT[drift.kind], text

    return _grouped(found())


def _grouped(found: Iterable[tuple[str, str, str]]) -> list[Said]:
    """One Event of each reason, whatever it has to name."""
    texts: dict[tuple[str, str], list[str]] = {}
    for config_map, reason, text in found:
        texts.setdefault((config_map, reason), []).append(text)
    return [
        Said(config_map, reason, _message(some), is_warning=reason == "InvalidDefinition")
        for (config_map, reason), some in sorted(texts.items())
    ]


def _message(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    shown = "; ".join(texts[:SHOWN])
    return (shown if len(shown) + len(more) <= MOST_CHARACTERS else shown[: MOST_CHARACTERS - len(more) - 1] + "…") + more
