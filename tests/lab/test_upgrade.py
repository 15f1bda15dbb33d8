"""Upgrades on the lab, under checked traffic: to another release of Kafka, and to a template that is worse."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kafka_runbooks_lab import builds
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import ask, checked_traffic, fresh, holds, intact, leftovers, watched
from tests.lab.test_rolling_restart import BROKERS, CONTROLLERS, changed, topic, uids, waits

__all__ = ["topic"]

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]

FORMER = "4.2.2"


def template_of(lab: Lab, stateful_set: str) -> dict[str, Any]:
    found = json.loads(lab.kubectl("-n", "kafka", "get", "statefulset", stateful_set, "-o", "json"))
    template: dict[str, Any] = found["spec"]["template"]
    return template


def patch(lab: Lab, stateful_set: str, path: str, value: object) -> None:
    change = [{"op": "replace", "path": f"/spec/template/spec/{path}", "value": value}]
    lab.kubectl("-n", "kafka", "patch", "statefulset", stateful_set, "--type=json", "-p", json.dumps(change))


def upgrade(run: str, **fields: Any) -> None:
    runs.start(run, ask(reason="test", **fields), "Upgrade")


@pytest.fixture
def former(lab: Lab) -> Iterator[Lab]:
    """A lab of the release before."""
    lab.down()
    try:
        lab.up(kafka=FORMER)
        yield lab
    finally:
        lab.down()
        lab.up()


def test_a_cluster_goes_to_the_next_release_and_finalises_its_features(former: Lab) -> None:
    """Controllers, the canary, the rest; then `metadata.version`, behind a gate of its own."""
    lab, run = former, fresh()
    name = "events.upgrade"
    runs.ensure_offsets_topic(lab)
    runs.make_topic(lab, name, records=0)
    for stateful_set in ("kafka-controller", "kafka-events", "kafka-checks"):
        volumes = [volume["name"] for volume in template_of(lab, stateful_set)["spec"]["volumes"]]
        patch(lab, stateful_set, f"volumes/{volumes.index('jars')}/hostPath/path", str(builds.where().jars.resolve()))
    before = uids(lab)
    with checked_traffic(lab, name) as traffic, watched(lab) as seen:
        upgrade(run, canary_node_id=1002, canary_soak_seconds=40, tolerated_slowdown=100, wait_for_approval=True)
        for question in ("the plan waits", "is as good as its peers", "finalise metadata.version"):
            waits(run, question, 600)
            runs.update(run, "approve")
        result = runs.outcome(run, seconds=600)
        holds(result)
    intact(traffic)
    assert changed(lab, before) == {*BROKERS, *CONTROLLERS} and seen["below"] == []
    assert "finalised metadata.version" in result["summary"], result["summary"]
    assert leftovers(lab) == {}


def test_a_canary_that_is_worse_than_its_peers_stops_the_upgrade(lab: Lab, topic: str) -> None:
    """The new template's Java only interprets. One broker has it, until the former template is back."""
    kafka = next(one for one in enumerate(template_of(lab, "kafka-events")["spec"]["containers"]) if one[1]["name"] == "kafka")
    names = [one["name"] for one in kafka[1]["env"]]
    number = names.index("KAFKA_JVM_PERFORMANCE_OPTS")
    options = kafka[1]["env"][number]["value"]
    before, run = uids(lab), fresh()
    with checked_traffic(lab, f"{topic}.traffic") as traffic:
        patch(lab, "kafka-events", f"containers/{kafka[0]}/env/{number}/value", f"{options} -Xint")
        try:
            upgrade(run, canary_node_id=1002, canary_soak_seconds=240, finalise_features=False)
            stopped = waits(run, "is worse than its peers", 900)
            assert stopped["phase"] == "gate"
            assert changed(lab, before) == {"kafka-events-1"}
        finally:
            lab.kubectl("-n", "kafka", "rollout", "undo", "statefulset/kafka-events")
        runs.update(run, "reject")
        assert runs.outcome(run, seconds=300)["outcome"] == "rejected"
        again = fresh()
        upgrade(again, canary_soak_seconds=0, finalise_features=False)
        holds(runs.outcome(again, seconds=600))
    intact(traffic)
    assert changed(lab, before) == {"kafka-events-1"}
    assert leftovers(lab) == {}
