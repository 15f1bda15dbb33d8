"""Every check of the exit contract, passing and failing, on a cluster at the end of a run."""

import pytest

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, Reassignment, ThrottledReplicas, ThrottleRates
from kafka_runbooks.models.features import BrokerFeatures
from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod, Claim, Node
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.results import Check
from kafka_runbooks.safety import exit_contract
from kafka_runbooks.safety.exit_contract import Leftovers
from tests.safety.test_ensemble import ensemble

OLD = Claim(name="data-events-0", uid="old")
PLACE = BrokerPlace(broker_id=1, pod="events-0", claims=(OLD,), node="a", map="events", rack="zone-a")
POD = BrokerPod(
    name="events-0", uid="u", broker_id=1, map="events", stateful_set="events", claims=("data-events-0",), node="a", is_ready=True
)
NODE = Node(name="a", uid="n", zone="zone-a", map="events", instance_type="small", is_ready=True, broker_id=1)


def part(number: int, replicas: tuple[int, ...], in_sync: tuple[int, ...] | None = None, leader: int | None = None) -> Partition:
    known = replicas if in_sync is None else in_sync
    return Partition(topic="t", partition=number, leader=leader or replicas[0], replicas=replicas, in_sync=known)


def cluster(*partitions: Partition, live: tuple[int, ...] = (1, 2, 3)) -> ClusterSnapshot:
    brokers = tuple(Broker(id=broker, host="h", port=1) for broker in live)
    return ClusterSnapshot(cluster_id="c", brokers=brokers, partitions=partitions, minimum_in_sync={"t": 1})


def move(number: int, before: tuple[int, ...], after: tuple[int, ...], in_sync: tuple[int, ...] | None = None) -> Move:
    known = before if in_sync is None else in_sync
    return Move(topic="t", partition=number, before=before, after=after, size_bytes=1, in_sync=known)


def plan_of(*moves: Move, **more: object) -> MovePlan:
    base = {"cluster": "c", "kind": "Rebalance", "title": "", "moves": moves, "made_at": "2026-01-01T00:00:00+00:00"}
    return MovePlan.model_validate({**base, **more})


def judged(check: Check) -> tuple[bool, str]:
    return check.passed, check.detail


def test_replicas_in_sync() -> None:
    whole = cluster(part(0, (1, 2)), part(1, (2, 3), (2,)))
    assert judged(exit_contract.replicas_in_sync(whole, 1)) == (True, "1 of 1 replicas of broker 1 are in sync")
    late = cluster(part(0, (1, 2)), part(7, (2, 1), (2,)))
    assert judged(exit_contract.replicas_in_sync(late, 1)) == (False, "1 of 2 replicas of broker 1 are in sync: not t-7")
    down = cluster(part(0, (1, 2)), live=(2, 3))
    assert not exit_contract.replicas_in_sync(down, 1).passed, "an ISR that still names a broker which is down proves nothing"


def test_replicas_as_planned_means_the_same_order_too() -> None:
    moves = [move(0, (1, 2), (3, 2)), move(1, (1, 2), (2, 1)), move(9, (1, 2), (3, 2))]
    right = cluster(part(0, (3, 2)), part(1, (2, 1)))
    gone = {moves[2].name}
    there = exit_contract.replicas_as_planned(right, moves[:2], gone)
    assert judged(there) == (True, "2 of 2 partitions; gone or new since the plan: t-9"), "t-9 was deleted"
    assert not exit_contract.replicas_as_planned(right, moves).passed
    wrong = cluster(part(0, (3, 2)), part(1, (1, 2)))
    assert judged(exit_contract.replicas_as_planned(wrong, moves[:2])) == (False, "1 of 2 partitions: not t-1 is [1, 2]")


def test_a_leaving_broker_is_empty() -> None:
    assert judged(exit_contract.is_empty(cluster(part(0, (3, 2))), 1)) == (True, "0 replicas")
    check = exit_contract.is_empty(cluster(part(0, (3, 1))), 1)
    assert (check.name, check.passed, check.detail) == ("broker 1 is empty", False, "1 replicas t-0")


def test_in_sync_replicas_no_worse() -> None:
    planned = [move(0, (1, 2, 3), (1, 2, 3), (1, 2)), move(1, (1, 2, 3), (1,)), move(2, (1, 2), (3, 2))]
    kept = cluster(part(0, (1, 2, 3), (1, 2)), part(1, (1,)), part(2, (3, 2)))
    assert judged(exit_contract.in_sync_no_worse(kept, planned)) == (True, "3 partitions"), "fewer replicas were asked for"
    worse = cluster(part(0, (1, 2, 3), (1,)), part(1, (1,)), part(2, (3, 2)))
    assert judged(exit_contract.in_sync_no_worse(worse, planned)) == (False, "t-0 has 1, had 2")
    other = cluster(part(5, (1, 2, 3), ()))
    assert exit_contract.in_sync_no_worse(other, planned).passed, "a partition that isn't of the plan"


def test_preferred_leaders_lead() -> None:
    planned = [move(0, (1, 2), (3, 2)), move(1, (1, 2), (2, 1))]
    led = cluster(part(0, (3, 2)), part(1, (2, 1)), part(5, (1, 2), leader=2))
    assert judged(exit_contract.preferred_leaders_lead(led, planned)) == (True, "2 of 2")
    other = cluster(part(0, (3, 2)), part(1, (2, 1), leader=1))
    assert judged(exit_contract.preferred_leaders_lead(other, planned)) == (False, "1 of 2: not t-1")
    lagging = cluster(part(0, (3, 2)), part(1, (2, 1), (1,), leader=1))
    assert exit_contract.preferred_leaders_lead(lagging, planned).passed, "one that isn't in sync can't lead"


PLAN = plan_of(
    move(0, (1, 2), (3, 2)),
    lists_before={"t": ThrottledReplicas(leader="0:1", follower="")},
    rates_before={2: 5_000},
)
"""Somebody throttled 0:1 and broker 2 before the plan was made."""


@pytest.mark.parametrize(
    ("lists", "rates", "our_rates", "left"),
    [
        ({}, {}, {}, None),
        ({"t": ThrottledReplicas(leader="0:1")}, {}, {}, None),
        ({"t": ThrottledReplicas(leader="0:9, 4:1")}, {}, {}, None),
        ({"t": ThrottledReplicas(leader="0:1, 0:2")}, {}, {}, "topic t: 0:2"),
        ({"t": ThrottledReplicas(follower="0:1,0:3")}, {}, {}, "topic t: 0:1, 0:3"),
        ({}, {1: ThrottleRates(leader_bytes_per_s=7_000)}, {1: 7_000}, "broker 1: leader replication throttle 7000 B/s"),
        ({}, {1: ThrottleRates(leader_bytes_per_s=8_000)}, {1: 7_000}, None),
        ({}, {2: ThrottleRates(leader_bytes_per_s=5_000)}, {2: 5_000}, None),
        ({}, {}, {1: 7_000}, None),
    ],
)
def test_no_throttle_is_left(
    lists: dict[str, ThrottledReplicas], rates: dict[int, ThrottleRates], our_rates: dict[int, int], left: str | None
) -> None:
    ours = {broker: ThrottleRates(leader_bytes_per_s=rate) for broker, rate in our_rates.items()}
    check = exit_contract.no_throttle_of_ours(PLAN, Leftovers(lists=lists, rates=rates), ours)
    assert judged(check) == ((True, "none is left") if left is None else (False, left))


def test_nor_in_the_other_direction() -> None:
    """Only leader rates were looked at."""
    ours = {1: ThrottleRates(follower_bytes_per_s=7_000)}
    check = exit_contract.no_throttle_of_ours(PLAN, Leftovers(rates=ours), ours)
    assert judged(check) == (False, "broker 1: follower replication throttle 7000 B/s")


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        (
            Leftovers(records=("broker 1: leader replication throttle 7000 B/s",)),
            "broker 1: leader replication throttle 7000 B/s",
        ),
        (Leftovers(records=("throttle override: 5 MB/s set by ana: INC-7",)), "throttle override: 5 MB/s set by ana: INC-7"),
        (Leftovers(silent=(1,)), "broker 1 doesn't answer: its rates are not known"),
        (Leftovers(cordoned_nodes=("n",)), "node n: cordon"),
    ],
)
def test_whatever_else_is_left_or_is_not_known(found: Leftovers, detail: str) -> None:
    assert judged(exit_contract.no_throttle_of_ours(PLAN, found, {})) == (False, detail)


def test_no_reassignment_is_left() -> None:
    """By the controller's list: a cancel that was refused had been dropped from the ledger, and the check was true."""
    moving = Reassignment(topic="t", partition=0, replicas=(3, 2, 1), adding=(3,), removing=(1,))
    for plan in (plan_of(move(5, (1, 2), (3, 2))), plan_of(move(0, (1, 2), (4, 2)))):
        assert judged(exit_contract.no_reassignment_of_ours([moving], plan)) == (True, "none"), "someone else started it"
    plan = plan_of(move(0, (1, 2), (2, 3)), move(5, (1, 2), (3, 2)))
    assert judged(exit_contract.no_reassignment_of_ours([moving], plan)) == (False, "t-0")
    undone = plan.inverse()
    assert exit_contract.no_reassignment_of_ours([moving], undone).passed
    assert judged(exit_contract.no_reassignment_of_ours([moving], undone, is_rollback=True)) == (False, "t-0")


def test_one_ready_pod() -> None:
    ready, stray = exit_contract.one_ready_pod([POD], [NODE], PLACE)
    assert judged(ready) == (True, "events-0 on a") and judged(stray) == (True, "none")


@pytest.mark.parametrize(
    ("pods", "detail"),
    [
        ([], "no pod"),
        ([POD.model_copy(update={"is_ready": False})], "events-0 on a (not Ready)"),
        ([POD.model_copy(update={"is_terminating": True})], "events-0 on a"),
        ([POD.model_copy(update={"name": "events-5"})], "events-5 on a"),
        ([POD, POD.model_copy(update={"name": "events-5", "node": "b"})], "events-0 on a, events-5 on b"),
    ],
)
def test_no_other_than_one_ready_pod_will_do(pods: list[BrokerPod], detail: str) -> None:
    assert judged(exit_contract.one_ready_pod(pods, [NODE], PLACE)[0]) == (False, detail)


def test_a_label_on_another_ready_node_is_stray() -> None:
    other = NODE.model_copy(update={"name": "b"})
    assert judged(exit_contract.one_ready_pod([POD], [NODE, other], PLACE)[1]) == (False, "b")
    gone = other.model_copy(update={"is_ready": False})
    assert exit_contract.one_ready_pod([POD], [NODE, gone], PLACE)[1].passed, "a node that is gone can't be unlabelled"


CLAIM = Claim.model_validate({"name": "data-events-0", "uid": "new", "volume": "v"})


@pytest.mark.parametrize(
    ("claim", "disk_is_lost", "expected"),
    [
        (CLAIM, True, (True, "data-events-0 is bound to v")),
        (CLAIM.model_copy(update={"uid": "old"}), False, (True, "data-events-0 is bound to v")),
        (CLAIM.model_copy(update={"uid": "old"}), True, (False, "claim data-events-0 is still the lost one")),
        (None, True, (False, "claim data-events-0 is missing, terminating or unbound")),
        (CLAIM.model_copy(update={"volume": None}), True, (False, "claim data-events-0 is missing, terminating or unbound")),
        (
            CLAIM.model_copy(update={"is_terminating": True}),
            False,
            (False, "claim data-events-0 is missing, terminating or unbound"),
        ),
    ],
)
def test_the_claim(claim: Claim | None, disk_is_lost: bool, expected: tuple[bool, str]) -> None:
    assert judged(exit_contract.claims_are_sound({"data-events-0": claim}, PLACE, disk_is_lost=disk_is_lost)) == expected


def features(highest: int, level: int) -> BrokerFeatures:
    return BrokerFeatures(supported={"metadata.version": (7, highest)}, finalised={"metadata.version": level})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({1: features(29, 29), 2: features(29, 29)}, (True, "metadata.version 29")),
        ({1: features(29, 27), 2: features(29, 29)}, (False, "metadata.version 27 -> 29 is not")),
        ({1: features(29, 29)}, (False, "broker 2 doesn't tell")),
        ({1: features(29, 27), 2: features(27, 27)}, (False, "1 brokers support metadata.version up to 29; 1 brokers support")),
        ({1: features(29, 27), 2: features(29, 27), 3: features(27, 27)}, (True, "metadata.version 27")),
    ],
    ids=["done", "one doesn't know yet", "silent", "two releases", "others are of the former release"],
)
def test_one_release_and_its_features(found: dict[int, BrokerFeatures], expected: tuple[bool, str]) -> None:
    check = exit_contract.features_finalised(found, live={1, 2, *found}, upgraded=(1, 2))
    assert check.passed == expected[0] and check.detail.startswith(expected[1]), check


def test_an_ensemble_is_in_sync_once_every_server_of_its_configuration_is() -> None:
    whole = exit_contract.ensemble_in_sync(ensemble(["leader", "follower", "follower"]))
    assert whole.passed and whole.detail == "3 members"
    for states, says in (
        (["leader", "follower", "silent"], "server 3 doesn't answer (zookeeper-3:2181"),
        (["leader", "behind", "follower"], "server 2 (zookeeper-2:2181) lacks what was committed"),
        (["leader", "not serving", "follower"], "follows no leader yet"),
    ):
        found = exit_contract.ensemble_in_sync(ensemble(states))
        assert not found.passed and says in found.detail
    nothing = exit_contract.ensemble_in_sync(
        ensemble(["leader", "follower", "follower"], committed_zxid=None, servers=(), fault="why")
    )
    assert not nothing.passed and nothing.detail == "it commits nothing: why"
