"""Rounds: every plan by the independent checker, and against the best there is on tiny clusters."""

import json
import random
from dataclasses import replace
from functools import cache
from itertools import chain, combinations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks import rolling_rounds
from kafka_runbooks.models.cluster import Reassignment
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation, RestartRounds
from kafka_runbooks.safety.restarts import reasons_not_to_restart
from kafka_runbooks.safety.rounds import after_restart, plan_rounds
from kafka_runbooks.safety.rounds_checker import check_rounds
from tests.safety.builders import part
from tests.safety.restart_strategies import RISKS, brokers_of, healthy, limits, quorum_of, sites

Site = tuple[RestartObservation, tuple[KafkaNode, ...]]
RISK_SETS = st.sets(st.sampled_from(RISKS))


@settings(max_examples=200)
@given(sites(), limits(), RISK_SETS)
def test_the_checker_finds_nothing_wrong(site: Site, within: RestartLimits, risks: set[str]) -> None:
    observation, nodes = site
    plan = plan_rounds(observation, nodes, within, acknowledged_risks=risks)
    assert check_rounds(observation, nodes, within, plan, risks) == []


@given(sites(), limits(), RISK_SETS, st.integers(0, 5))
def test_the_first_broker_goes_alone_and_before_all_others_that_are_not_sick(
    site: Site, within: RestartLimits, risks: set[str], first: int
) -> None:
    observation, nodes = site
    assume(nodes)
    chosen = nodes[first % len(nodes)]
    plan = plan_rounds(observation, nodes, within, acknowledged_risks=risks, first_broker=chosen.id)
    assert check_rounds(observation, nodes, within, plan, risks) == []
    when = {one: number for number, ids in enumerate(plan.rounds) for one in ids}
    if chosen.id not in when or chosen.id == observation.active_controller:
        return
    assert plan.rounds[when[chosen.id]] == (chosen.id,)
    alike = [node.id for node in nodes if (node.is_controller, node.is_ready) == (chosen.is_controller, chosen.is_ready)]
    assert all(when[one] > when[chosen.id] for one in alike if one in when and one != chosen.id)


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


def best_there_is(
    observation: RestartObservation,
    nodes: tuple[KafkaNode, ...],
    within: RestartLimits,
    risks: frozenset[str],
    seconds: dict[int, float],
) -> tuple[int, float]:
    """The fewest rounds and the least time of any sequence of sets that the rule lets go, sick ones and controllers first."""
    by_id, active = {node.id: node for node in nodes}, observation.active_controller

    def stage(node: KafkaNode) -> tuple[bool, bool, bool]:
        is_last = node.id == active and (node.is_controller or observation.quorum is None)
        return not node.is_controller, is_last, node.is_ready and not is_last

    @cache
    def best(restarted: frozenset[int]) -> tuple[int, float]:
        left = sorted(by_id.keys() - restarted)
        if not left:
            return 0, 0.0
        then, first = after_restart(observation, restarted), min(stage(by_id[one]) for one in left)
        may_go = [one for one in left if stage(by_id[one]) == first]
        found = [(99, 1e9)]
        for ids in chain.from_iterable(combinations(may_go, size) for size in range(1, len(may_go) + 1)):
            if not reasons_not_to_restart(then, [by_id[one] for one in ids], within, acknowledged_risks=risks):
                rounds, time = best(restarted | set(ids))
                found.append((rounds + 1, time + max(seconds[one] for one in ids)))
        return min(rounds for rounds, _ in found), min(time for _, time in found)

    return best(frozenset())


@settings(max_examples=150)
@given(sites(most_brokers=5, most_partitions=8), limits(), RISK_SETS, st.lists(st.integers(1, 9), min_size=10, max_size=10))
def test_the_bound_is_at_most_the_best_and_the_best_at_most_the_plan(
    site: Site, within: RestartLimits, risks: set[str], durations: list[int]
) -> None:
    observation, nodes = site
    seconds = {node.id: 60.0 * duration for node, duration in zip(nodes, durations, strict=False)}
    plan = plan_rounds(observation, nodes, within, acknowledged_risks=risks, restart_seconds=seconds)
    blocked = {node.id for node in plan.blocked}
    placed = tuple(node for node in nodes if node.id not in blocked)
    rounds, time = best_there_is(observation, placed, within, frozenset(risks), seconds)
    assert plan.lower_bound_rounds <= rounds <= len(plan.rounds)
    assert plan.lower_bound_seconds - 1e-6 <= time <= plan.makespan_seconds + 1e-6


@given(sites(), limits(), st.randoms())
def test_the_plan_is_the_same_whatever_the_order_of_the_nodes(site: Site, within: RestartLimits, shuffler: random.Random) -> None:
    observation, nodes = site
    shuffled = list(nodes)
    shuffler.shuffle(shuffled)
    assert plan_rounds(observation, shuffled, within) == plan_rounds(observation, nodes, within)


ANY = RestartLimits(one_rack_at_a_time=False)


def test_three_zones_are_three_rounds_however_many_brokers_they_have() -> None:
    """Every zone's brokers hold replicas of what the others hold, so no two zones may go together."""
    brokers = brokers_of(*range(9))
    partitions = [part((a, b, c), (a, b, c), 9 * a + b) for a in (0, 3, 6) for b in (1, 4, 7) for c in (2, 5, 8)]
    plan = plan_rounds(healthy(*partitions, minimum=2, live=range(9)), brokers, ANY)
    assert plan.rounds == ((0, 3, 6), (1, 4, 7), (2, 5, 8)) and plan.lower_bound_rounds == 3
    assert plan.makespan_seconds == plan.lower_bound_seconds == 360.0


def test_brokers_that_share_a_partition_go_together_where_it_can_spare_them() -> None:
    seen = healthy(part(range(5), range(5)), minimum=2, live=range(5))
    for headroom, sizes in ((0, [3, 2]), (1, [2, 2, 1]), (None, [1] * 5)):
        plan = plan_rounds(seen, brokers_of(*range(5)), ANY.model_copy(update={"headroom": headroom}))
        assert [len(ids) for ids in plan.rounds] == sizes and plan.lower_bound_rounds == len(sizes)


def test_sick_ones_then_controllers_with_the_active_one_last_then_brokers() -> None:
    seen = RestartObservation(
        healthy(minimum=1, live=(1, 2, 3)).snapshot, quorum_of([101, 102, 103], leader=101, observers=[1, 2, 3]), (), 0.0
    )
    controllers = [
        KafkaNode(id=id_, is_broker=False, is_controller=True, is_ready=id_ != 103, rack="x") for id_ in (101, 102, 103)
    ]
    brokers = [KafkaNode(id=id_, is_ready=id_ != 2, rack="x") for id_ in (1, 2, 3)]
    plan = plan_rounds(seen, [*brokers, *controllers], RestartLimits())
    assert plan.rounds == ((103,), (102,), (101,), (2,), (1, 3))


def test_the_sick_broker_s_return_lets_its_peers_go() -> None:
    seen = healthy(part((1, 2, 3), (1, 2)), minimum=2, live=(1, 2))
    nodes = [KafkaNode(id=id_, is_ready=id_ != 3) for id_ in (1, 2, 3)]
    assert plan_rounds(seen, nodes, ANY).rounds == ((3,), (1,), (2,))
    without = plan_rounds(seen, nodes[:2], ANY)
    assert without.rounds == () and [node.id for node in without.blocked] == [1, 2]
    assert {reason.remedy for reason in without.reasons} == {"wait until broker 3 is in sync again"}


def test_what_can_t_go_is_named_and_the_rest_goes() -> None:
    seen = healthy(part((1, 2), (1, 2), 0, "single"), part((2, 3, 4), (2, 3, 4), 1), minimum=2, live=(1, 2, 3, 4))
    plan = plan_rounds(seen, brokers_of(1, 2, 3, 4), ANY)
    assert plan.rounds == ((3,), (4,)) and [node.id for node in plan.blocked] == [1, 2]
    assert [reason.name for reason in plan.blocked[0].reasons] == ["no-spare-replica:single"]
    accepted = plan_rounds(seen, brokers_of(1, 2, 3, 4), ANY, acknowledged_risks=["no-spare-replica:single"])
    assert (
        sorted(chain.from_iterable(accepted.rounds)) == [1, 2, 3, 4] and len(accepted.rounds) == accepted.lower_bound_rounds == 3
    )


def test_slow_ones_share_a_round() -> None:
    seen = healthy(minimum=1, live=range(4))
    plan = plan_rounds(
        seen,
        brokers_of(*range(4), racks=("x",)),
        RestartLimits(at_once=2),
        restart_seconds={0: 900.0, 1: 60.0, 2: 60.0, 3: 900.0},
    )
    assert plan.rounds == ((0, 3), (1, 2)) and plan.makespan_seconds == 960.0 and plan.lower_bound_seconds == 960.0


def test_plans_survive_json() -> None:
    plan = plan_rounds(healthy(part((1, 2), (1, 2)), minimum=2, live=(1, 2)), brokers_of(1, 2), ANY)
    assert RestartRounds.model_validate_json(plan.model_dump_json()) == plan


# What the checker is worth: it finds what is wrong with rounds that a planner didn't make

SEEN = RestartObservation(
    healthy(part((1, 2, 3), (1, 2, 3)), part((4, 5), (4, 5), 1, "pair"), minimum=2, live=range(1, 6)).snapshot,
    quorum_of([101, 102, 103], leader=101, observers=range(1, 6)),
    (),
    0.0,
)
NODES = (
    *(KafkaNode(id=id_, rack="x", map="m") for id_ in range(1, 6)),
    *(KafkaNode(id=id_, is_broker=False, is_controller=True, rack="x") for id_ in (101, 102, 103)),
)
GOOD = ((103,), (102,), (101,), (1, 4), (2,), (3,), (5,))


def found(*rounds: tuple[int, ...], within: RestartLimits = ANY, seen: RestartObservation = SEEN, bound: int = 0) -> str:
    risks = ["no-spare-replica:pair"]
    return "; ".join(check_rounds(seen, NODES, within, RestartRounds(rounds=rounds, lower_bound_rounds=bound), risks))


def test_the_checker_passes_good_rounds_and_names_what_is_wrong_with_others() -> None:
    assert found(*GOOD) == ""
    assert "node 5 is named 0 times" in found(*GOOD[:-1])
    assert "node 3 is named 2 times" in found(*GOOD, (3,))
    assert "node 9 is no target" in found(*GOOD, (9,))
    assert "is empty" in found(*GOOD, ())
    assert "the plan is better than its bound" in found(*GOOD, bound=8)
    assert "round 3, t-0: 1 in-sync replicas left, of at least 2" in found(*GOOD[:3], (1, 2), (3,), (4,), (5,))
    assert "round 3, pair-1" in found(*GOOD[:3], (4, 5), (1,), (2,), (3,))
    assert "round 0 leaves 1 of 3 voters" in found((103, 102), *GOOD[2:])
    assert "the active controller 101 isn't the last" in found((101,), (103,), (102,), *GOOD[3:])
    assert "controller 101 isn't before broker 1" in found(*GOOD[:2], (1, 4), (101,), *GOOD[4:])
    assert "round 3 has 2 nodes of map m" in found(*GOOD, within=RestartLimits(at_once_per_map=1))
    assert "round 3 has 2 nodes" in found(*GOOD, within=RestartLimits(at_once=1))
    moving = replace(SEEN, reassignments=(Reassignment(topic="t", partition=0, replicas=(1, 2, 3), adding=(), removing=(1,)),))
    assert "broker 2 restarts although t-0 is being reassigned" in found(*GOOD, seen=moving)
    cut_off = replace(SEEN, quorum=quorum_of([101, 102, 103], behind=[3], observers=range(1, 6)))
    assert "round 3, t-0" in found(*GOOD, seen=cut_off)
    assert "pair-1: it has no spare replica" in "; ".join(check_rounds(SEEN, NODES, ANY, RestartRounds(rounds=GOOD)))


def test_the_checker_knows_racks_and_sick_nodes() -> None:
    nodes = (KafkaNode(id=1, rack="x"), KafkaNode(id=2, rack="y", is_ready=False), KafkaNode(id=3))
    seen = healthy(minimum=1, live=(1, 2, 3))

    def wrong(*rounds: tuple[int, ...]) -> str:
        return "; ".join(check_rounds(seen, nodes, RestartLimits(), RestartRounds(rounds=rounds)))

    assert wrong((2,), (1,), (3,)) == ""
    assert "round 1 is in 2 racks" in wrong((2,), (1, 3))
    assert "sick node 2 isn't before 1" in wrong((1,), (2,), (3,))


def test_the_checker_knows_the_headroom() -> None:
    seen, nodes = healthy(part(range(5), range(5)), minimum=2, live=range(5)), brokers_of(*range(5))
    plan = RestartRounds(rounds=((0, 1, 2), (3, 4)))
    assert check_rounds(seen, nodes, ANY.model_copy(update={"headroom": 0}), plan) == []
    assert "less than the headroom" in "; ".join(check_rounds(seen, nodes, ANY.model_copy(update={"headroom": 1}), plan))


def test_the_benchmark_runs_on_a_small_cluster() -> None:
    figures = rolling_rounds.benchmark(brokers=48, partitions=600, seed=1)
    assert all(one["problems"] == one["blocked"] == 0 for one in figures.values()), json.dumps(figures)
    assert all(one["lower_bound_rounds"] <= one["rounds"] for one in figures.values())
    assert figures["as_many_as_is_safe"]["rounds"] == figures["as_many_as_is_safe"]["lower_bound_rounds"] == 6
    assert figures["20_at_once"]["makespan_seconds"] < figures["20_at_once"]["etsy_seconds"] < 51 * 120
