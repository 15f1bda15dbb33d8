"""Voters of a real Kafka's quorum leave it and come back: each answer of the controller, and what the quorum says afterwards."""

import time
from collections.abc import Callable, Iterator

import pytest
from temporalio.testing import ActivityEnvironment

from activities.plan_store import save
from activities.step import Access
from activities.voters import VoterActivities, controller_endpoints
from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.models.cluster import ControllerEndpoint, MetadataQuorum, QuorumReplica
from kafka_runbooks.models.messages import StepRequest, Token
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.safety.quorum import caught_up_voters
from kafka_runbooks.safety.voters import NO_SPARE_VOTER
from tests.clients.local_kafka import running
from tests.clients.local_quorum import LISTENER, LocalQuorum
from tests.fakes.link import PERMIT_RUN_ID, FakeLink
from tests.fakes.world import World
from tests.temporal_env import WorldClusters

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id=PERMIT_RUN_ID)
NODES = {1001: "zone-a", 1002: "zone-b", 1003: "zone-c"}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalQuorum]:
    with running(LocalQuorum(tmp_path_factory.mktemp("kafka"), NODES)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def admin(kafka: LocalQuorum) -> Iterator[KafkaAdmin]:
    admin = KafkaAdmin(kafka.bootstrap_servers)
    admin.snapshot()
    yield admin
    admin.close()


@pytest.fixture(autouse=True)
def three_voters(admin: KafkaAdmin) -> None:
    """Before each test: what one has left is no other's."""
    until(admin, lambda quorum: quorum.voter_ids == NODES.keys() == caught_up_voters(quorum))


def until(admin: KafkaAdmin, holds: Callable[[MetadataQuorum], bool], seconds: float = 40) -> MetadataQuorum:
    deadline, found = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            found = admin.metadata_quorum()
            if found is not None and holds(found):
                return found
        except Unreachable:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not in {seconds} s; now {found}")


def retried(act: Callable[[], None], seconds: float = 20) -> None:
    """As an activity does: a change is refused while the one before isn't known to be committed, or a controller is elected."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except Unreachable:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def refused(act: Callable[[], None], kind: type[ClientError], words: str, seconds: float = 20) -> None:
    """The change is refused for this reason, and not done."""
    deadline = time.monotonic() + seconds
    while True:
        with pytest.raises(ClientError) as raised:
            act()
        if words in str(raised.value):
            assert type(raised.value) is kind
            return
        assert isinstance(raised.value, Unreachable) and time.monotonic() < deadline, raised.value
        time.sleep(0.2)


def seen(admin: KafkaAdmin) -> MetadataQuorum:
    quorum = admin.metadata_quorum()
    assert quorum is not None
    return quorum


def found(quorum: MetadataQuorum, node_id: int) -> QuorumReplica:
    """A voter, or the observer of this id."""
    return next(one for one in (*quorum.voters, *quorum.observers) if one.id == node_id)


def directory(admin: KafkaAdmin, node_id: int) -> str:
    known = found(seen(admin), node_id).directory_id
    assert known is not None
    return known


def followers(admin: KafkaAdmin) -> list[int]:
    return sorted(NODES.keys() - {seen(admin).leader_id})


def endpoints(kafka: LocalQuorum, node_id: int, listener: str = LISTENER) -> list[ControllerEndpoint]:
    return [ControllerEndpoint(listener, "127.0.0.1", kafka.controller_ports[node_id])]


def test_every_voter_and_observer_has_its_directory(kafka: LocalQuorum, admin: KafkaAdmin) -> None:
    quorum = seen(admin)
    assert not quorum.is_static
    assert {voter.id: voter.directory_id for voter in quorum.voters} == kafka.first_directories
    for node in NODES:
        assert list(controller_endpoints(admin, node)) == endpoints(kafka, node), "by its own configuration"


def test_a_voter_leaves_and_comes_back(kafka: LocalQuorum, admin: KafkaAdmin) -> None:
    node, other = followers(admin)
    itself, another = directory(admin, node), directory(admin, other)
    retried(lambda: admin.remove_voter(node, another))
    retried(lambda: admin.add_voter(node, itself, endpoints(kafka, node)))
    quorum = seen(admin)
    assert quorum.voter_ids == NODES.keys(), "neither of another disk, nor twice"

    retried(lambda: admin.remove_voter(node, itself))
    quorum = until(admin, lambda quorum: node in {one.id for one in quorum.observers})
    assert quorum.voter_ids == NODES.keys() - {node} and found(quorum, node).directory_id == itself
    retried(lambda: admin.remove_voter(node, itself))

    refused(lambda: admin.add_voter(node, another, endpoints(kafka, node)), Unreachable, "since it is lagging behind")
    refused(lambda: admin.add_voter(node, itself, endpoints(kafka, node, "NOPE")), Refused, "didn't include the endpoint")
    retried(lambda: admin.add_voter(node, itself, endpoints(kafka, node)))
    quorum = seen(admin)
    assert quorum.voter_ids == NODES.keys()
    assert found(quorum, node).directory_id == itself


def test_the_active_controller_leaves_another_one_leads_and_it_comes_back(admin: KafkaAdmin) -> None:
    """By the steps of the runbooks: the rules are asked of a quorum whose leader has just changed."""
    quorum = seen(admin)
    active, itself = quorum.leader_id, directory(admin, quorum.leader_id)
    world = WorldClusters(World(), "main", admin)
    steps = VoterActivities(Access(world, FakeLink()))  # type: ignore[arg-type]
    plan = MovePlan(
        cluster="main", kind="Decommission", title="", moves=(), made_at="", leaving_voters=(active,), joining_voters=(active,)
    )
    reference = save(world.open("main").kubernetes, plan, TOKEN)
    request = StepRequest(token=TOKEN, plan=reference, acknowledged_risks=(NO_SPARE_VOTER,))
    said = ActivityEnvironment().run(steps.leave_quorum, request)
    others = ", ".join(str(node) for node in NODES if node != active)
    assert said == f"controller {active} has left the metadata quorum, whose voters are {others}"
    quorum = until(admin, lambda quorum: quorum.leader_id != active and active in {one.id for one in quorum.observers})
    assert quorum.voter_ids == NODES.keys() - {active}
    assert active in admin.snapshot().live_broker_ids, "it is a broker still"
    (said,) = ActivityEnvironment().run(steps.join_quorum, request)
    assert said == f"controller {active} votes in the metadata quorum, whose voters are 1001, 1002, 1003"
    assert found(seen(admin), active).directory_id == itself


def test_one_that_is_not_caught_up_does_not_become_a_voter(kafka: LocalQuorum, admin: KafkaAdmin) -> None:
    node = followers(admin)[0]
    itself = directory(admin, node)
    retried(lambda: admin.remove_voter(node, itself))
    until(admin, lambda quorum: found(quorum, node).last_caught_up_at is not None and node not in quorum.voter_ids)
    kafka.hang(node)
    try:
        with pytest.raises(Unreachable, match="add voter"):
            admin.add_voter(node, itself, endpoints(kafka, node))
    finally:
        kafka.wake(node)
    quorum = seen(admin)
    assert quorum.voter_ids == NODES.keys() - {node}
    retried(lambda: admin.add_voter(node, itself, endpoints(kafka, node)))


def test_a_voter_whose_disk_was_lost_keeps_its_vote_until_it_is_removed(kafka: LocalQuorum, admin: KafkaAdmin) -> None:
    node = followers(admin)[0]
    old = directory(admin, node)
    kafka.kill(node)
    kafka.new_disk(node)
    quorum = until(admin, lambda quorum: node in {one.id for one in quorum.observers})
    assert quorum.voter_ids == NODES.keys() and node not in caught_up_voters(quorum)
    (new,) = [one.directory_id for one in quorum.observers if one.id == node]
    assert new is not None and new != old
    retried(lambda: admin.add_voter(node, new, endpoints(kafka, node)))
    quorum = seen(admin)
    assert found(quorum, node).directory_id == old, "Kafka says DUPLICATE_VOTER, and nothing has changed"
    retried(lambda: admin.remove_voter(node, old))
    retried(lambda: admin.add_voter(node, new, endpoints(kafka, node)))
    quorum = seen(admin)
    assert found(quorum, node).directory_id == new
