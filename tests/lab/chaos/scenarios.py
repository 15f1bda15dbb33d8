"""The runbooks of the chaos test: each scenario readies the lab, says what to start, and puts it back whatever came of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.chaos import observe
from tests.lab.chaos.faults import Faults, has_no_home, pod_of
from tests.lab.chaos.schedule import CHECKS, EVENTS, Round
from tests.lab.runs import ANY_DISK, ask, eventually, fresh, place_of

LEVEL = {"level": "replica count", "target_spread": 1, **ANY_DISK}
"""By count: the brokers of the lab share one disk, whose use is the same for all of them."""
SLOW = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 100_000}, "limits": {"moves_in_per_broker": 1}}
WHOLE_SECONDS = 300.0


@dataclass(frozen=True)
class Start:
    """A run to start. `later`: something that belongs to it and happens so many seconds after its start."""

    runbook: str
    fields: dict[str, Any]
    later: tuple[float, str, Callable[[], object]] | None = None


@contextmanager
def ready(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    """The runs of a round. What the scenario has taken apart is together again when the block is left."""
    with SCENARIOS[drawn.scenario](lab, drawn, faults) as starts:
        yield starts


@contextmanager
def _lost(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    _, node, zone = place_of(lab, 1001)
    lab.kill_node(node)
    faults.lost_nodes.add(node)
    lab.add_node(zone, "events")
    yield [Start("ReplaceBroker", {"broker_id": 1001, "node_is_gone": True, "throttle": drawn.throttle})]


@contextmanager
def _same_name(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    """Another machine, under the name of the old one: an empty disk, and a Node object of another uid."""
    _, node, _ = place_of(lab, 1001)
    lab.kill_node(node)
    lab.kubectl("delete", "node", node, "--wait=false")
    lab.wipe_disk(node)

    def comes_back() -> None:
        if not lab.has_power(node):
            lab.start_node(node, wait_seconds=120)

    fields = {"broker_id": 1001, "node_is_gone": True, "throttle": drawn.throttle}
    yield [Start("ReplaceBroker", fields, (15.0, f"machine {node} is replaced under its name", comes_back))]


@contextmanager
def _restarted(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    lab.kubectl("-n", "kafka", "delete", "pod", pod_of(1002), "--wait=false")
    yield [Start("ReplaceBroker", {"broker_id": 1002, "node_state": "returns", "throttle": drawn.throttle})]


@contextmanager
def _fourth(lab: Lab) -> Iterator[int]:
    """Broker 1007 for the time of the block; what is left on it goes back to the three before it does."""
    _, _, zone = place_of(lab, 1003)
    node = lab.add_node(zone, "events")
    lab.kubectl("-n", "kafka", "scale", "statefulset", "kafka-events", "--replicas=4")
    try:
        eventually("a fourth broker", 120, lambda: len(runs.brokers(lab)) == 7)
        yield 1007
    finally:
        with suppress(AssertionError):
            _empty(lab, 1007)
        lab.kubectl("-n", "kafka", "scale", "statefulset", "kafka-events", "--replicas=3")
        lab.kubectl("-n", "kafka", "delete", "pod", "kafka-events-3", "--ignore-not-found", "--wait=false")
        lab.kubectl("-n", "kafka", "wait", "--for=delete", "pod/kafka-events-3", "--timeout=120s")
        lab.kubectl("-n", "kafka", "delete", "pvc", "data-kafka-events-3", "--ignore-not-found", "--wait=false")
        lab.delete_node(node)
        eventually("six brokers", 90, lambda: len(runs.brokers(lab)) == 6)


def _empty(lab: Lab, broker: int) -> None:
    """A person's reassignment of what is left on a broker, so that nothing is lost with it."""
    for row in observe.kafka(lab)["partitions"]:
        topic, number = row["name"].rsplit("-", 1)
        if broker in row["replicas"]:
            others = [one for one in row["replicas"] if one != broker]
            spare = next(one for one in (1003, 1002, 1001, 1004) if one not in others)
            runs.move_one(lab, topic, int(number), [*others, spare])
    eventually(f"broker {broker} is empty", 120, lambda: not runs.replicas_on(lab, broker))


@contextmanager
def _substituted(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    with _fourth(lab) as extra:
        pairs = ((1003, extra), (extra, 1003))
        fields = [{"broker_id": one, "replacement_broker_id": other, "throttle": drawn.throttle} for one, other in pairs]
        yield [Start("ReplaceBroker", each) for each in fields]


@contextmanager
def _scaled(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    with _fourth(lab) as extra:
        yield [
            Start("ScaleUp", {"brokers": [extra], **LEVEL, "throttle": drawn.throttle}),
            Start("Decommission", {"brokers": [extra], "remove_pods": True, **ANY_DISK, "throttle": drawn.throttle}),
        ]


@contextmanager
def _rebalanced(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    yield [Start("Rebalance", {"map": "events", **LEVEL, "throttle": drawn.throttle})]


@contextmanager
def _replication_factor(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    fields = {"topics": [faults.topic], "throttle": drawn.throttle}
    yield [Start("SetReplicationFactor", {**fields, **ANY_DISK, "replication_factor": factor}) for factor in (3, 2)]


@contextmanager
def _evacuated(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    yield [Start("EvacuateLeaders", {"brokers": [1001], "back": back}) for back in (False, True)]


@contextmanager
def _plan(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    rows = [(faults.topic, number) for number in range(12)] + [(faults.doomed, number) for number in range(4)]
    partitions = [{"topic": topic, "partition": number, "replicas": [1003, 1001 + number % 2]} for topic, number in rows]
    yield [Start("RunPlan", {"plan": {"version": 1, "partitions": partitions}, "throttle": drawn.throttle})]


@contextmanager
def _recovery(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    """A broker of the map comes back to some megabytes that it has missed."""
    _, node, _ = place_of(lab, 1002)
    lab.kill_node(node)
    eventually("1001 leads", 60, lambda: _led(lab, faults.topic) == {1001})
    runs.fill(lab, faults.topic, 1_500)
    lab.start_node(node)
    yield [Start("ThrottleRecovery", {"brokers": [1002], "throttle": drawn.throttle})]


def _led(lab: Lab, topic: str) -> set[int]:
    """Who leads the topic's partitions; nobody, as long as the bootstrap address may lead to a broker that has just died."""
    with suppress(AssertionError):
        return {row["leader"] for row in observe.kafka(lab)["partitions"] if row["name"].rsplit("-", 1)[0] == topic}
    return set()


@contextmanager
def _leftovers(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    """A run that was terminated half way."""
    run = fresh()
    runs.start(run, ask(map="events", **LEVEL, **SLOW), "Rebalance")
    with suppress(AssertionError):
        runs.until_status(run, lambda status: status["step"] == "reassign partitions" and status["owned_throttles"], 60)
    runs.temporal("workflow", "terminate", "-w", run, "--reason", "chaos")
    yield [Start("ClearLeftovers", {})]


@contextmanager
def _rolled(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    """In rounds of a zone: what hits a broker meanwhile may hit one that goes down, or one that the round counts on."""
    yield [Start("RollingRestart", {"node_ids": [*EVENTS, *CHECKS], "reason": "chaos"})]


@contextmanager
def _drained(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    """Its node is handed back as soon as it is a person's."""
    yield [Start("Drain", {"nodes": [place_of(lab, 1001)[1]], "reason": "chaos"})]


@contextmanager
def _renewed(lab: Lab, drawn: Round, faults: Faults) -> Iterator[list[Start]]:
    yield [Start("RotateCertificates", {"mode": "renew", "reason": "chaos"})]


SCENARIOS: dict[str, Callable[[Lab, Round, Faults], Any]] = {
    "lost": _lost,
    "restarted": _restarted,
    "substituted": _substituted,
    "rebalanced": _rebalanced,
    "scaled": _scaled,
    "replication factor": _replication_factor,
    "evacuated": _evacuated,
    "plan": _plan,
    "recovery": _recovery,
    "leftovers": _leftovers,
    "same name": _same_name,
    "rolled": _rolled,
    "drained": _drained,
    "renewed": _renewed,
}


def make_whole(lab: Lab, faults: Faults) -> None:
    """A person puts the cluster back: faults are over, lost machines deleted, brokers without a home on a free one."""
    faults.heal()
    for node in sorted(faults.lost_nodes):
        if any(one.name == node for one in lab.nodes()):
            lab.delete_node(node)
    faults.lost_nodes.clear()
    brokers = 3 + int(lab.kubectl("-n", "kafka", "get", "statefulset", "kafka-events", "-o", "jsonpath={.spec.replicas}"))
    ends = time.monotonic() + WHOLE_SECONDS
    why = ""
    while time.monotonic() < ends:
        for pod, claim in has_no_home(lab):
            if pod in {pod_of(broker) for broker in range(1001, 1001 + brokers)}:
                lab.kubectl("-n", "kafka", "delete", "pvc", claim, "--wait=false", "--ignore-not-found")
                lab.kubectl("-n", "kafka", "delete", "pod", pod, "--force", "--grace-period=0", "--ignore-not-found")
        try:
            why = observe.not_whole(lab, brokers)
        except AssertionError as error:
            why = str(error)[-300:]
        if not why:
            return
        time.sleep(2)
    raise AssertionError(f"the cluster is not whole after {WHOLE_SECONDS:.0f} s: {why}")
