"""Whether others may still connect to a node's former address."""

from datetime import UTC, datetime, timedelta

import pytest

from kafka_runbooks.models.kubernetes import KafkaPod
from kafka_runbooks.safety.addresses import may_be_missed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def started(seconds_ago: float | None) -> KafkaPod:
    at = None if seconds_ago is None else NOW - timedelta(seconds=seconds_ago)
    return KafkaPod(name="kafka-0", uid="u", stateful_set="kafka", started_at=at)


@pytest.mark.parametrize(("seconds_ago", "expected"), [(0, True), (29.9, True), (30, False), (3600, False), (None, False)])
def test_a_node_is_found_once_caches_have_forgotten_its_former_address(seconds_ago: float | None, expected: bool) -> None:
    assert may_be_missed(started(seconds_ago), 30, NOW) is expected
    assert not may_be_missed(started(seconds_ago), 0, NOW)


def test_a_machine_whose_clock_is_ahead_is_not_waited_for() -> None:
    """Until its hour has come: nobody knows when the process has started."""
    assert not may_be_missed(started(-3600), 30, NOW)
