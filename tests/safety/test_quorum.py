"""May controllers go down: against the majority, stated again here, on every quorum of up to five voters."""

from itertools import product

from kafka_runbooks.safety.quorum import caught_up_voters, controllers_may_go_down
from tests.safety.restart_strategies import quorum_of
from tests.safety.test_availability import subsets


def test_the_answer_is_right_on_every_quorum_of_up_to_five_voters() -> None:
    for count, headroom in product(range(1, 6), (0, 1, None)):
        voters = tuple(range(1, count + 1))
        for behind, going in product(subsets(voters[1:]), subsets(voters)):
            good, left = set(voters) - set(behind), set(voters) - set(behind) - set(going)
            spare = len(left) * 2 > count and (headroom is not None and (len(left) - headroom) * 2 > count)
            if going and set(going) & good:
                wanted = [] if spare or len(left) >= count - 1 else ["no-majority"]
            else:
                wanted = [] if not going or len(left) * 2 > count or len(left) >= count - 1 else ["already-no-majority"]
            found = controllers_may_go_down(quorum_of(voters, behind=behind), going, headroom=headroom)
            assert [reason.name for reason in found] == wanted, (count, headroom, behind, going)
            assert all(reason.remedy and reason.can_be_acknowledged == (reason.name != "no-majority") for reason in found)


def test_one_may_always_go_and_one_of_two_once_the_other_has_caught_up() -> None:
    assert controllers_may_go_down(quorum_of([1]), [1], headroom=None) == []
    assert controllers_may_go_down(quorum_of([1, 2]), [2], headroom=None) == []
    (reason,) = controllers_may_go_down(quorum_of([1, 2], behind=[2]), [1], headroom=None)
    assert reason.remedy == "wait until controller 2 has caught up"
    assert reason.message == ("without controller 1, 0 of 2 voters of the metadata quorum have caught up; 1 are to be kept")


def test_who_has_caught_up_is_within_the_fetch_timeout_of_the_leader() -> None:
    assert caught_up_voters(quorum_of([1, 2, 3], behind=[2], seconds=1.9)) == {1, 2, 3}
    assert caught_up_voters(quorum_of([1, 2, 3], behind=[2], seconds=2.0)) == {1, 3}
    assert caught_up_voters(quorum_of([1, 2, 3], behind=[2], seconds=2.0), fetch_timeout_seconds=3.0) == {1, 2, 3}


def test_a_leader_whose_own_time_is_not_known_vouches_for_nobody() -> None:
    quorum = quorum_of([1, 2, 3])
    leader = quorum.voters[0].model_copy(update={"last_caught_up_at": None})
    assert caught_up_voters(quorum.model_copy(update={"voters": (leader, *quorum.voters[1:])})) == {1}


def test_a_new_disk_that_only_observes_is_not_the_vote_of_the_lost_one() -> None:
    """KIP-853: the voter is listed with the directory that it lost, and once more as an observer."""
    quorum = quorum_of([1, 2, 3], behind=[3])
    back = quorum.voters[1].model_copy(update={"id": 3})
    quorum = quorum.model_copy(update={"observers": (back,)})
    assert caught_up_voters(quorum) == {1, 2}
    assert [reason.name for reason in controllers_may_go_down(quorum, [2])] == ["no-majority"]


def test_what_has_no_vote_may_go() -> None:
    assert controllers_may_go_down(quorum_of([1, 2, 3], behind=[2, 3], observers=[9]), [9], headroom=None) == []
