"""Which member of a ZooKeeper ensemble may go down: every ensemble of up to five, and any roll under any failures."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_runbooks.models.ensemble import Ensemble, EnsembleMember, Mode, Server
from kafka_runbooks.safety.ensemble import OLDEST_LOOK_SECONDS, in_order, not_in_sync, reasons_not_to_go_down
from tests.examples import examples
from tests.safety.ensemble_checker import may_go

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMMITTED = 0x200000005
STATES = ("leader", "follower", "behind", "not serving", "read-only", "silent")


def member(server_id: int, state: str, *, observes: bool = False) -> EnsembleMember:
    address = f"zookeeper-{server_id}:2181"
    if state == "silent":
        return EnsembleMember(address=address, server_id=server_id, fault=f"{address}: doesn't answer in 2 s")
    if state == "not serving":
        return EnsembleMember(address=address, server_id=server_id, mode=Mode.NOT_SERVING)
    if state == "read-only":
        return EnsembleMember(address=address, server_id=server_id, mode=Mode.READ_ONLY, zxid=COMMITTED - 1)
    follows = Mode.OBSERVER if observes else Mode.FOLLOWER
    mode = Mode.LEADER if state == "leader" else follows
    return EnsembleMember(address=address, server_id=server_id, mode=mode, zxid=COMMITTED - (state == "behind"))


def ensemble(states: Sequence[str], *, observers: int = 0, synced_followers: int | None = None, **changed: object) -> Ensemble:
    """Servers 1, 2, … in these states, of which the last ones are observers."""
    count = len(states) - observers
    members = tuple(member(number, state, observes=number > count) for number, state in enumerate(states, 1))
    counted = sum(1 for state in states[:count] if state in ("follower", "behind"))
    made = Ensemble(
        members=members,
        servers=tuple(
            Server(server_id=number, host=f"zookeeper-{number}", client_port=2181, is_observer=number > count)
            for number in range(1, len(states) + 1)
        ),
        committed_zxid=COMMITTED,
        synced_followers=counted if synced_followers is None else synced_followers,
        observed_at=NOW,
    )
    return made.model_copy(update=changed)


def names(found: Ensemble, server_id: int, *, age_seconds: float = 0, later: Sequence[int] = (), **other: object) -> list[str]:
    reasons = reasons_not_to_go_down(found, server_id, age_seconds=age_seconds, later=later, **other)  # type: ignore[arg-type]
    assert all(reason.message and reason.remedy and not reason.can_be_acknowledged for reason in reasons)
    return [reason.name for reason in reasons]


def every(most: int) -> Iterator[Ensemble]:
    for count in range(1, most + 1):
        for states in product(STATES, repeat=count):
            for observers in range(count):
                if "leader" not in states[count - observers :]:
                    for counted in {None, 0, count - observers - 1}:
                        yield ensemble(states, observers=observers, synced_followers=counted)


def test_every_ensemble_of_up_to_four_as_the_checker_counts_it() -> None:
    for found in every(4):
        for server in found.servers:
            for later in ((), tuple(one.server_id for one in found.servers)):
                assert (names(found, server.server_id, later=later) == []) == may_go(found, server.server_id, later), (
                    found,
                    server,
                    later,
                )


def test_what_may_go_leaves_a_quorum_in_sync_and_never_makes_two_away() -> None:
    allowed = 0
    for found in every(4):
        for server in found.servers:
            if names(found, server.server_id) == []:
                allowed += 1
                voters = {one.server_id for one in found.servers if not one.is_observer} - {server.server_id}
                whole = {one.server_id for one in found.members if one.zxid == COMMITTED and one.mode is not Mode.READ_ONLY}
                quorum = sum(1 for one in found.servers if not one.is_observer) // 2 + 1
                assert server.is_observer or len(voters & whole) >= quorum
                went = next(one for one in found.members if one.server_id == server.server_id)
                away = {one.server_id for one in found.servers} - whole - {server.server_id}
                assert went.mode in (None, Mode.NOT_SERVING) or not away
    assert allowed > 50, "a rule that allows nothing would pass"


@settings(max_examples=examples(200))
@given(st.data())
def test_larger_ones_with_any_odds_as_the_checker_counts_them(data: st.DataObject) -> None:
    states = data.draw(st.lists(st.sampled_from(STATES), min_size=3, max_size=9))
    observers = data.draw(st.integers(0, min(3, len(states) - 1)))
    found = ensemble(states, observers=observers, synced_followers=data.draw(st.integers(0, 9)))
    if data.draw(st.booleans()):
        found = found.model_copy(update={"committed_zxid": None, "fault": "no member answers"})
    if data.draw(st.booleans()):  # An address that is another member's again, or one that nobody has.
        twin = data.draw(st.sampled_from(found.members))
        found = found.model_copy(update={"members": (*found.members, twin.model_copy(update={"address": "other:2181"}))})
    if data.draw(st.booleans()):
        gone = data.draw(st.integers(0, len(found.members) - 1))
        found = found.model_copy(update={"members": (*found.members[:gone], *found.members[gone + 1 :])})
    ids = st.sets(st.integers(1, len(states)))
    later, shutting_down = data.draw(ids), data.draw(ids)
    server_id = data.draw(st.integers(1, len(states) + 1))
    reasons = reasons_not_to_go_down(found, server_id, age_seconds=0, later=later, shutting_down=shutting_down)
    assert (reasons == []) == may_go(found, server_id, later, shutting_down), reasons


@settings(max_examples=examples(200))
@given(st.data())
def test_a_roll_under_any_failures_goes_on_and_never_takes_the_second_down(data: st.DataObject) -> None:
    """Members fail, come back, copy and lead while the roll goes on; once nothing fails any more it ends."""
    count = data.draw(st.sampled_from([3, 5]))
    states, left = ["follower"] * count, set(range(1, count + 1))
    restarting: int | None = None
    for step in range(60):
        if step < 30:  # Something happens that isn't ours.
            who = data.draw(st.integers(0, count - 1))
            states[who] = data.draw(st.sampled_from(["follower", "behind", "not serving", "silent", states[who]]))
        elif restarting is None:
            states = ["follower" if state != "leader" else state for state in states]
        up = [number for number, state in enumerate(states) if state in ("leader", "follower", "behind")]
        has_quorum = len(up) > count // 2
        states = ["follower" if state == "leader" else state for state in states]
        if has_quorum:
            states[data.draw(st.sampled_from([one for one in up if states[one] == "follower"] or up))] = "leader"
        found = ensemble(states) if has_quorum else ensemble(states, committed_zxid=None, fault="no quorum")
        if restarting is not None:
            if step >= 30:
                states[restarting - 1] = "follower"
            if states[restarting - 1] == "follower":
                restarting = None
            continue
        for server_id in in_order(found, left):
            if not names(found, server_id, later=sorted(left)):
                others = [state for number, state in enumerate(states, 1) if number != server_id]
                whole = sum(1 for state in others if state in ("leader", "follower"))
                assert whole > count // 2
                assert states[server_id - 1] in ("silent", "not serving") or whole == count - 1
                assert states[server_id - 1] != "leader" or left == {server_id}
                states[server_id - 1], restarting = "silent", server_id
                left.discard(server_id)
                break
    assert not left, "nothing fails any more, and it doesn't go on"


def test_followers_and_observers_first_the_leader_last_what_is_away_before_all() -> None:
    found = ensemble(["follower", "leader", "silent", "follower", "follower"], observers=1)
    assert in_order(found, [1, 2, 3, 4, 5]) == [3, 5, 1, 4, 2]
    assert names(found, 3, later=[1, 2, 4, 5]) == [] and names(found, 1) == ["member-away:3"]


@pytest.mark.parametrize(
    ("found", "server_id", "expected", "says"),
    [
        (ensemble(["leader", "silent", "follower"]), 3, "member-away:2", "server 2 doesn't answer (zookeeper-2:2181: "),
        (ensemble(["leader", "not serving", "follower"]), 3, "member-away:2", "follows no leader yet"),
        (ensemble(["leader", "behind", "follower"]), 3, "member-away:2", "lacks what was committed"),
        (ensemble(["leader", "follower", "read-only"]), 2, "member-away:3", "cut off"),
        (ensemble(["leader", "follower"]), 2, "no-quorum", "1 of 2 voters are in sync"),
        (ensemble(["leader", "follower", "follower"], synced_followers=1), 2, "leader-counts-fewer", "counts 1 followers"),
        (ensemble(["follower", "follower", "follower"]), 2, "no-leader", "no member says that it leads"),
        (ensemble(["leader", "leader", "follower"]), 3, "no-leader", "say that they lead"),
        (ensemble(["leader", "follower", "follower"]), 9, "unknown-member", "no server 9"),
        (
            ensemble(["silent", "silent", "not serving"], committed_zxid=None, fault="nobody answers"),
            3,
            "commits-nothing",
            "the ensemble commits nothing: nobody answers",
        ),
        (
            ensemble(["leader"]).model_copy(update={"members": (EnsembleMember(address="a:1", mode=Mode.STANDALONE, zxid=9),)}),
            1,
            "standalone",
            "a single server",
        ),
    ],
)
def test_each_verdict_names_what_blocks(found: Ensemble, server_id: int, expected: str, says: str) -> None:
    reasons = reasons_not_to_go_down(found, server_id, age_seconds=0)
    assert [reason.name for reason in reasons] == [expected] and says in reasons[0].message, reasons


def test_what_somebody_shuts_down_counts_as_away_though_it_still_serves() -> None:
    found = ensemble(["leader", "follower", "follower"])
    assert names(found, 2, shutting_down=[3]) == ["member-away:3"] and names(found, 2, shutting_down=[2]) == []


def test_an_old_look_counts_for_nothing() -> None:
    found = ensemble(["leader", "follower", "follower"])
    assert names(found, 2, age_seconds=OLDEST_LOOK_SECONDS) == []
    assert names(found, 2, age_seconds=OLDEST_LOOK_SECONDS + 0.1) == ["stale-observation"]


def test_the_last_one_may_be_the_leader() -> None:
    found = ensemble(["leader", "follower", "follower"])
    assert names(found, 1, later=[1]) == [] and names(found, 1, later=[3]) == ["leader-last"]


def test_a_server_of_no_known_address_is_not_in_sync() -> None:
    whole = ensemble(["leader", "follower", "follower"])
    found = whole.model_copy(update={"members": whole.members[:2]})
    assert names(found, 2) == ["member-away:3"]
    assert not_in_sync(found) == {3: "server 3 (zookeeper-3) answers at no address of zookeeper.hosts"}
    twice = whole.model_copy(update={"members": (*whole.members, member(2, "follower"))})
    assert names(twice, 3) == ["same-server-id:2"]
