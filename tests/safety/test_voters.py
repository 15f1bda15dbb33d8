"""Who may leave the metadata quorum, who may join it, and that no order of departures loses its majority on the way."""

from itertools import product

import pytest

from kafka_runbooks.models.cluster import MetadataQuorum, QuorumReplica
from kafka_runbooks.safety.quorum import caught_up_voters
from kafka_runbooks.safety.voters import (
    NO_SPARE_VOTER,
    has_caught_up,
    in_order_of_leaving,
    lacks_its_vote,
    reasons_not_to_leave,
    said_of_leaving,
    why_not_to_join,
)
from tests.safety.restart_strategies import NOW, quorum_of
from tests.safety.test_availability import subsets


def with_directories(quorum: MetadataQuorum) -> MetadataQuorum:
    def known(one: QuorumReplica) -> QuorumReplica:
        return one.model_copy(update={"directory_id": f"d{one.id}"})

    return quorum.model_copy(
        update={"voters": tuple(map(known, quorum.voters)), "observers": tuple(map(known, quorum.observers))}
    )


def names(quorum: MetadataQuorum, *leaving: int) -> list[str]:
    return [reason.name for reason in reasons_not_to_leave(quorum, leaving)]


def test_each_departure_is_committed_by_those_that_are_left_on_every_quorum_of_up_to_five() -> None:
    for count in range(1, 6):
        voters = tuple(range(1, count + 1))
        for behind, leaving in product(subsets(voters[1:]), subsets(voters)):
            quorum = with_directories(quorum_of(voters, behind=behind))
            found = names(quorum, *leaving)
            left, good, works = set(voters), set(voters) - set(behind), True
            for voter in in_order_of_leaving(quorum, leaving):
                left -= {voter.id}
                works &= 2 * len(left & good) > len(left)
            assert (found in ([], [NO_SPARE_VOTER])) == (works or not leaving), (count, behind, leaving, found)
            assert (found == [NO_SPARE_VOTER]) == (
                bool(leaving) and works and 2 * (len(left & good) - 1) <= len(left) and 2 * (len(good) - 1) > count
            ), (count, behind, leaving)


def test_those_behind_leave_first_and_the_active_controller_last() -> None:
    quorum = with_directories(quorum_of((1, 2, 3, 4, 5), leader=2, behind=(4,)))
    assert [one.id for one in in_order_of_leaving(quorum, (1, 2, 4, 9))] == [4, 1, 2]


def test_each_reason_has_its_remedy() -> None:
    healthy = with_directories(quorum_of((1, 2, 3)))
    (reason,) = reasons_not_to_leave(healthy, [3])
    assert reason.name == NO_SPARE_VOTER and reason.can_be_acknowledged and "1, 2" in reason.message
    assert names(with_directories(quorum_of((1, 2, 3, 4, 5))), 5) == []
    assert names(healthy, 1, 2, 3) == ["last-voter"]
    (reason,) = reasons_not_to_leave(with_directories(quorum_of((1, 2, 3), behind=(2,))), [3])
    assert reason.name == "no-majority-left" and "controller 2 has caught up" in reason.remedy
    assert names(with_directories(quorum_of((1, 2, 3), behind=(2,))), 2) == [], "without it nothing is worse"
    (reason,) = reasons_not_to_leave(quorum_of((1, 2, 3)), [3])
    assert reason.name == "static-quorum" and "kraft.version" in reason.remedy and not reason.can_be_acknowledged
    assert names(quorum_of((1, 2, 3)), 4) == [], "it has no vote"


def test_an_even_number_of_voters_is_said() -> None:
    quorum = with_directories(quorum_of((1, 2, 3, 4, 5)))
    assert said_of_leaving(quorum, (4,)) == (
        "controller 4 leaves the metadata quorum: 4 voters (1, 2, 3, 5), of which 1 may fail; "
        "an even number: 3 would stand as many failures"
    )
    assert said_of_leaving(quorum, (4, 5)).endswith("3 voters (1, 2, 3), of which 1 may fail")


@pytest.mark.parametrize(
    ("quorum", "why"),
    [
        (with_directories(quorum_of((1, 2, 3), observers=(4,))), None),
        (with_directories(quorum_of((1, 2, 3), observers=(4,), behind=(4,))), "not caught up"),
        (with_directories(quorum_of((1, 2, 3))), "doesn't know it"),
        (quorum_of((1, 2, 3), observers=(4,)), "static"),
    ],
)
def test_only_a_controller_that_has_caught_up_joins(quorum: MetadataQuorum, why: str | None) -> None:
    assert lacks_its_vote(quorum, 4)
    found = why_not_to_join(quorum, 4)
    assert found == why if why is None else why in str(found)


def on_a_new_disk(quorum: MetadataQuorum, node_id: int) -> MetadataQuorum:
    new = QuorumReplica(id=node_id, log_end_offset=1, last_fetch_at=NOW, last_caught_up_at=NOW, directory_id="new")
    return quorum.model_copy(update={"observers": (*quorum.observers, new)})


def test_a_new_disk_gets_the_vote_of_a_lost_one_but_never_that_of_one_that_is_up() -> None:
    lost = on_a_new_disk(with_directories(quorum_of((1, 2, 3), behind=(3,))), 3)
    assert lacks_its_vote(lost, 3) and why_not_to_join(lost, 3) is None
    twice = on_a_new_disk(with_directories(quorum_of((1, 2, 3))), 3)
    assert 3 in caught_up_voters(twice) and "two nodes have the same id" in str(why_not_to_join(twice, 3))
    assert not lacks_its_vote(with_directories(quorum_of((1, 2, 3))), 3)


def test_who_has_no_vote_catches_up_too() -> None:
    """After a restart that is waited for."""
    quorum = with_directories(quorum_of((1, 2, 3), observers=(4, 5), behind=(3, 5)))
    assert [node for node in range(1, 7) if has_caught_up(quorum, node)] == [1, 2, 4]
    assert has_caught_up(on_a_new_disk(quorum, 3), 3), "with the disk that it runs on"
