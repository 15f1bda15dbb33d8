"""On a real Kafka: what isn't listed isn't throttled, so what refuses writes is back while the rest is held."""

from pathlib import Path

import pytest

from activities import throttle
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates
from tests.fakes.fence import FakeFence
from tests.throttle.two_lost import MEGABYTE, REST, URGENT, TwoLost, started

EVERY_LEADER = {f"{number}:1001" for number in range(6)}


@pytest.mark.server
def test_two_of_three_brokers_are_lost_and_what_refuses_writes_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "ADAPT_SECONDS", 2.0)
    monkeypatch.setattr(throttle, "Fence", FakeFence)
    kafka = started(tmp_path)
    try:
        site = TwoLost(kafka)
        site.lose()
        found = site.recover(urgent_first=True)
        assert any("refuse writes: copied first" in note for note in found.notes), found.notes
        held = [set(lists.leader.split(",")) for lists in found.lists[URGENT]]
        assert held[0] >= EVERY_LEADER and any(not lists & EVERY_LEADER for lists in held), held
        assert all(set(lists.leader.split(",")) >= EVERY_LEADER for lists in found.lists[REST]), "the rest is held all the while"
        assert found.left_bytes > 30 * MEGABYTE, "and comes after"
        assert site.give_back() == ()
        assert site.admin.throttled_replicas([URGENT, REST]) == {URGENT: ThrottledReplicas(), REST: ThrottledReplicas()}
        assert set(site.admin.throttle_rates([1001, 1003, 1004]).values()) == {ThrottleRates()}
        site.admin.close()
    finally:
        kafka.stop()
