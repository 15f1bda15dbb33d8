"""Leases: settings that others made, before or during a run, survive it."""

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import Direction, Partition, ThrottledReplicas, ThrottleRates, TopicPartition
from kafka_runbooks.models.ledger import EntryLease, Ledger, RateLease
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.throttle import leases

entry = st.builds(lambda partition, broker: f"{partition}:{broker}", st.integers(0, 5), st.integers(1001, 1004))
entry_list = st.lists(entry, unique=True, max_size=8)
rate = st.none() | st.integers(1_000, 100_000_000)


def lists(leader: list[str], follower: list[str]) -> ThrottledReplicas:
    return ThrottledReplicas(leader=",".join(leader), follower=",".join(follower))


@given(entry_list, entry_list, entry_list, entry_list)
def test_adding_and_removing_leaves_what_was_there(
    leader: list[str], follower: list[str], want_leader: list[str], want_follower: list[str]
) -> None:
    before = lists(leader, follower)
    during, own = leases.add_entries(before, EntryLease(leader=tuple(want_leader), follower=tuple(want_follower)))
    assert set(want_leader) <= set(during.leader.split(",")) | {""}
    assert leases.remove_entries(during, own) == before


@given(entry_list, entry_list, entry_list)
def test_an_entry_added_by_others_during_the_run_stays(leader: list[str], wanted: list[str], external: list[str]) -> None:
    during, own = leases.add_entries(lists(leader, []), EntryLease(leader=tuple(wanted)))
    new = [one for one in external if one not in during.leader.split(",")]
    changed = ThrottledReplicas(leader=",".join([*during.leader.split(","), *new]).strip(","))
    left = leases.remove_entries(changed, own).leader.split(",")
    assert set(new) <= set(left) | {""}
    assert not set(own.leader) & set(left)


def test_a_wildcard_is_left_as_it_is() -> None:
    during, own = leases.add_entries(ThrottledReplicas(leader="*", follower=""), EntryLease(leader=("0:1",), follower=("0:2",)))
    assert during == ThrottledReplicas(leader="*", follower="0:2")
    assert own == EntryLease(leader=(), follower=("0:2",))


@given(st.dictionaries(st.integers(1, 4), st.builds(ThrottleRates, leader_bytes_per_s=rate, follower_bytes_per_s=rate)))
def test_rates_come_back_as_they_were(before: dict[int, ThrottleRates]) -> None:
    taken = leases.rates_to_take(before, {}, 5_000_000)
    during = {**before, **{broker: lease.ours for broker, lease in taken.items()}}
    again = leases.rates_to_take(during, taken, 7_000_000)
    assert again.keys() == taken.keys()
    during |= {broker: lease.ours for broker, lease in again.items()}
    after = {**during, **leases.rates_to_restore(during, again)}
    assert after == before


def test_an_external_rate_is_not_touched_and_is_reported() -> None:
    before = {1: ThrottleRates(leader_bytes_per_s=25_000_000), 2: ThrottleRates()}
    assert set(leases.rates_to_take(before, {}, 5_000_000)) == {2}
    assert leases.foreign_rates(before, {}) == {1: 25_000_000}


def test_a_rate_changed_by_others_during_the_run_is_left_alone() -> None:
    held = {1: RateLease(previous=ThrottleRates(), ours=ThrottleRates(leader_bytes_per_s=5_000_000))}
    changed = {1: ThrottleRates(leader_bytes_per_s=1_000_000)}
    assert leases.rates_to_take(changed, held, 9_000_000) == {}
    assert leases.rates_to_restore(changed, held) == {}
    assert leases.foreign_rates(changed, held) == {1: 1_000_000}


def test_a_crash_between_writing_ahead_and_setting_leaves_nothing_to_restore() -> None:
    held = {1: RateLease(previous=ThrottleRates(), ours=ThrottleRates(leader_bytes_per_s=5_000_000))}
    assert leases.rates_to_restore({1: ThrottleRates()}, held) == {}
    assert set(leases.rates_to_take({1: ThrottleRates()}, held, 5_000_000)) == {1}


def test_entries_name_every_live_source_and_the_destination() -> None:
    partition = Partition(topic="t", partition=3, leader=2, replicas=(1, 2, 3), in_sync=(2, 3))
    moves = [Copy(partition, (1,))]
    assert leases.entries_for(moves, frozenset({2, 3})) == {"t": EntryLease(leader=("3:2", "3:3"), follower=("3:1",))}
    assert leases.sources_of(moves, frozenset({2, 3})) == (2, 3)
    assert leases.sources_of(moves, frozenset({3})) == (3,)


def test_a_rate_whose_change_never_arrived_is_still_restored() -> None:
    first = leases.rates_to_take({1: ThrottleRates()}, {}, 5_000_000)
    during = {1: first[1].ours}
    second = leases.rates_to_take(during, first, 9_000_000)
    assert leases.rates_to_restore(during, second) == {1: ThrottleRates()}, "written ahead, and not set"
    assert leases.rates_to_take(during, second, 9_000_000)[1].earlier == first[1].ours


rates = st.builds(ThrottleRates, leader_bytes_per_s=rate, follower_bytes_per_s=rate)
brokers = st.integers(1, 4)


@given(
    st.dictionaries(brokers, rates),
    st.lists(st.dictionaries(brokers, rates), max_size=4),
    st.dictionaries(st.tuples(brokers, st.sampled_from(Direction)), st.integers(1, 999)),
)
def test_each_direction_is_leased_separately(
    before: dict[int, ThrottleRates],
    polls: list[dict[int, ThrottleRates]],
    by_hand: dict[tuple[int, Direction], int],
) -> None:
    """A run sets rates at each poll; midway an operator sets some by hand; afterwards only those differ from before."""
    held: dict[int, RateLease] = {}
    now = dict(before)

    def take(wanted: dict[int, ThrottleRates]) -> None:
        for broker, lease in leases.rates_to_take(now, held, wanted).items():
            held[broker] = lease
            now[broker] = leases.rates_to_set(now[broker], lease)

    for number, wanted in enumerate(polls):
        take(wanted)
        if number == 1:
            for (broker, direction), value in by_hand.items():
                if broker in now:
                    now[broker] = now[broker].model_copy(update={f"{direction}_bytes_per_s": value})
    for broker, restored in leases.rates_to_restore(now, held).items():
        now[broker] = restored
    for broker, was in before.items():
        for direction in Direction:
            external = by_hand.get((broker, direction)) if len(polls) > 1 else None
            assert now[broker].of(direction) == (was.of(direction) if external is None else external), (broker, direction)


def test_an_external_follower_rate_survives_a_leader_lease_on_the_same_broker() -> None:
    before = {1: ThrottleRates(follower_bytes_per_s=25)}
    both = {1: ThrottleRates(leader_bytes_per_s=5, follower_bytes_per_s=5)}
    taken = leases.rates_to_take(before, {}, both)
    assert taken[1].directions == (Direction.LEADER,)
    during = {1: leases.rates_to_set(before[1], taken[1])}
    assert during == {1: ThrottleRates(leader_bytes_per_s=5, follower_bytes_per_s=25)}
    assert leases.foreign_rates(during, taken) == {}
    assert leases.foreign_rates(during, taken, Direction.FOLLOWER) == {1: 25}
    assert leases.rates_to_restore(during, taken) == before
    changed = {1: ThrottleRates(leader_bytes_per_s=5, follower_bytes_per_s=99)}
    assert leases.rates_to_restore(changed, taken) == {1: ThrottleRates(follower_bytes_per_s=99)}


def test_a_lease_grows_by_a_direction_and_resumes_from_the_rates_in_force() -> None:
    first = leases.rates_to_take({1: ThrottleRates()}, {}, {1: ThrottleRates(leader_bytes_per_s=5)})
    assert first[1].directions == (Direction.LEADER,)
    during = leases.rates_to_set(ThrottleRates(), first[1])
    second = leases.rates_to_take({1: during}, first, {1: ThrottleRates(follower_bytes_per_s=7)})
    assert second[1].directions == (Direction.LEADER, Direction.FOLLOWER)
    during = leases.rates_to_set(during, second[1])
    assert during == ThrottleRates(leader_bytes_per_s=5, follower_bytes_per_s=7)
    in_force = leases.rates_in_force(second)
    assert in_force.wanted() == {1: during}
    assert leases.rates_to_restore({1: during}, second) == {1: ThrottleRates()}


def test_a_ledger_from_before_there_were_follower_leases_is_read_as_leader_leases() -> None:
    stored = """{"owner": {"workflow_id": "w", "run_id": "r", "expires_at": "2026-01-01T00:00:00Z"}, "cluster": "main",
        "rates": {"1": {"previous": {"leader_bytes_per_s": null, "follower_bytes_per_s": 25},
                        "ours": {"leader_bytes_per_s": 5, "follower_bytes_per_s": 25}, "earlier": null}}}"""
    held = Ledger.model_validate_json(stored).rates
    assert held[1].directions == (Direction.LEADER,)
    during = {1: ThrottleRates(leader_bytes_per_s=5, follower_bytes_per_s=25)}
    assert leases.rates_to_restore(during, held) == {1: ThrottleRates(follower_bytes_per_s=25)}
    assert leases.rates_in_force(held).wanted() == {1: ThrottleRates(leader_bytes_per_s=5)}


def test_the_ledger_says_which_rates_it_holds() -> None:
    lease = RateLease(
        previous=ThrottleRates(),
        ours=ThrottleRates(leader_bytes_per_s=5, follower_bytes_per_s=7),
        directions=(Direction.LEADER, Direction.FOLLOWER),
    )
    assert lease.describe() == "leader replication throttle 5 B/s, follower replication throttle 7 B/s"


def test_entries_of_partitions_that_no_longer_move_are_removed() -> None:
    held = {"a": EntryLease(leader=("0:1", "10:1"), follower=("0:3", "1:3")), "b": EntryLease(follower=("0:3",))}
    moving = {TopicPartition("a", 0), TopicPartition("b", 0)}
    assert leases.entries_to_remove(held, moving) == {"a": EntryLease(leader=("10:1",), follower=("1:3",))}
    assert leases.entries_to_remove(held, set()) == held
