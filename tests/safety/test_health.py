"""What is wrong, and what of it people are told: once, and not what a restart or a copy brings about."""

from kafka_runbooks.models.cluster import Reassignment
from kafka_runbooks.models.health import Fault, HealthReport, Problem, Standing
from kafka_runbooks.safety import health
from tests.safety.builders import cluster, part


def look(*found: tuple[str, str]) -> HealthReport:
    """What is found, as fault and what it is of; what is of the same fault is one line."""
    by_fault: dict[str, list[str]] = {}
    for fault, of in found:
        by_fault.setdefault(fault, []).extend([of] if of else [])
    problems = tuple(
        Problem(fault=fault, line=f"{fault} {', '.join(of)}".strip(), of=tuple(of)) for fault, of in by_fault.items()
    )
    return HealthReport(is_healthy=not problems, found=problems, summary="; ".join(one.line for one in problems))


def told(*looks: HealthReport) -> list[str]:
    """The news of looks that follow each other."""
    before, news = None, []
    for one in looks:
        before = health.since(before, one)
        news.append(before.news)
    return news


WELL = look()
DOWN, OTHER, OFFLINE = (Fault.BROKER_DOWN, "1"), (Fault.BROKER_DOWN, "2"), (Fault.NO_LEADER, "")


def test_each_fault_is_a_line_and_has_its_brokers() -> None:
    found = health.problems(
        cluster(
            part((4, 1), ()),
            part((1, 2, 3), (1,), 1),
            part((1, 2, 3), (1, 2), 2),
            part((2, 1, 3), (1, 2, 3), 3),
            part((1, 4, 2), (1, 2), 4),
            minimum=2,
            live=(1, 2, 3),
        )
    )
    assert [(one.fault, one.of) for one in found] == [
        (Fault.NO_LEADER, ()),
        (Fault.WRITES_REFUSED, ()),
        (Fault.BROKER_DOWN, ("4",)),
        (Fault.OUT_OF_SYNC, ("3",)),
        (Fault.LEADERS_ELSEWHERE, ()),
    ]
    assert found[2].line == "brokers 4 are down; 2 partitions have a replica there"
    assert found[3].line == "1 partitions have a replica that isn't in sync, on brokers 3: t-2"


def test_a_replica_that_a_reassignment_adds_is_not_out_of_sync() -> None:
    snapshot = cluster(part((1, 2, 3), (1, 2)), minimum=1)
    adds = Reassignment(topic="t", partition=0, replicas=(1, 2, 3), adding=(3,), removing=())
    assert health.problems(snapshot, [adds]) == []
    assert [one.fault for one in health.problems(snapshot, [adds.model_copy(update={"adding": ()})])] == [Fault.OUT_OF_SYNC]


def test_what_clients_notice_is_told_at_once_and_once() -> None:
    assert told(look(OFFLINE), look(OFFLINE), WELL, WELL) == ["no leader", "", "what was wrong is over", ""]


def test_anything_else_is_told_when_two_looks_in_a_row_have_found_it() -> None:
    assert told(WELL, look(DOWN), look(DOWN), look(DOWN), WELL) == ["", "", "broker down 1", "", "what was wrong is over"]


def test_brokers_that_restart_one_after_another_are_no_news_but_the_dead_one_among_them_is() -> None:
    assert told(*(look((Fault.BROKER_DOWN, of), (Fault.OUT_OF_SYNC, of)) for of in "12345")) == [""] * 5
    assert told(look(DOWN, OTHER), look(DOWN, (Fault.BROKER_DOWN, "3"))) == ["", "broker down 1, 3"]


def test_a_second_one_is_told_with_what_was_known() -> None:
    news = told(look(DOWN), look(DOWN), look(OFFLINE, DOWN))
    assert news[-1] == "no leader. Still so: broker down 1"
    assert told(look(DOWN), look(DOWN), look(DOWN, OTHER), look(DOWN, OTHER), look(OTHER))[2:] == ["", "broker down 1, 2", ""]


def test_what_a_look_cannot_see_is_not_over() -> None:
    blind = look((Fault.UNSEEN, "brokers and partitions"))
    assert told(look(OFFLINE), blind, look(OFFLINE), WELL) == ["no leader", "", "", "what was wrong is over"]
    assert told(look(OFFLINE), blind, blind, WELL)[1:] == ["", "unseen brokers and partitions", "what was wrong is over"]


def test_leaders_elsewhere_wake_nobody() -> None:
    elsewhere = (Fault.LEADERS_ELSEWHERE, "")
    assert told(*[look(elsewhere)] * 3) == [""] * 3
    assert told(look(OFFLINE), look(elsewhere))[-1] == "what was wrong is over; leaders elsewhere"


def test_the_result_of_another_runbook_or_version_is_read() -> None:
    """The schedule may have run something else under this ID until now."""
    before = HealthReport.model_validate(
        {"outcome": "done", "summary": "moved", "problems": ["brokers 1001 are down"], "owner": 1}
    )
    assert health.since(before, look(OFFLINE)).standing == (Standing(fault="no leader"),)
    newer = HealthReport.model_validate(
        {"found": [{"fault": "disk on fire", "line": "x"}], "standing": [{"fault": "disk on fire"}]}
    )
    assert health.since(newer, WELL).news == "what was wrong is over"
