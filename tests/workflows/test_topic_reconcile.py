"""`TopicReconcile` on a real Temporal server and a world in memory: what it makes, what it waits with, what it never touches."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities import applied_topics
from activities import topics as steps
from kafka_runbooks.clients import store
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models import labels
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.messages import PreviewRequest, Survey
from kafka_runbooks.models.operator import Abort, Approval, OperatorAction
from kafka_runbooks.models.results import Outcome, RunbookResult
from tests.fakes import FakeKubernetes
from tests.fakes.world import MEGABYTE, World
from tests.temporal_env import Bench
from tests.topics.builders import topic
from tests.workflows.test_moves import failure, holds, until
from tests.workflows.test_replace_broker import nothing_is_left
from workflows.topic_reconcile import TopicReconcile

GO: dict[str, Any] = {"when_harmless": "go"}
NOW: dict[str, Any] = {"wait_for_approval": False, "throttle": {"mode": "fixed", "rate_bytes_per_s": 50_000_000}}
MAPS = """maps:
  - {name: events, topics: 'events\\..*'}
  - {name: checks, topics: 'check.*'}
topics:
"""
AS_IT_IS = MAPS + topic("events.a", 6, 3, configs="{min.insync.replicas: 2}")
ME = OperatorAction(by="alice", reason="because")


@pytest.fixture
def world() -> World:
    world = World(advance_at_look=True, step_s=2.0, link_bytes_per_s=100 * MEGABYTE)
    world.add_topic("events.a", 6, (1001, 1002, 1003))
    define(world, AS_IT_IS)
    return world


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "PATIENCE_SECONDS", 1.0)


def define(world: World, text: str, **annotations: str) -> None:
    world.definitions["topics"] = {"topics.yaml": text}
    world.annotations["topics"] = {f"{labels.DOMAIN}/{key.replace('_', '-')}": value for key, value in annotations.items()}


def rows(world: World, topic: str) -> list[list[int]]:
    return [one.replicas for name, one in sorted(world.partitions.items()) if name.topic == topic]


async def run(runbooks: Bench, **fields: Any) -> RunbookResult:
    return await (await runbooks.start_runbook("TopicReconcile", **fields)).result()


async def refused(runbooks: Bench, **fields: Any) -> list[str]:
    """The reasons of a run that changes nothing."""
    acts = [one for one in runbooks.world.acts if one != "write_record"]
    result = await failure(await runbooks.start_runbook("TopicReconcile", **{**NOW, **fields}))
    assert result.outcome is Outcome.REFUSED
    assert [one for one in runbooks.world.acts if one != "write_record"] == acts
    return [f"{reason.name}: {reason.message}" for reason in result.reasons]


async def test_topics_are_made_within_their_map_and_the_second_run_has_nothing_to_do(runbooks: Bench) -> None:
    world = runbooks.world
    define(world, AS_IT_IS + topic("events.b", 6, 3, configs="{retention.ms: 1000}") + topic("check_runs", 4, 2))
    result = await run(runbooks, **GO)
    assert result.outcome is Outcome.DONE, result.summary
    assert result.summary == "topics: 2 to make"
    holds(result)
    assert [set(row) for row in rows(world, "events.b")] == [{1001, 1002, 1003}] * 6
    assert sorted(row[0] for row in rows(world, "events.b")) == [1001, 1001, 1002, 1002, 1003, 1003]
    assert [set(row) < {1004, 1005, 1006} and len(row) == 2 for row in rows(world, "check_runs")] == [True] * 4
    assert world.own_configs["events.b"] == {"retention.ms": "1000"}
    again = await run(runbooks, **GO)
    assert again.outcome is Outcome.NOTHING_TO_DO and again.summary == "every topic is as its definition says"
    nothing_is_left(world)


async def test_without_leave_to_go_even_a_harmless_plan_waits_with_what_it_would_do(runbooks: Bench) -> None:
    world = runbooks.world
    define(world, AS_IT_IS.replace("replicas: 2", "replicas: 2, retention.ms: 7") + topic("events.b", 1, 3))
    handle = await runbooks.start_runbook("TopicReconcile")
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None and status.plan.is_harmless
    assert [f"{line.label}: {line.text}" for line in status.plan.lines] == [
        "what: topics: 1 to make, 1 to configure",
        "create: events.b: 1 partitions, 3 replicas",
        "configs: events.a: retention.ms: default -> 7",
    ]
    assert rows(world, "events.b") == []
    await handle.execute_update(TopicReconcile.approve, Approval(by="alice", reason="fine"))
    assert (await handle.result()).outcome is Outcome.DONE
    assert world.own_configs["events.a"] == {"retention.ms": "7"}


async def test_a_second_person_is_asked_whatever_is_harmless(runbooks: Bench) -> None:
    define(runbooks.world, AS_IT_IS + topic("events.b", 1, 3))
    runbooks.clusters.want_second_person()
    handle = await runbooks.start_runbook("TopicReconcile", **GO)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    await handle.execute_update(TopicReconcile.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED
    assert rows(runbooks.world, "events.b") == []


async def test_partitions_are_added_once_somebody_knows_that_keys_move(runbooks: Bench) -> None:
    world = runbooks.world
    define(world, AS_IT_IS.replace("partitions: 6", "partitions: 8"))
    (reason,) = await refused(runbooks, **GO)
    assert reason.startswith("keys-move:events.a: topic events.a: 8 partitions instead of 6: records with a key go")
    handle = await runbooks.start_runbook("TopicReconcile", **GO)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    before = rows(world, "events.a")
    approval = Approval(by="alice", reason="no keys", acknowledged_risks=("keys-move:events.a",))
    await handle.execute_update(TopicReconcile.approve, approval)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert rows(world, "events.a")[:6] == before and len(rows(world, "events.a")) == 8
    nothing_is_left(world)


async def test_a_config_that_leaves_its_definition_is_reset_and_one_set_by_hand_stays_until_it_is_adopted(
    runbooks: Bench,
) -> None:
    world = runbooks.world
    define(world, AS_IT_IS.replace("replicas: 2", "replicas: 2, retention.ms: 7"))
    assert (await run(runbooks, **GO)).outcome is Outcome.DONE
    world.own_configs["events.a"]["cleanup.policy"] = "compact"
    define(world, AS_IT_IS)
    handle = await runbooks.start_runbook("TopicReconcile", **GO)
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    assert world.own_configs["events.a"] == {"cleanup.policy": "compact"}
    assert "events.a: config: set by hand: cleanup.policy=compact" in (await handle.query(TopicReconcile.status)).notes
    again = await run(runbooks, **GO)
    assert again.summary == "every topic is as its definition says; drift that stays: 1 config"
    assert (await run(runbooks, **GO, adopt=True)).outcome is Outcome.DONE
    assert world.own_configs["events.a"] == {}


async def test_what_was_as_declared_from_the_start_is_ours_too(runbooks: Bench) -> None:
    """Nothing was set by any run, and the config goes with its definition."""
    world = runbooks.world
    assert (await run(runbooks, **GO)).outcome is Outcome.NOTHING_TO_DO
    define(world, MAPS + topic("events.a", 6, 3))
    assert (await run(runbooks, **GO)).outcome is Outcome.DONE
    assert world.minimum_in_sync["events.a"] == 1


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({}, "ConfigMap topics:1: data: is empty"),
        ({"topics.yaml": ""}, "ConfigMap topics topics.yaml:1: is empty"),
        ({"topics.yaml": AS_IT_IS + "  - {name: events.b, partit"}, "ConfigMap topics topics.yaml:7"),
        ({"topics.yaml": MAPS + topic("events.a", 3, 3)}, "events.a has 6 partitions, and Kafka can't take any away"),
        ({"topics.yaml": MAPS + topic("events_a", 6, 3, map="events")}, "events_a collides with the topic events.a"),
        ({"topics.yaml": AS_IT_IS + topic("events.b", 1, 3, configs="{no.such: 1}")}, "has no topic config no.such"),
        ({"topics.yaml": AS_IT_IS + topic("events.b", 1, 4)}, "replication factor 4, and map events has 3 brokers"),
    ],
)
async def test_a_fault_of_one_definition_stops_all_of_them(runbooks: Bench, data: dict[str, str], fault: str) -> None:
    world = runbooks.world
    world.definitions = {"topics": data, "more": {"topics.yaml": "topics:\n" + topic("check_runs", 1, 3)}}
    assert any(fault in reason for reason in await refused(runbooks, **GO))
    assert set(world.topic_ids) == {"events.a"}


async def test_without_definitions_nothing_is_done(runbooks: Bench) -> None:
    runbooks.world.definitions = {}
    result = await run(runbooks, **GO)
    assert result.outcome is Outcome.NOTHING_TO_DO and result.summary.startswith("no ConfigMap in the cluster's namespace")
    define(runbooks.world, MAPS + topic("events.b", 1, 3))
    assert (await run(runbooks, **GO)).outcome is Outcome.DONE
    assert rows(runbooks.world, "events.a"), "what nobody declares is nobody's to delete"


async def test_a_map_s_brokers_that_are_down_or_cordoned_get_nothing_new(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_broker("events", "zone-a")
    world.kill_broker(1001)
    define(world, AS_IT_IS + topic("events.b", 4, 3))
    assert (await run(runbooks, **GO)).outcome is Outcome.DONE
    assert {broker for row in rows(world, "events.b") for broker in row} == {1002, 1003, 1007}
    world.cordoned[1007] = "*"
    define(world, AS_IT_IS + topic("events.b", 4, 3) + topic("events.c", 4, 3))
    (reason,) = await refused(runbooks, **GO)
    assert reason.startswith("too-few-brokers:events: map events: 3 replicas are wanted, and 2 of its brokers take new ones")


async def test_what_a_policy_refuses_is_told_before_anything_is_done(runbooks: Bench) -> None:
    world = runbooks.world
    world.refused_topics["events.c"] = "no owner"
    define(world, AS_IT_IS + topic("events.b", 1, 3) + topic("events.c", 1, 3))
    (reason,) = await refused(runbooks, **GO)
    assert reason == "refused:events.c: Kafka says: topic events.c: PolicyViolationError: no owner"
    assert rows(world, "events.b") == []


async def test_one_refusal_at_the_last_moment_keeps_no_other_topic_from_being_made(runbooks: Bench) -> None:
    world = runbooks.world

    def before(act: str) -> None:
        if act == "create_topics":
            world.refused_topics["events.c"] = "no owner"

    define(world, AS_IT_IS + topic("events.b", 1, 3) + topic("events.c", 1, 3))
    world.before_act = before
    result = await failure(await runbooks.start_runbook("TopicReconcile", **GO))
    assert result.outcome is Outcome.FAILED
    assert "1 of 2 topics are refused: events.c: topic events.c: PolicyViolationError: no owner" in result.summary
    assert len(rows(world, "events.b")) == 1


async def test_a_topic_that_somebody_else_makes_meanwhile_is_found_and_not_overwritten(runbooks: Bench) -> None:
    world = runbooks.world

    def before(act: str) -> None:
        if act == "create_topics" and "events.b" not in world.topic_ids:
            world.add_topic("events.b", 2, (1001, 1002), replication_factor=2, minimum_in_sync=1)

    define(world, AS_IT_IS + topic("events.b", 4, 3) + topic("events.c", 1, 3))
    world.before_act = before
    handle = await runbooks.start_runbook("TopicReconcile", **GO)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None and status.plan.title == "topics: 1 to grow, 1 to move"
    assert [len(row) for row in rows(world, "events.b")] == [2, 2] and len(rows(world, "events.c")) == 1
    await handle.execute_update(TopicReconcile.reject, ME)
    assert (await failure(handle)).outcome is Outcome.REJECTED


async def test_what_was_to_be_on_a_broker_that_is_lost_meanwhile_is_placed_again(runbooks: Bench) -> None:
    """Without another approval: what nobody has made yet may be anywhere in its map."""
    world = runbooks.world
    define(world, AS_IT_IS + topic("events.b", 6, 2))
    handle = await runbooks.start_runbook("TopicReconcile")
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    world.kill_broker(1003)
    await handle.execute_update(TopicReconcile.approve, Approval(by="alice", reason="CHG-1"))
    assert (await handle.result()).outcome is Outcome.DONE
    assert [set(row) for row in rows(world, "events.b")] == [{1001, 1002}] * 6


async def test_a_config_that_somebody_changes_meanwhile_is_planned_from_again(runbooks: Bench) -> None:
    world = runbooks.world
    changed: list[str] = []

    def before(act: str) -> None:
        if act == "write_record" and "events.b" in world.topic_ids and not changed:
            changed.append(act)
            world.own_configs["events.a"] = {"retention.ms": "99"}

    define(
        world,
        AS_IT_IS.replace("replicas: 2", "replicas: 2, retention.ms: 7") + topic("events.b", 1, 3, configs="{retention.ms: 1}"),
    )
    world.before_act = before
    result = await run(runbooks, **GO)
    assert result.outcome is Outcome.DONE, result.summary
    assert changed and world.own_configs["events.a"] == {"retention.ms": "7"}


@pytest.mark.parametrize("act", ["create_topics", "write_record", "set_topic_configs", "add_partitions"])
@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_a_call_that_fails_is_made_again_or_found_to_be_done(runbooks: Bench, act: str, is_carried_out: bool) -> None:
    world = runbooks.world
    failed: list[str] = []

    def fail(name: str) -> None:
        if name == act and not failed:
            failed.append(name)
            raise Unreachable("cut off")

    text = AS_IT_IS.replace("replicas: 2", "replicas: 2, retention.ms: 7").replace("partitions: 6", "partitions: 7")
    define(world, text + topic("events.b", 3, 3, configs="{retention.ms: 1}"))
    if is_carried_out:
        world.after_act = fail
    else:
        world.before_act = fail
    result = await run(runbooks, **NOW, acknowledged_risks=["keys-move:events.a"])
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert failed and len(rows(world, "events.a")) == 7 and len(rows(world, "events.b")) == 3
    assert world.own_configs == {"events.a": {"retention.ms": "7"}, "events.b": {"retention.ms": "1"}}
    known = applied_topics.load(FakeKubernetes(world), runbooks.cluster)
    assert known.keys_of("events.b", world.topic_ids["events.b"]) == {"retention.ms"}
    assert (await run(runbooks, **GO)).outcome is Outcome.NOTHING_TO_DO


async def test_what_is_kept_until_a_time_stays(runbooks: Bench) -> None:
    world = runbooks.world
    until_when = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    keep = json.dumps({"topics": ["events.a"], "until": until_when, "by": "alice", "reason": "full disk"})
    world.own_configs["events.a"] = {"retention.ms": "1"}
    define(world, AS_IT_IS.replace("replicas: 2", "replicas: 2, retention.ms: 7"), keep_until=keep)
    handle = await runbooks.start_runbook("TopicReconcile", **GO)
    assert (await handle.result()).outcome is Outcome.NOTHING_TO_DO
    (note,) = [note for note in (await handle.query(TopicReconcile.status)).notes if "kept" in note]
    assert "retention.ms is 1, 7 declared; alice keeps it until" in note
    assert world.own_configs["events.a"] == {"retention.ms": "1"}


async def test_the_replication_factor_and_the_map_change_through_the_mover(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_topic("check_runs", 4, (1001, 1002, 1003), replication_factor=2, minimum_in_sync=1, size_bytes=10 * MEGABYTE)
    world.add_topic("events.b", 4, (1001, 1002), replication_factor=2, minimum_in_sync=1, size_bytes=10 * MEGABYTE)
    text = AS_IT_IS.replace("replication_factor: 3", "replication_factor: 2").replace("replicas: 2}", "replicas: 1}")
    text += topic("check_runs", 6, 2) + topic("events.b", 5, 3, configs="{min.insync.replicas: 2}")
    define(world, text)
    risks = ["keys-move:check_runs", "keys-move:events.b"]
    result = await run(runbooks, **NOW, acknowledged_risks=risks)
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert all(len(row) == 2 for row in rows(world, "events.a"))
    assert all(set(row) < {1004, 1005, 1006} and len(row) == 2 for row in rows(world, "check_runs"))
    assert [set(row) for row in rows(world, "events.b")] == [{1001, 1002, 1003}] * 5
    assert len(rows(world, "check_runs")) == 6
    assert (world.minimum_in_sync["events.a"], world.minimum_in_sync["events.b"]) == (1, 2)
    assert (await run(runbooks, **GO)).outcome is Outcome.NOTHING_TO_DO
    nothing_is_left(world)


async def test_a_higher_minimum_waits_for_the_replicas_that_it_needs(runbooks: Bench) -> None:
    world = runbooks.world
    seen: list[tuple[dict[str, str] | None, int]] = []
    world.add_topic("events.b", 2, (1001,), replication_factor=1, minimum_in_sync=1, size_bytes=10 * MEGABYTE)

    def before(act: str) -> None:
        if act == "set_topic_configs":
            seen.append(
                (dict(world.own_configs.get("events.b", {})), len(world.partitions[TopicPartition("events.b", 1)].in_sync))
            )

    world.before_act = before
    define(world, AS_IT_IS + topic("events.b", 2, 3, configs="{min.insync.replicas: 2, retention.ms: 7}"))
    assert (await run(runbooks, **NOW)).outcome is Outcome.DONE
    assert seen == [({}, 1), ({"retention.ms": "7"}, 3)]


async def test_an_abort_with_rollback_takes_the_moves_back_and_says_what_stays(runbooks: Bench) -> None:
    world = runbooks.world
    world.add_topic("check_runs", 4, (1001, 1002, 1003), size_bytes=40 * MEGABYTE)
    before = rows(world, "check_runs")
    define(world, AS_IT_IS + topic("check_runs", 4, 3, configs="{min.insync.replicas: 2}") + topic("events.b", 1, 3))
    slow = {"throttle": {"mode": "fixed", "rate_bytes_per_s": 2_000_000}, "wait_for_approval": False}
    handle = await runbooks.start_runbook("TopicReconcile", **slow)
    await until(handle, lambda status: status.progress is not None and status.progress.total_bytes > 0)
    await handle.execute_update(TopicReconcile.abort, Abort(by="alice", reason="wrong map", rollback=True))
    result = await failure(handle)
    assert result.outcome is Outcome.ABORTED
    assert result.summary.endswith("topics that were made, configured or grown stay so"), result.summary
    holds(result)
    assert rows(world, "check_runs") == before and len(rows(world, "events.b")) == 1
    nothing_is_left(world)


async def test_a_preview_shows_the_plan_and_writes_nothing(runbooks: Bench) -> None:
    world = runbooks.world
    define(world, AS_IT_IS + topic("events.b", 1, 3))
    request = {"cluster": runbooks.cluster, "requester": "test"}
    survey = await runbooks.client.execute_workflow(
        "Preview",
        PreviewRequest(runbook="TopicReconcile", request=request),
        id=f"preview-{runbooks.cluster}",
        task_queue=runbooks.task_queue,
        result_type=Survey,
    )
    assert survey.plan is not None and survey.plan.title == "topics: 1 to make"
    assert world.records == {} and world.events == {} and rows(world, "events.b") == []


def let_delete(runbooks: Bench, hours: float = 2.0) -> None:
    """Allow it for the cluster; what was seen of quiet topics was seen some hours ago."""
    runbooks.clusters.allow_deletion()
    name, kubernetes = applied_topics.name_of(runbooks.cluster), FakeKubernetes(runbooks.world)
    known = applied_topics.load(kubernetes, runbooks.cluster)
    earlier = tuple(one.model_copy(update={"since": one.since - timedelta(hours=hours)}) for one in known.quiet)
    store.save(kubernetes, store.TOPICS, name, known.model_copy(update={"quiet": earlier}), "earlier")


MARKED = AS_IT_IS + topic("events.b", 2, 3, delete="true")


@pytest.fixture
def with_marked(world: World) -> World:
    world.add_topic("events.b", 2, (1001, 1002, 1003))
    define(world, MARKED)
    return world


async def test_a_topic_goes_only_by_cluster_and_mark_and_quiet_and_approval(runbooks: Bench, with_marked: World) -> None:
    deletion = "every topic is as its definition says; drift that stays: 1 deletion"
    assert (await run(runbooks, **GO)).summary == deletion, "not allowed for the cluster"
    runbooks.clusters.allow_deletion()
    assert (await run(runbooks, **GO)).summary == deletion, "seen for a moment only"
    let_delete(runbooks, hours=0.9)
    assert (await run(runbooks, **GO)).summary == deletion, "not for an hour"
    let_delete(runbooks)
    with_marked.end_offsets[TopicPartition("events.b", 1)] = 5
    assert (await run(runbooks, **GO)).summary == deletion, "in use"
    let_delete(runbooks)
    handle = await runbooks.start_runbook("TopicReconcile", **GO)
    status = await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    assert status.plan is not None and status.plan.title == "topics: 1 to delete"
    await handle.execute_update(TopicReconcile.approve, Approval(by="alice", reason="fine"))
    result = await handle.result()
    assert result.outcome is Outcome.DONE, result.summary
    holds(result)
    assert set(with_marked.topic_ids) == {"events.a"}
    assert (await run(runbooks, **GO)).summary == "every topic is as its definition says"


@pytest.mark.parametrize("what", ["mark", "produced", "made again", "unreadable", "kept"])
async def test_what_no_longer_allows_a_deletion_stops_it_at_the_last_moment(
    runbooks: Bench, with_marked: World, what: str
) -> None:
    world = with_marked
    await run(runbooks, **GO)
    let_delete(runbooks)
    handle = await runbooks.start_runbook("TopicReconcile")
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    if what == "mark":
        define(world, AS_IT_IS)
    elif what == "produced":
        world.end_offsets[TopicPartition("events.b", 0)] = 1
    elif what == "made again":
        world.delete_topic("events.b")
        world.add_topic("events.b", 2, (1001, 1002, 1003))
    elif what == "unreadable":
        define(world, MARKED + "  - {")
    else:
        when = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        keep = json.dumps({"topics": ["events.b"], "until": when, "by": "alice", "reason": "wait"})
        define(world, MARKED, keep_until=keep)
    await handle.execute_update(TopicReconcile.approve, Approval(by="alice", reason="fine"))
    result = await failure(handle) if what == "unreadable" else await handle.result()
    assert result.outcome is (Outcome.FAILED if what == "unreadable" else Outcome.DONE), result.summary
    assert "events.b" in world.topic_ids and "delete_topics" not in world.acts


async def test_no_more_than_three_topics_go_in_a_run(runbooks: Bench, world: World) -> None:
    text = AS_IT_IS
    for number in range(5):
        world.add_topic(f"events.{number}", 1, (1001, 1002, 1003))
        text += topic(f"events.{number}", 1, 3, delete="true")
    define(world, text)
    await run(runbooks, **GO)
    let_delete(runbooks)
    assert (await run(runbooks, **NOW)).outcome is Outcome.DONE
    assert set(world.topic_ids) == {"events.a", "events.3", "events.4"}


async def test_what_differs_is_said_on_the_config_map(runbooks: Bench) -> None:
    world = runbooks.world
    world.own_configs["events.a"] = {"retention.ms": "5", "min.insync.replicas": "2"}
    world.add_topic("stray", 1, (1004, 1005, 1006))
    define(world, AS_IT_IS + topic("events.b", 6, 3))
    await run(runbooks, **GO)
    assert world.events == {
        ("topics", "TopicsMissing"): ("events.b", False),
        ("topics", "TopicsUnmanaged"): ("stray", False),
        ("topics", "ConfigsSetByHand"): ("events.a: set by hand: retention.ms=5", False),
    }
    define(world, AS_IT_IS + topic("events.a", 6, 3))
    await refused(runbooks)
    message, is_warning = world.events["topics", "InvalidDefinition"]
    assert is_warning and "events.a is declared twice" in message and message.startswith("ConfigMap topics topics.yaml:")


async def test_without_the_right_to_say_so_a_run_goes_on(runbooks: Bench) -> None:
    world = runbooks.world
    world.events_are_forbidden = True
    define(world, AS_IT_IS + topic("events.b", 6, 3))
    handle = await runbooks.start_runbook("TopicReconcile", **GO)
    assert (await handle.result()).outcome is Outcome.DONE
    assert "no Events on the ConfigMaps: event: 403 Forbidden" in (await handle.query(TopicReconcile.status)).notes
