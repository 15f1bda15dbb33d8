"""Since when others find a node that has restarted."""

from datetime import UTC, datetime, timedelta

import pytest

from kafka_runbooks.models.kubernetes import BrokerPod, ControllerPod
from kafka_runbooks.safety.addresses import not_found_yet

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def broker(node_id: int | None, started_seconds_ago: float | None) -> BrokerPod:
    started_at = None if started_seconds_ago is None else NOW - timedelta(seconds=started_seconds_ago)
    return BrokerPod(
        name=f"kafka-{node_id}", uid="u", stateful_set="kafka", broker_id=node_id, map="events", started_at=started_at
    )


@pytest.mark.parametrize(("started_seconds_ago", "is_lost"), [(0, True), (29.9, True), (30, False), (3600, False), (None, False)])
def test_a_node_is_found_once_caches_have_forgotten_its_former_address(started_seconds_ago: float | None, is_lost: bool) -> None:
    assert (1001 in not_found_yet([broker(1001, started_seconds_ago)], 30, NOW)) is is_lost


def test_until_when_of_each_of_several() -> None:
    controller = ControllerPod(name="c-0", uid="u", stateful_set="c", node_id=1, started_at=NOW)
    pods: list[BrokerPod | ControllerPod] = [broker(1001, 10), broker(1002, 40), broker(None, 10), controller]
    assert not_found_yet(pods, 30, NOW) == {1001: NOW + timedelta(seconds=20), 1: NOW + timedelta(seconds=30)}
    assert not_found_yet(pods, 0, NOW) == {}


def test_a_machine_whose_clock_is_ahead_is_not_waited_for() -> None:
    """Until its hour has come: nobody knows when the process has started."""
    assert not_found_yet([broker(1001, -3600)], 30, NOW) == {}
