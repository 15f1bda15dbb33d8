"""Leases: whatever others have set, before us or meanwhile, is there when we have gone."""

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import Partition, ThrottledReplicas, ThrottleRates
from kafka_runbooks.models.ledger import EntryLease, RateLease
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
    during, ours = leases.add_entries(before, EntryLease(leader=tuple(want_leader), follower=tuple(want_follower)))
    assert set(want_leader) <= set(during.leader.split(",")) | {""}
    assert leases.remove_entries(during, ours) == before


@given(entry_list, entry_list, entry_list)
def test_an_entry_that_somebody_adds_meanwhile_stays(leader: list[str], wanted: list[str], theirs: list[str]) -> None:
    during, ours = leases.add_entries(lists(leader, []), EntryLease(leader=tuple(wanted)))
    new = [one for one in theirs if one not in during.leader.split(",")]
    changed = ThrottledReplicas(leader=",".join([*during.leader.split(","), *new]).strip(","))
    left = leases.remove_entries(changed, ours).leader.split(",")
    assert set(new) <= set(left) | {""}
    assert not set(ours.leader) & set(left)


def test_a_wildcard_is_left_as_it_is() -> None:
    during, ours = leases.add_entries(ThrottledReplicas(leader="*", follower=""), EntryLease(leader=("0:1",), follower=("0:2",)))
    assert during == ThrottledReplicas(leader="*", follower="0:2")
    assert ours == EntryLease(leader=(), follower=("0:2",))


@given(st.dictionaries(st.integers(1, 4), st.builds(ThrottleRates, leader_bytes_per_s=rate, follower_bytes_per_s=rate)))
def test_rates_come_back_as_they_were(before: dict[int, ThrottleRates]) -> None:
    taken = leases.rates_to_take(before, {}, 5_000_000)
    during = {**before, **{broker: lease.ours for broker, lease in taken.items()}}
    again = leases.rates_to_take(during, taken, 7_000_000)
    assert again.keys() == taken.keys()
    during |= {broker: lease.ours for broker, lease in again.items()}
    after = {**during, **leases.rates_to_give_back(during, again)}
    assert after == before


def test_a_rate_that_somebody_set_before_us_is_not_touched_and_is_named() -> None:
    before = {1: ThrottleRates(leader_bytes_per_s=25_000_000), 2: ThrottleRates()}
    assert set(leases.rates_to_take(before, {}, 5_000_000)) == {2}
    assert leases.foreign_rates(before, {}) == {1: 25_000_000}


def test_a_rate_that_somebody_changes_meanwhile_is_theirs() -> None:
    held = {1: RateLease(previous=ThrottleRates(), ours=ThrottleRates(leader_bytes_per_s=5_000_000))}
    changed = {1: ThrottleRates(leader_bytes_per_s=1_000_000)}
    assert leases.rates_to_take(changed, held, 9_000_000) == {}
    assert leases.rates_to_give_back(changed, held) == {}
    assert leases.foreign_rates(changed, held) == {1: 1_000_000}


def test_a_crash_between_writing_ahead_and_setting_leaves_nothing_to_give_back() -> None:
    held = {1: RateLease(previous=ThrottleRates(), ours=ThrottleRates(leader_bytes_per_s=5_000_000))}
    assert leases.rates_to_give_back({1: ThrottleRates()}, held) == {}
    assert set(leases.rates_to_take({1: ThrottleRates()}, held, 5_000_000)) == {1}


def test_entries_name_every_live_source_and_the_destination() -> None:
    partition = Partition(topic="t", partition=3, leader=2, replicas=(1, 2, 3), in_sync=(2, 3))
    moves = [(partition, (1,))]
    assert leases.entries_for(moves, frozenset({2, 3})) == {"t": EntryLease(leader=("3:2", "3:3"), follower=("3:1",))}
    assert leases.sources_of(moves, frozenset({2, 3})) == (2, 3)
    assert leases.sources_of(moves, frozenset({3})) == (3,)


def test_a_rate_whose_change_never_arrived_is_still_ours() -> None:
    first = leases.rates_to_take({1: ThrottleRates()}, {}, 5_000_000)
    during = {1: first[1].ours}
    second = leases.rates_to_take(during, first, 9_000_000)
    assert leases.rates_to_give_back(during, second) == {1: ThrottleRates()}, "written ahead, and not set"
    assert leases.rates_to_take(during, second, 9_000_000)[1].earlier == first[1].ours
