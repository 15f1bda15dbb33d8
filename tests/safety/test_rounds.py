"""Rounds: every plan by the independent checker, and against the best there is on tiny clusters."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation
from kafka_runbooks.safety.restarts import reasons_not_to_restart
from kafka_runbooks.safety.rounds import after_restart, plan_rounds
from kafka_runbooks.safety.rounds_checker import check_rounds
from tests.safety.restart_strategies import RISKS, limits, sites

Site = tuple[RestartObservation, tuple[KafkaNode, ...]]
RISK_SETS = st.sets(st.sampled_from(RISKS))


@settings(max_examples=400)
@given(sites(), limits(), RISK_SETS)
def test_the_checker_finds_nothing_wrong(site: Site, within: RestartLimits, risks: set[str]) -> None:
    observation, nodes = site
    plan = plan_rounds(observation, nodes, within, acknowledged_risks=risks)
    assert check_rounds(observation, nodes, within, plan, risks) == []


@given(sites(), limits(), RISK_SETS)
def test_each_round_passes_the_rule_and_what_is_blocked_does_not(site: Site, within: RestartLimits, risks: set[str]) -> None:
    observation, nodes = site
    plan = plan_rounds(observation, nodes, within, acknowledged_risks=risks)
    by_id, restarted = {node.id: node for node in nodes}, set[int]()
    for ids in plan.rounds:
        then = after_restart(observation, restarted)
        later = [by_id[one] for one in by_id.keys() - restarted - set(ids) if one not in {node.id for node in plan.blocked}]
        going = [by_id[one] for one in ids]
        assert reasons_not_to_restart(then, going, within, later=later, acknowledged_risks=risks) == []
        restarted |= set(ids)
    for node in plan.blocked:
        assert node.reasons and all(reason.name not in risks for reason in node.reasons)
        assert reasons_not_to_restart(observation, [by_id[node.id]], within, acknowledged_risks=risks)
