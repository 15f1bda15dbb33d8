"""The parts of the chaos test that need no lab: the schedule that a seed gives, and the verdict of the audit."""

import pytest

from tests.lab.chaos.audit import Found, Setting, Silence, judge
from tests.lab.chaos.schedule import API, FAULTS, SCENARIOS, TEMPORAL, WINDOW_SECONDS, Act, draw, parse, timeline

RATE = Setting("rate", "1001", "leader.replication.throttled.rate", "1000000")
ENTRY = Setting("list entry", "events.a", "leader", "3:1001")
LEDGER = Setting("ledger", "run-1")


def test_a_seed_s_round_is_the_same_whichever_came_before() -> None:
    assert draw(42, 7) == draw(42, 7)
    assert draw(42, 7).acts != draw(43, 7).acts
    assert draw(42, 7).acts != draw(42, 8).acts


def test_a_round_s_line_gives_the_round_again() -> None:
    for number in range(1, 50):
        assert parse(draw(5, number).line()) == draw(5, number)


def test_every_scenario_comes_once_before_any_comes_again() -> None:
    for cycle in range(3):
        drawn = [draw(1, cycle * len(SCENARIOS) + number + 1).scenario for number in range(len(SCENARIOS))]
        assert sorted(drawn) == sorted(SCENARIOS)


def test_every_fault_occurs_and_within_the_window() -> None:
    acts = [act for number in range(1, 200) for act in draw(3, number).acts]
    assert {act.kind for act in acts} == set(FAULTS)
    assert all(0 <= act.at_seconds <= WINDOW_SECONDS for act in acts)
    assert all(10 <= act.seconds <= 60 for act in acts if act.kind == "broker hangs")


def test_what_needs_a_server_that_is_away_is_put_off() -> None:
    cut = Act(5, "power cut", 20, {"broker": 1001})
    pause = Act(12, "person: pause", 2)
    away, gone = Act(10, API, 30), Act(11, TEMPORAL, 9)
    events = [(event.at_seconds, event.act.kind, event.is_end) for event in timeline((cut, away, gone, pause))]
    assert events == [
        (5, "power cut", False),
        (10, API, False),
        (11, TEMPORAL, False),
        (20, TEMPORAL, True),
        (21, "person: pause", False),
        (23, "person: pause", True),
        (40, API, True),
        (41, "power cut", True),
    ]


def test_two_absences_one_after_the_other_put_off_twice() -> None:
    events = timeline((Act(0, API, 10), Act(10.5, API, 10), Act(5, "controller killed")))
    assert [event.at_seconds for event in events if event.act.kind == "controller killed"] == [21.5]


def test_what_nobody_has_set_is_left_behind_and_unnamed() -> None:
    verdict = judge(Found(frozenset({RATE, ENTRY, LEDGER})), (), ())
    assert verdict.unnamed == tuple(sorted((RATE, ENTRY, LEDGER))) and not verdict.named and not verdict.lost


def test_what_a_result_names_is_named_and_nothing_else() -> None:
    lines = ("broker 1001: leader replication throttle 1000000 B/s",)
    verdict = judge(Found(frozenset({RATE, ENTRY, LEDGER})), (), lines)
    assert verdict.named == (LEDGER, RATE) and verdict.unnamed == (ENTRY,)


@pytest.mark.parametrize(
    ("setting", "line", "is_named"),
    [
        (ENTRY, "topic events.a: 3 leader and 0 follower throttled replicas", True),
        (ENTRY, "topic events.a.b: 3 leader and 0 follower throttled replicas", False),
        (ENTRY, "topic my-events.a: 3 leader and 0 follower throttled replicas", False),
        (RATE, "broker 11001: leader replication throttle", False),
        (RATE, "node 1001: cordon", False),
        (Setting("cordon", "events-a"), "node events-a: cordon", True),
        (Setting("cordon", "events-a"), "node events-a2: cordon", False),
        (Setting("log directory cordon", "1001"), "broker 1001: cordoned log directories", True),
        (Setting("log directory cordon", "1001"), "broker 1001: leader replication throttle 1 B/s", False),
        (Setting("reassignment", "events.a-3"), "3 partition reassignments", True),
        (Setting("override", "run-1"), "broker 1001: leader replication throttle", False),
        (Setting("permit", "run-1"), "broker 1001: leader replication throttle", False),
    ],
)
def test_a_line_names_a_setting(setting: Setting, line: str, is_named: bool) -> None:
    assert bool(judge(Found(frozenset({setting})), (), (line,)).named) is is_named


def test_what_a_person_has_set_must_stay_as_it_is() -> None:
    changed = Setting(RATE.kind, RATE.subject, RATE.key, "77")
    assert judge(Found(frozenset({RATE})), (RATE,), ()) == judge(Found(frozenset()), (), ())
    assert judge(Found(frozenset()), (RATE,), ()).lost == (RATE,)
    verdict = judge(Found(frozenset({changed})), (RATE,), ())
    assert verdict.lost == (RATE,) and verdict.unnamed == (changed,)
    assert judge(Found(frozenset(), frozenset({"1001"})), (RATE,), ()).lost == (), "nobody could ask it"


def test_an_open_run_keeps_its_ledger_and_no_ended_one_does() -> None:
    assert judge(Found(frozenset({LEDGER})), (), (), ("run-1",)).unnamed == ()
    assert judge(Found(frozenset({LEDGER})), (), (), ("run-2",)).unnamed == (LEDGER,)
    assert judge(Found(frozenset({RATE})), (), (), ("1001",)).unnamed == (RATE,)


def status(**fields: object) -> dict[str, object]:
    return {"phase": "steps", "step": "reassign partitions", "waiting": None, "progress": {"done_bytes": 1}, **fields}


def test_a_status_that_stands_still_and_says_nothing_is_silent() -> None:
    silence = Silence()
    for second in range(0, 71, 10):
        silence.see(second, status())
    assert silence.longest_seconds == 70 and silence.where == "steps: reassign partitions"


@pytest.mark.parametrize(
    "other",
    [
        status(waiting={"reason": "broker 1002 is down"}),
        status(progress={"done_bytes": 2}),
        status(step="elect preferred leaders"),
        {},
    ],
)
def test_a_status_that_moves_or_says_why_or_cannot_be_read_is_not_silent(other: dict[str, object]) -> None:
    silence = Silence()
    for now, seen in ((0, status()), (40, other), (41, status()), (80, status())):
        silence.see(now, seen)
    assert silence.longest_seconds == 39
    silence = Silence()
    for second in range(0, 200, 10):
        silence.see(second, status() if second % 20 else other)
    assert silence.longest_seconds <= 10
