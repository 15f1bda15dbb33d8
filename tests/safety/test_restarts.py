"""May nodes restart together now: each rule, what unblocks it, and what happens between the look and the stop."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import permutations, product
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import Reassignment
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation, RestartRounds
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.restarts import OLDEST_LOOK_SECONDS, cut_off_brokers, reasons_not_to_restart
from kafka_runbooks.safety.rounds import after_restart, plan_rounds
from kafka_runbooks.safety.rounds_checker import check_rounds
from tests.safety.builders import BROKERS, part
from tests.safety.restart_strategies import brokers_of, healthy, limits, quorum_of, sites
from tests.safety.test_availability import subsets

ANY = RestartLimits(one_rack_at_a_time=False)


def names(reasons: Collection[Reason]) -> list[str]:
    return [reason.name for reason in reasons]


def three(in_sync: Sequence[int] = (1, 2, 3), minimum: int = 2, live: Sequence[int] = BROKERS) -> RestartObservation:
    """One partition on brokers 1, 2 and 3."""
    return healthy(part((1, 2, 3), in_sync), minimum=minimum, live=live)


def test_by_default_every_other_replica_must_be_in_sync() -> None:
    seen = three(in_sync=(1, 2), minimum=1)
    (reason,) = reasons_not_to_restart(seen, brokers_of(1), ANY)
    assert reason.name == "below-min-isr:t" and "topic t, partition 0" in reason.message
    assert reason.remedy == "wait until broker 3 is in sync again, or set headroom to 0"
    assert reasons_not_to_restart(seen, brokers_of(1), ANY.model_copy(update={"headroom": 0})) == []
    assert reasons_not_to_restart(seen, brokers_of(3), ANY) == [], "what isn't in sync can't lower anything"
    assert reasons_not_to_restart(seen, brokers_of(4), ANY) == [], "it has nothing of what lags"


def test_what_somebody_else_shuts_down_counts_as_down_while_it_is_in_sync() -> None:
    two, stranger = brokers_of(2)[0], brokers_of(4)[0]
    ends = replace(three(), shutting_down=[two])
    assert names(reasons_not_to_restart(ends, brokers_of(1), ANY)) == ["below-min-isr:t"]
    assert reasons_not_to_restart(ends, [two], ANY) == [], "once, not twice"
    assert reasons_not_to_restart(ends, brokers_of(4), ANY) == [], "it has nothing of the other's"
    assert names(reasons_not_to_restart(ends, [stranger], ANY.model_copy(update={"at_once": 1}))) == ["too-many-at-once"]
    lost = replace(three(live=(1, 3, 4), minimum=1), shutting_down=[two])
    assert reasons_not_to_restart(lost, [stranger], ANY.model_copy(update={"at_once": 1})) == [], (
        "it is down, however long it ends"
    )


def test_a_controller_that_somebody_else_shuts_down_is_missed_by_the_majority() -> None:
    one, two, three_ = (KafkaNode(id=number, is_broker=False, is_controller=True) for number in (101, 102, 103))
    seen = replace(three(), quorum=quorum_of((101, 102, 103), 101, observers=BROKERS))
    assert reasons_not_to_restart(seen, [two], ANY) == []
    assert names(reasons_not_to_restart(replace(seen, shutting_down=[three_]), [two], ANY)) == ["no-majority"]
    assert names(reasons_not_to_restart(replace(seen, shutting_down=[one]), [two], ANY)) == ["no-majority"]


def test_a_broker_that_is_down_counts_where_it_shares_a_partition() -> None:
    seen = three(live=(1, 2, 4))
    assert names(reasons_not_to_restart(seen, brokers_of(1), ANY)) == ["below-min-isr:t"]
    assert reasons_not_to_restart(seen, brokers_of(4), ANY) == []


def test_topics_without_a_spare_replica_are_named_until_acknowledged() -> None:
    seen = three(minimum=3)
    (reason,) = reasons_not_to_restart(seen, brokers_of(1), ANY)
    assert reason.name == "no-spare-replica:t" and reason.can_be_acknowledged
    assert reasons_not_to_restart(seen, brokers_of(1), ANY, acknowledged_risks=["no-spare-replica:t"]) == []
    assert names(reasons_not_to_restart(seen, brokers_of(1, 2), ANY, acknowledged_risks=["no-spare-replica:t"])) == [
        "below-min-isr:t"
    ]


def test_a_reassignment_that_a_broker_takes_part_in_blocks_it() -> None:
    moving = Reassignment(topic="t", partition=0, replicas=(1, 2, 3, 4), adding=(4,), removing=(1,))
    seen = replace(healthy(minimum=1, live=(1, 2, 3, 4, 5)), reassignments=(moving,))
    for broker in BROKERS:
        (reason,) = reasons_not_to_restart(seen, brokers_of(broker), ANY)
        assert reason.name == "being-reassigned:t" and f"broker {broker}" in reason.message
    assert reasons_not_to_restart(seen, brokers_of(5), ANY) == []


def test_an_old_look_is_refused() -> None:
    fresh = replace(three(), age_seconds=OLDEST_LOOK_SECONDS)
    assert reasons_not_to_restart(fresh, brokers_of(1), ANY) == []
    old = replace(fresh, age_seconds=OLDEST_LOOK_SECONDS + 1)
    (reason,) = reasons_not_to_restart(old, brokers_of(4), ANY)
    assert reason.name == "stale-observation" and not reason.can_be_acknowledged


def test_a_look_by_a_broker_that_is_cut_off_is_refused() -> None:
    quorum = quorum_of([101], behind=[4], observers=BROKERS)
    seen = replace(three(), quorum=quorum, snapshot=replace(three().snapshot, answered_by=4))
    (reason,) = reasons_not_to_restart(seen, brokers_of(4), ANY)
    assert reason.name == "stale-observation" and "broker 4 has been behind the controllers for 60 s" in reason.message


def test_a_replica_on_a_broker_that_is_cut_off_is_not_counted() -> None:
    seen = replace(three(), quorum=quorum_of([101], behind=[3], observers=BROKERS))
    found = reasons_not_to_restart(seen, brokers_of(1), ANY)
    assert names(found) == ["below-min-isr:t", "cut-off-brokers"] and "broker 3 has been behind" in found[1].message
    assert reasons_not_to_restart(seen, brokers_of(3), ANY) == [], "itself it may go: the others are enough"
    behind = replace(seen, quorum=quorum_of([101], behind=[2, 3], observers=BROKERS))
    assert "below-min-isr:t" in names(reasons_not_to_restart(behind, brokers_of(3), ANY)), "it may still serve"


def test_racks_and_maps_and_numbers_limit_what_goes_together() -> None:
    seen = healthy(minimum=1, live=BROKERS)
    same = brokers_of(1, 2, racks=("x",), name="m")
    assert reasons_not_to_restart(seen, same, RestartLimits()) == []
    assert names(reasons_not_to_restart(seen, brokers_of(1, 2), RestartLimits())) == ["several-racks"]
    unknown = [KafkaNode(id=1), KafkaNode(id=2)]
    assert names(reasons_not_to_restart(seen, unknown, RestartLimits())) == ["several-racks"]
    assert reasons_not_to_restart(seen, unknown[:1], RestartLimits()) == []
    assert names(reasons_not_to_restart(seen, same, RestartLimits(at_once=1))) == ["too-many-at-once"]
    assert names(reasons_not_to_restart(seen, same, RestartLimits(at_once_per_map=1))) == ["too-many-of-map:m"]
    assert reasons_not_to_restart(seen, unknown, ANY.model_copy(update={"at_once_per_map": 1})) == []


def test_the_active_controller_waits_for_the_others() -> None:
    quorum = quorum_of([1, 2, 3], leader=2, observers=[4])
    seen = replace(healthy(minimum=1, live=BROKERS), quorum=quorum)
    one, two, three_ = (KafkaNode(id=id_, is_controller=True) for id_ in (1, 2, 3))
    (reason,) = reasons_not_to_restart(seen, [two], ANY, later=[one, three_, *brokers_of(4)])
    assert reason.name == "active-controller-last" and reason.remedy == "restart node 1, 3 first"
    assert reasons_not_to_restart(seen, [two], ANY, later=brokers_of(4)) == []
    assert reasons_not_to_restart(seen, [one], ANY, later=[two, three_]) == []
    moved = replace(seen, quorum=quorum_of([1, 2, 3], leader=1, observers=[4]))
    assert names(reasons_not_to_restart(moved, [one], ANY, later=[two])) == ["active-controller-last"], "asked anew"


def test_in_zookeeper_mode_the_active_controller_is_a_broker() -> None:
    seen = healthy(minimum=1, live=BROKERS)
    seen = replace(seen, snapshot=replace(seen.snapshot, controller_id=3))
    assert names(reasons_not_to_restart(seen, brokers_of(3), ANY, later=brokers_of(1))) == ["active-controller-last"]
    assert reasons_not_to_restart(seen, brokers_of(1), ANY, later=brokers_of(3)) == []


def test_in_zookeeper_mode_nobody_knows_the_quorum_of_kraft_controllers() -> None:
    """They are deployed for a migration, which may be writing by them already."""
    seen, controller = healthy(minimum=1, live=BROKERS), KafkaNode(id=3000, is_broker=False, is_controller=True)
    assert names(reasons_not_to_restart(seen, [controller], ANY)) == ["controllers-in-zookeeper-mode"]
    nodes = [controller, *brokers_of(1)]
    planned = plan_rounds(seen, nodes, ANY)
    assert planned.rounds == ((1,),) and [one.id for one in planned.blocked] == [3000]
    assert check_rounds(seen, nodes, ANY, planned) == []
    assert check_rounds(seen, nodes, ANY, RestartRounds(rounds=((3000,), (1,)))) != []


def test_a_node_that_is_both_goes_by_both_rules() -> None:
    node = KafkaNode(id=1, is_controller=True)
    lags = replace(three(in_sync=(1, 2)), quorum=quorum_of([1, 2, 3], leader=2, observers=[4]))
    assert names(reasons_not_to_restart(lags, [node], ANY)) == ["below-min-isr:t"]
    behind = replace(three(), quorum=quorum_of([1, 2, 3], leader=2, behind=[3], observers=[4], seconds=5.0))
    assert names(reasons_not_to_restart(behind, [node], ANY)) == ["no-majority"]


# What is said to unblock does


class Remedies:
    """Carries out what the reasons say, and nothing else.

    Args:
        alternative: where a remedy has an "or", the last of what it offers instead of the first.
    """

    def __init__(self, observation: RestartObservation, within: RestartLimits, *, alternative: bool) -> None:
        self.observation, self.within, self.alternative = observation, within, alternative
        self.risks: set[str] = set()
        self.one_at_a_time = False
        self.by_rack, self.most, self.most_of_map = False, 99, 99
        self.first: set[int] = set()

    def carry_out(self, reason: Reason) -> None:
        offered = re.split(r",? or (?=set headroom|acknowledge|cancel|raise|turn|restart them)", reason.remedy)
        chosen = offered[-1 if self.alternative and reason.name.partition("-")[0] in ("below", "already", "no") else 0]
        for part_ in chosen.split(" and "):
            self._part(part_, reason)

    def _part(self, text: str, reason: Reason) -> None:
        ids = {int(one) for one in re.findall(r"\d+", text)}
        if re.match(r"wait until (broker|controller) [\d, ]+(is in sync again|has caught up)$", text):
            self.observation = after_restart(self.observation, ids)
        elif re.match(r"take (brokers|controllers) [\d, ]+ down one at a time$", text):
            self.one_at_a_time = True
        elif match := re.match(r"set headroom to (\d+)$", text):
            kept = int(match[1]) if self.within.headroom is None else min(int(match[1]), self.within.headroom)
            self.within = self.within.model_copy(update={"headroom": kept})
        elif "acknowledge with acknowledged_risks" in text:
            assert reason.can_be_acknowledged
            (name,) = re.findall(r'\["(.+)"\]', reason.remedy)
            self.risks.add(name)
        elif text == "raise the replication factor, lower min.insync.replicas":
            self._lower_minimum(reason.name.partition(":")[2], reason.name)
        elif text == "wait until the reassignment ends":
            topic = reason.name.partition(":")[2]
            left = tuple(one for one in self.observation.reassignments if one.topic != topic)
            self.observation = replace(self.observation, reassignments=left)
        elif text == "wait until they follow the controllers again":
            cut_off = {int(one) for one in re.findall(r"broker (\d+)", reason.message)}
            self.observation = replace(self.observation, quorum=after_restart(self.observation, cut_off).quorum)
        elif re.match(r"restart at most \d+ together$", text):
            self.most = ids.pop()
        elif re.match(r"restart at most \d+ of a map together$", text):
            self.most_of_map = ids.pop()
        elif text == "restart nodes of one rack together":
            self.by_rack = True
        elif re.match(r"restart node [\d, ]+ first$", text):
            self.first |= ids
        else:
            raise AssertionError(f"nobody can carry out {text!r}")

    def _lower_minimum(self, topic: str, risk: str) -> None:
        """Of a single replica there is nothing to lower: then the risk is accepted."""
        snapshot = self.observation.snapshot
        fewest = min(len(one.replicas) for one in snapshot.partitions if one.topic == topic)
        if fewest == 1:
            self.risks.add(risk)
        lowered = {**snapshot.minimum_in_sync, topic: max(1, fewest - 1)}
        self.observation = replace(self.observation, snapshot=replace(snapshot, minimum_in_sync=lowered))

    def split(self, going: Sequence[KafkaNode]) -> Iterator[list[KafkaNode]]:
        """Those who are to go first aren't asked about again with the others."""
        left = sorted(going, key=lambda node: (node.id not in self.first, node.rack or "", node.id))
        while left:
            batch = left[:1]
            for node in left[1:]:
                joined = [*batch, node]
                of_map = [one for one in joined if one.map is not None and one.map == node.map]
                same_rack = not self.by_rack or (node.rack is not None and {one.rack for one in joined} == {node.rack})
                same_turn = (node.id in self.first) == (left[0].id in self.first)
                if (
                    not self.one_at_a_time
                    and len(joined) <= self.most
                    and len(of_map) <= self.most_of_map
                    and same_rack
                    and same_turn
                ):
                    batch = joined
            yield batch
            left = [node for node in left if node not in batch]


@settings(max_examples=150)
@given(sites(), limits(), st.data(), st.booleans())
def test_what_is_said_to_unblock_unblocks(
    site: tuple[RestartObservation, tuple[KafkaNode, ...]], within: RestartLimits, data: st.DataObject, alternative: bool
) -> None:
    """At once, where all that are to restart are in sync themselves; otherwise waiting for them brings up what they may lower."""
    observation, nodes = site
    going = [node for node in nodes if data.draw(st.booleans())]
    remedies = Remedies(observation, within, alternative=alternative)
    for reason in reasons_not_to_restart(observation, going, within):
        remedies.carry_out(reason)
    lagging = [node for node in going if any(node.id not in one.in_sync for one in observation.snapshot.on_broker(node.id))]
    follow = observation.snapshot.live_broker_ids - cut_off_brokers(observation).keys()
    are_away = {node.id for node in going if node.is_broker} - follow
    for batch in remedies.split(going):
        for _ in range(2 if lagging or are_away else 0):
            for reason in reasons_not_to_restart(remedies.observation, batch, remedies.within, acknowledged_risks=remedies.risks):
                remedies.carry_out(reason)
        found = reasons_not_to_restart(remedies.observation, batch, remedies.within, acknowledged_risks=remedies.risks)
        assert found == [], (names(found), [node.id for node in batch])


# Between the look and the stop

Event = tuple[str, int]
EVENTS: tuple[Event, ...] = (*(("dies", b) for b in BROKERS), *(("leaves the ISR", b) for b in (1, 2, 3)), ("is moved", 4))
MOVING = Reassignment(topic="t", partition=0, replicas=(1, 2, 3, 4), adding=(4,), removing=())


class State(NamedTuple):
    """Of the partition on brokers 1, 2 and 3."""

    in_sync: frozenset[int]
    live: frozenset[int]
    is_moving: bool = False

    @property
    def left(self) -> frozenset[int]:
        return self.in_sync & self.live

    def after(self, events: Iterable[Event]) -> "State":
        state = self
        for what, broker in events:
            if what == "is moved":
                state = state._replace(is_moving=True)
            elif what == "leaves the ISR":
                state = state._replace(in_sync=state.in_sync - {broker})
            else:
                state = state._replace(live=state.live - {broker})
        return state


@cache
def may_restart(state: State, going: tuple[int, ...], minimum: int, headroom: int | None) -> bool:
    seen = three(sorted(state.in_sync), minimum, sorted(state.live))
    seen = replace(seen, reassignments=(MOVING,) if state.is_moving else ())
    return not reasons_not_to_restart(seen, brokers_of(*going), ANY.model_copy(update={"headroom": headroom}))


@pytest.mark.parametrize("headroom", [0, 1, None])
def test_each_failure_between_look_and_stop_costs_one_replica_at_most_and_the_next_look_refuses(headroom: int | None) -> None:
    """Every state, every set that the rule lets go, up to two failures in every order, the stop before, between or after them."""
    cases = 0
    for minimum, in_sync, live, going in product((1, 2, 3), subsets((1, 2, 3)), subsets(BROKERS), subsets(BROKERS)):
        seen = State(frozenset(in_sync), frozenset(live))
        if not seen.left.intersection(going) or not may_restart(seen, going, minimum, headroom):
            continue
        kept = 2 if headroom is None else min(2, minimum + headroom)
        stop = tuple(("stops", broker) for broker in going)
        for count in (0, 1, 2):
            for failures, position in product(permutations(EVENTS, count), range(count + 1)):
                events = (*failures[:position], *stop, *failures[position:])
                for end in range(position + len(stop), len(events) + 1):
                    state, failed = seen.after(events[:end]), end - len(stop)
                    assert len(state.left) >= kept - failed, (seen, going, events[:end])
                    for broker in state.left:
                        if may_restart(state, (broker,), minimum, headroom):
                            assert len(state.left) - 1 >= kept and not state.is_moving, (seen, going, events[:end], broker)
                cases += 1
    assert cases > 1_000


def test_a_controller_that_is_elected_between_look_and_stop_is_refused_by_the_next_look() -> None:
    nodes = [KafkaNode(id=id_, is_broker=False, is_controller=True) for id_ in (101, 102, 103)]
    for leader, then, going in product((101, 102, 103), (101, 102, 103), nodes):
        seen = replace(healthy(minimum=1, live=BROKERS), quorum=quorum_of([101, 102, 103], leader, observers=BROKERS))
        later = [node for node in nodes if node != going]
        if reasons_not_to_restart(seen, [going], ANY, later=later):
            assert going.id == leader
            continue
        # It stops although it leads by now: one election more, and still a majority of two.
        now = replace(seen, quorum=quorum_of([101, 102, 103], then if then != going.id else later[0].id, [going.id], BROKERS))
        for node in later:
            assert "no-majority" in names(reasons_not_to_restart(now, [node], ANY, later=[one for one in later if one != node]))
