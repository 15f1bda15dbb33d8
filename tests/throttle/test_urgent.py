"""Which urgent copies are left out of the lists: within every budget, never while clients suffer, and the most urgent first."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import Broker, ClusterSnapshot, Partition, TopicPartition
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.throttles import Budget
from kafka_runbooks.models.urgency import Urgency
from kafka_runbooks.safety.urgency import urgency, urgent_among
from kafka_runbooks.throttle import leases
from kafka_runbooks.throttle.feasibility import Copying
from kafka_runbooks.throttle.latency_guard import Latency
from kafka_runbooks.throttle.urgent import PAUSE, Beside, Candidate, budget, candidates, choose, describe
from tests.throttle.observations import INTERVAL, START

SECONDS = 6.0
MANY = Budget(bytes_per_s=1_000_000, may_grow=True)


def name(number: int) -> TopicPartition:
    return TopicPartition("t", number)


def candidate(number: int, left: int = 10, how: Urgency = Urgency.REFUSES_WRITES, source: int = 1, to: int = 3) -> Candidate:
    return Candidate(name(number), how, source, to, left, left)


def partition(number: int, replicas: tuple[int, ...], in_sync: tuple[int, ...]) -> Partition:
    return Partition(topic="t", partition=number, leader=in_sync[0] if in_sync else None, replicas=replicas, in_sync=in_sync)


# Who can't wait


def test_who_can_not_wait() -> None:
    live = {1, 2, 3}
    assert urgency(partition(0, (1, 2, 3), (1,)), 2, live, 3) is Urgency.REFUSES_WRITES
    assert urgency(partition(0, (1, 2, 3), (1,)), 1, live, 3) is Urgency.ONE_COPY
    assert urgency(partition(0, (1, 2, 3), (1, 2)), 2, live, 3) is Urgency.NONE
    assert urgency(partition(0, (1, 2, 9), (1, 9)), 2, live, 3) is Urgency.REFUSES_WRITES, "metadata may be late: 9 is down"
    assert urgency(partition(0, (1,), (1,)), 2, live, 1) is Urgency.NONE, "Kafka asks for no more than there are"
    assert urgency(partition(0, (1, 3), (1,)), 1, live, 1) is Urgency.NONE, "a sole replica that is moved"
    assert urgency(partition(0, (1, 3), (1,)), 2, live, 1) is Urgency.REFUSES_WRITES, "what is being added counts for Kafka"


def test_replicas_that_are_only_being_added_make_nothing_hang_by_one_copy() -> None:
    brokers = tuple(Broker(id=broker, host="h", port=1) for broker in (1, 2, 3))
    found = (partition(0, (1, 3), (1,)), partition(1, (1, 2, 3), (1,)))
    snapshot = ClusterSnapshot(cluster_id="c", brokers=brokers, partitions=found, minimum_in_sync={"t": 1})
    assert urgent_among(found, snapshot, {name(0): (3,), name(1): (3,)}) == {name(1): Urgency.ONE_COPY}
    assert set(urgent_among(found, snapshot)) == {name(0), name(1)}


def test_one_copy_of_each_is_chosen_the_one_that_lacks_least_and_what_goes_to_others_counts() -> None:
    copying = [
        Copying(name(0), 1, {3: 50, 4: 20, 5: 7}, None),
        Copying(name(1), 1, {9: 1}, None),
        Copying(name(2), 1, {3: 5}, None),
    ]
    own = {name(0): (3, 4), name(1): (9,), name(2): (3,)}
    urgent = {name(0): Urgency.REFUSES_WRITES, name(1): Urgency.REFUSES_WRITES}
    live = {1, 3, 4, 5}
    (found,) = candidates(copying, own, urgent, live)
    assert (found.destination, found.left_bytes, found.sent_bytes) == (4, 20, 27), "5 catches up on its own, without a list"
    (found,) = candidates(copying, own, urgent, live, [Beside(name(0), 3)])
    assert found.destination == 3, "what is left out stays so"


# Budgets


def test_a_budget_begins_small_doubles_while_it_is_used_and_ends_when_clients_suffer() -> None:
    room, found = 800.0, Budget()
    budgets = []
    for look in range(5):
        found = budget(found, room, Latency.GOOD, is_used=look > 0, at=START + look * INTERVAL)
        budgets.append(found.bytes_per_s)
    assert budgets == [100, 200, 400, 800, 800]
    at = START + 5 * INTERVAL
    assert budget(found, 300.0, Latency.GOOD, is_used=True, at=at).bytes_per_s == 300, "clients need more"
    kept = budget(found, room, Latency.UNSURE, is_used=True, at=at)
    assert kept.bytes_per_s == 800 and not kept.may_grow
    assert budget(found, room, Latency.UNKNOWN, is_used=True, at=at).bytes_per_s == 0
    assert budget(found, None, Latency.GOOD, is_used=True, at=at).bytes_per_s == 0
    slow = budget(found, room, Latency.SLOW, is_used=True, at=at)
    assert slow.bytes_per_s == 0
    assert budget(slow, room, Latency.GOOD, is_used=False, at=at + PAUSE - timedelta(seconds=1)).bytes_per_s == 0
    assert budget(slow, room, Latency.GOOD, is_used=False, at=at + PAUSE).bytes_per_s == 100


sizes = st.integers(0, 1_000)
budgets = st.builds(Budget, bytes_per_s=st.sampled_from([0, 10, 50, 200]), may_grow=st.booleans())


@st.composite
def problems(
    draw: st.DrawFn,
) -> tuple[list[Candidate], dict[int, Budget], dict[int, Budget], frozenset[Beside]]:
    wanted = []
    for number in range(draw(st.integers(0, 12))):
        left = draw(sizes)
        how = draw(st.sampled_from([Urgency.REFUSES_WRITES, Urgency.ONE_COPY]))
        source, to = draw(st.integers(1, 3)), draw(st.integers(4, 6))
        wanted.append(Candidate(name(number), how, source, to, left, left + draw(st.sampled_from([0, 0, 40]))))
    out_of = draw(st.dictionaries(st.integers(1, 3), budgets))
    into = draw(st.dictionaries(st.integers(4, 6), budgets))
    already = draw(st.sets(st.sampled_from([one.beside for one in wanted]))) if wanted else set()
    return draw(st.permutations(wanted)), out_of, into, frozenset(already)


@given(problems())
def test_whatever_is_chosen_keeps_the_rules(
    problem: tuple[list[Candidate], dict[int, Budget], dict[int, Budget], frozenset[Beside]],
) -> None:
    wanted, out_of, into, already = problem
    chosen = choose(wanted, out_of, into, SECONDS, already)
    assert set(chosen) <= set(wanted) and len({one.name for one in chosen}) == len(chosen)
    sources = Counter(one.source for one in chosen)
    destinations = Counter(one.destination for one in chosen)
    for broker, count in sources.items():
        sent = sum(one.sent_bytes for one in chosen if one.source == broker)
        assert out_of[broker].bytes_per_s > 0, "nothing beside the lists of a broker whose clients suffer"
        assert count == 1 or sent <= out_of[broker].bytes_per_s * SECONDS
    for broker, count in destinations.items():
        received = sum(one.left_bytes for one in chosen if one.destination == broker)
        assert into[broker].bytes_per_s > 0
        assert count == 1 or received <= into[broker].bytes_per_s * SECONDS
    for one in chosen:
        assert one.beside in already or (out_of[one.source].may_grow and into[one.destination].may_grow)
    for one in wanted:
        both = (out_of.get(one.source, Budget()), into.get(one.destination, Budget()))
        may = all(found.bytes_per_s > 0 and (found.may_grow or one.beside in already) for found in both)
        if may and one not in chosen:
            assert sources[one.source] or destinations[one.destination], "the first of any size is let out"
    assert choose(list(reversed(wanted)), out_of, into, SECONDS, already) == chosen
    again = choose(wanted, out_of, into, SECONDS, frozenset(one.beside for one in chosen))
    assert set(chosen) <= set(again), "while nothing changes, nothing that is out goes back"


def test_those_that_refuse_writes_come_first_then_the_small_ones() -> None:
    tight = Budget(bytes_per_s=10, may_grow=True)
    wanted = [
        candidate(0, 30, Urgency.ONE_COPY),
        candidate(1, 50),
        candidate(2, 20),
        candidate(3, 40),
    ]
    assert [one.name for one in choose(wanted, {1: tight}, {3: MANY}, SECONDS)] == [name(2), name(3)]
    assert [one.name for one in choose(wanted[:1], {1: tight}, {3: MANY}, SECONDS)] == [name(0)]
    whole = choose([candidate(9, 5_000)], {1: tight}, {3: tight}, SECONDS)
    assert [one.name for one in whole] == [name(9)], "the first may have any size, or it would be held for ever"


# Entries


def test_a_copy_that_is_left_out_has_no_leader_entry_and_its_other_destinations_keep_theirs() -> None:
    copies = [Copy(partition(0, (1, 2, 3), (1,)), (2, 3)), Copy(partition(1, (1, 2, 3), (1, 2)), (3,))]
    live = frozenset({1, 2, 3})
    beside = {Beside(name(0), 2)}
    listed = leases.entries_for(copies, live, beside)["t"]
    assert listed == EntryLease(leader=("1:1", "1:2"), follower=("0:3", "1:3"))
    whole = leases.entries_for(copies, live)
    out = leases.entries_beside(whole, beside)
    assert out == {"t": EntryLease(leader=("0:1",), follower=("0:2",))}
    assert leases.without_entries(whole, out) == {"t": listed}
    assert leases.holds(whole, name(0), 1, 2) and not leases.holds({"t": listed}, name(0), 1, 2)


def test_in_words() -> None:
    refusing = {name(number): Urgency.REFUSES_WRITES for number in range(3)}
    out = [candidate(number) for number in range(3)]
    assert describe({}, []) == ""
    assert describe(refusing, out) == "3 partitions refuse writes: copied first, not throttled"
    assert describe(refusing, out[:1], ["a fixed rate"]).endswith("copied first, 1 of them not throttled now (a fixed rate)")
    assert describe(refusing, [], ["a fixed rate"]) == "3 partitions refuse writes: throttled like the rest (a fixed rate)"
    mixed = {name(0): Urgency.REFUSES_WRITES, name(1): Urgency.ONE_COPY}
    assert describe(mixed, out[:2]) == "1 partition refuses writes, 1 hangs by one in-sync copy: copied first, not throttled"
