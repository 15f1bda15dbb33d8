"""Removing what a run has set: each item on its own, by the answer that it got, however often it is interrupted."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities import ledgers, removal
from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.models.cluster import ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.ledger import Ledger, OwnedReassignment
from kafka_runbooks.models.messages import Released, Token
from kafka_runbooks.models.moves import Copy
from tests.examples import examples
from tests.fakes.fence import FakeFence
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World

MEGABYTE = 1_000_000
TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")
BROKERS = (1001, 1002, 1003)
ALL_BROKERS = (*BROKERS, 1004, 1005, 1006)
NODE = "node-events-c"


class Site:
    """Partitions of `events.a` move from 1003 to 1004 at 1 MB/s; a node is cordoned, and the log directories of 1003."""

    def __init__(self, partitions: int = 3) -> None:
        self.world = World(advance_at_look=False)
        self.kafka, self.kubernetes = FakeKafka(self.world), FakeKubernetes(self.world)
        self.world.add_topic("events.a", partitions, BROKERS)
        self.world.add_topic("events.b", 1, BROKERS)
        self.names = [TopicPartition("events.a", number) for number in range(partitions)]
        self.before = {name: tuple(self.world.partitions[name].replicas) for name in self.names}

    def set_everything(self) -> None:
        owned = [
            OwnedReassignment(topic=name.topic, partition=name.partition, before=before, after=self.after(before))
            for name, before in self.before.items()
        ]
        ledger = self.ledger().model_copy(update={"reassignments": tuple(owned)})
        ledger = ledgers.write(self.kubernetes, ledger)
        found = {partition.name: partition for partition in self.kafka.snapshot().partitions}
        copies = [Copy(found[name], (1004,)) for name in self.names]
        ledger = ledgers.throttle(self.kafka, self.kubernetes, FakeFence(), ledger, copies, frozenset(ALL_BROKERS), MEGABYTE)
        wanted = {1004: ThrottleRates(follower_bytes_per_s=MEGABYTE)}
        ledger = ledgers.set_rates(self.kafka, self.kubernetes, FakeFence(), ledger, wanted)
        self.kafka.alter_reassignments({move.name: move.after for move in owned})
        (node,) = [node for node in self.kubernetes.nodes() if node.name == NODE]
        ledger = ledgers.own_cordon(self.kubernetes, ledger, node)
        ledgers.write(self.kubernetes, ledger.model_copy(update={"log_directories": {1003: ""}}))
        self.kafka.cordon_log_directories(1003, "*")

    @staticmethod
    def after(before: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(1004 if broker == 1003 else broker for broker in before)

    def ledger(self) -> Ledger:
        return ledgers.read(self.kubernetes, TOKEN)

    def release(self) -> Released:
        live = self.kafka.snapshot().live_broker_ids
        return removal.release(self.kafka, self.kubernetes, FakeFence(), self.ledger(), live)

    def rated(self) -> set[int]:
        return {broker for broker, rates in self.world.rates.items() if rates != ThrottleRates()}

    def left(self) -> tuple[object, ...]:
        """Everything of ours that is still there."""
        world = self.world
        moved = {name: tuple(world.partitions[name].replicas) for name in self.names if name in world.partitions}
        return (
            self.rated(),
            {topic: lists for topic, lists in world.lists.items() if lists != ThrottledReplicas()},
            world.nodes[NODE].is_cordoned,
            {broker: directories for broker, directories in world.cordoned.items() if directories},
            {name for name, replicas in moved.items() if replicas != self.before[name]},
            world.records,
        )


NOTHING: tuple[object, ...] = (set(), {}, False, {}, set(), {})


@pytest.fixture
def site() -> Site:
    return Site()


def test_everything_is_removed(site: Site) -> None:
    site.set_everything()
    assert site.rated() == {1001, 1002, 1003, 1004}
    released = site.release()
    assert released.left_behind == () and site.left() == NOTHING
    assert "node node-events-c: cordon" in released.given_back and "3 partition reassignments" in released.given_back


def test_a_broker_that_is_registered_but_does_not_answer_keeps_only_its_own(site: Site) -> None:
    """Its rate was read first, and nothing else was released any more: no other rate, no cordon, no log directory."""
    site.set_everything()
    site.world.silent[1001] = 1_000
    released = site.release()
    assert site.rated() == {1001}
    assert not site.world.nodes[NODE].is_cordoned and site.world.cordoned[1003] == ""
    (line,) = released.left_behind
    assert line.startswith("broker 1001: leader replication throttle 1000000 B/s: ") and "doesn't answer" in line
    assert set(site.ledger().rates) == {1001} and not site.ledger().cordons
    del site.world.silent[1001]
    assert site.release().left_behind == () and site.left() == NOTHING


def away(targets: object) -> dict[TopicPartition, str]:
    raise Unreachable("the controller is away")


def refusing(method: Callable[..., object], argument: object) -> Callable[..., object]:
    """The method, refused for one first argument."""

    def call(first: object, *rest: object) -> object:
        if first == argument:
            raise Refused(f"{argument}: forbidden")
        return method(first, *rest)

    return call


def test_a_node_that_cannot_be_uncordoned_keeps_nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.set_everything()
    monkeypatch.setattr(site.kubernetes, "uncordon", refusing(site.kubernetes.uncordon, NODE))
    assert site.release().left_behind == (f"node {NODE}: cordon: {NODE}: forbidden",)
    assert site.world.cordoned[1003] == "" and site.rated() == set() and len(site.ledger().cordons) == 1


def test_log_directories_that_cannot_be_uncordoned_keep_nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.set_everything()
    monkeypatch.setattr(site.kafka, "cordon_log_directories", refusing(site.kafka.cordon_log_directories, 1003))
    assert site.release().left_behind == ("broker 1003: cordoned log directories: 1003: forbidden",)
    assert not site.world.nodes[NODE].is_cordoned and site.rated() == set()


def test_a_topic_whose_list_is_refused_keeps_nothing_else(site: Site) -> None:
    site.set_everything()
    site.world.refused_lists["events.a"] = "PolicyViolation"
    released = site.release()
    (line,) = released.left_behind
    assert line.startswith("topic events.a: ") and line.endswith(": PolicyViolation")
    assert set(site.ledger().entries) == {"events.a"} and site.rated() == set()
    del site.world.refused_lists["events.a"]
    assert site.release().left_behind == () and site.left() == NOTHING


def test_a_topic_that_is_gone_keeps_no_ledger_alive(site: Site) -> None:
    site.set_everything()
    site.world.delete_topic("events.a")
    assert site.release().left_behind == () and site.world.records == {}


def test_what_the_controller_refuses_to_cancel_stays_owned_throttled_and_said(site: Site) -> None:
    """The answer was dropped: the move went on without lists and rates, and the result was clean."""
    site.set_everything()
    stays = site.names[1]
    site.world.refusals[stays] = ["InvalidReplicationAssignmentError"] * 2
    released = site.release()
    (reassignment, *others) = sorted(line for line in released.left_behind if "partition reassignments" in line)
    assert reassignment == "1 partition reassignments (events.a-1): InvalidReplicationAssignmentError" and not others
    ledger = site.ledger()
    assert [move.name for move in ledger.reassignments] == [stays]
    assert site.world.lists["events.a"].follower == "1:1004" and set(site.world.lists["events.a"].leader.split(",")) == {
        "1:1001",
        "1:1002",
        "1:1003",
    }
    assert site.rated() == {1001, 1002, 1003, 1004} == set(ledger.rates)
    assert site.world.partitions[site.names[0]].replicas == list(site.before[site.names[0]])
    assert not site.world.nodes[NODE].is_cordoned, "what has nothing to do with it is released"
    site.release()
    assert site.release().left_behind == () and site.left() == NOTHING


def test_kafka_refuses_to_cancel_where_only_arriving_replicas_are_in_sync(site: Site) -> None:
    """As 4.3.1 does: one of two that arrive is in sync, and nothing of what was there before."""
    name = site.names[0]
    site.kafka.alter_reassignments({name: [1001, 1004, 1005]})
    partition = site.world.partitions[name]
    for broker in partition.replicas:
        disk = site.world.disk_of(broker)
        assert disk is not None
        disk[name] = partition.size_bytes if broker == 1004 else 0
    partition.in_sync, partition.leader = {1004}, 1004
    assert site.kafka.alter_reassignments({name: None}) == {name: "InvalidReplicationAssignmentError"}
    assert partition.adding == [1004, 1005] and partition.in_sync == {1004}


def test_an_order_that_could_not_be_restored_is_restored_by_the_next_release(site: Site) -> None:
    site.set_everything()
    name = site.names[2]
    alter, asked = site.kafka.alter_reassignments, []

    def refuse_orders(targets: dict[TopicPartition, tuple[int, ...] | None]) -> dict[TopicPartition, str]:
        asked.append(targets)
        refused = {one: "NotControllerError" for one, target in targets.items() if target is not None and one == name}
        return refused | alter({one: target for one, target in targets.items() if one not in refused})

    site.kafka.alter_reassignments = refuse_orders  # type: ignore[method-assign,assignment]
    site.world.partitions[name].replicas.reverse()
    released = site.release()
    assert released.left_behind == (
        "1 partition reassignments (events.a-2): its replicas' order is not restored: NotControllerError",
    )
    site.kafka.alter_reassignments = alter  # type: ignore[method-assign]
    assert site.release().left_behind == () and site.left() == NOTHING


def test_a_controller_that_does_not_answer_keeps_moves_and_their_throttles_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.set_everything()
    monkeypatch.setattr(site.kafka, "alter_reassignments", away)
    released = site.release()
    assert "3 partition reassignments (events.a-0, events.a-1, events.a-2): the controller is away" in released.left_behind
    assert set(site.ledger().rates) == {1001, 1002, 1003, 1004} and not site.world.nodes[NODE].is_cordoned


def test_a_topic_that_was_made_anew_is_none_of_the_run_s(site: Site) -> None:
    """A name is no identity: the new topic's reassignment to the same brokers is someone else's, and so is its order."""
    site.set_everything()
    ledger = site.ledger()
    owned = [move.model_copy(update={"topic_id": "the-one-that-is-gone"}) for move in ledger.reassignments]
    ledgers.write(site.kubernetes, ledger.model_copy(update={"reassignments": tuple(owned)}))
    released = site.release()
    assert [name for name in site.names if site.world.partitions[name].adding] == site.names, "not cancelled"
    assert released.left_behind == () and site.world.records == {}


FAULTS = ("silent 1001", "silent 1004", "topic events.a", "node", "log directories", "move 0", "move 2", "controller")


@given(faults=st.sets(st.sampled_from(FAULTS)))
@settings(max_examples=examples(40))
def test_whatever_fails_the_rest_is_removed_and_the_next_release_removes_what_is_left(faults: set[str]) -> None:
    site = Site()
    site.set_everything()
    uncordon, cordon, alter = site.kubernetes.uncordon, site.kafka.cordon_log_directories, site.kafka.alter_reassignments
    for fault in faults:
        what, _, name = fault.partition(" ")
        if what == "silent":
            site.world.silent[int(name)] = 1_000
        elif what == "topic":
            site.world.refused_lists[name] = "PolicyViolation"
        elif what == "node":
            site.kubernetes.uncordon = refusing(uncordon, NODE)  # type: ignore[method-assign,assignment]
        elif what == "log":
            site.kafka.cordon_log_directories = refusing(cordon, 1003)  # type: ignore[method-assign,assignment]
        elif what == "move":
            site.world.refusals[site.names[int(name)]] = ["InvalidReplicationAssignmentError"]
        else:
            site.kafka.alter_reassignments = away  # type: ignore[method-assign]
    released = site.release()
    in_flight = {fault for fault in faults if fault.startswith(("move", "controller"))}
    assert site.world.nodes[NODE].is_cordoned is ("node" in faults)
    assert (site.world.cordoned[1003] == "*") is ("log directories" in faults)
    silent = {int(fault.split()[1]) for fault in faults if fault.startswith("silent")}
    assert site.rated() == ({1001, 1002, 1003, 1004} if in_flight else silent)
    assert bool(released.left_behind) is bool(faults) and all(line for line in released.left_behind)
    site.world.silent.clear()
    site.world.refused_lists.clear()
    site.world.refusals.clear()
    site.kubernetes.uncordon = uncordon  # type: ignore[method-assign]
    site.kafka.cordon_log_directories, site.kafka.alter_reassignments = cordon, alter  # type: ignore[method-assign]
    assert site.release().left_behind == () and site.left() == NOTHING


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 16))
def test_interrupted_at_any_act_the_next_release_leaves_nothing(when: str, number: int) -> None:
    class Died(BaseException): ...

    site = Site()
    site.set_everything()
    acts = 0

    def count(name: str) -> None:
        nonlocal acts
        acts += 1
        if acts == number:
            raise Died

    setattr(site.world, f"{when}_act", count)
    try:
        site.release()
    except Died:
        site.world.before_act = site.world.after_act = lambda name: None
    assert site.release().left_behind == () and site.left() == NOTHING
