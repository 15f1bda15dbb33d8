"""Drift of topics as Prometheus sees it: what was seen last, and nothing once that is old."""

import time

import pytest

from activities import topic_metrics
from activities.topic_metrics import TopicDrift
from kafka_runbooks.models.topic_changes import Drift, DriftKind, TopicDeletion
from kafka_runbooks.topics.changes import Changes


def told(drift: TopicDrift) -> dict[str, float]:
    (family,) = drift.collect()
    return {sample.labels["what"]: sample.value for sample in family.samples if sample.value}


def test_drift_is_told_by_what_differs_until_the_look_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    drift = TopicDrift()
    by_hand = Drift(topic="a", kind=DriftKind.CONFIG, detail="set by hand")
    gone = TopicDeletion(topic="b", topic_id="1", end_offsets=())
    drift.tell("lab", Changes(deleted=(gone,), drift=(by_hand, by_hand)))
    assert told(drift) == {"config": 2, "deletion": 1}
    drift.tell("lab", Changes())
    assert told(drift) == {}
    drift.tell("lab", Changes(drift=(by_hand,)))
    later = time.monotonic() + topic_metrics.FORGOTTEN_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert told(drift) == {}
