"""The rule for a member of an ensemble; `tests/clients/zookeeper` and `tests/lab/test_zookeeper.py` have real members."""

import pytest

from kafka_runbooks.agent.member_readiness import judge
from kafka_runbooks.models.ensemble import Mode


@pytest.mark.parametrize(
    ("mode", "synced_followers", "voters", "is_ready"),
    [
        (Mode.FOLLOWER, 0, 3, True),
        (Mode.OBSERVER, 0, 3, True),
        (Mode.STANDALONE, 0, 0, True),
        (Mode.NOT_SERVING, 0, 0, False),
        (Mode.READ_ONLY, 0, 3, False),
        (None, 0, 0, False),
        (Mode.LEADER, 2, 3, True),
        (Mode.LEADER, 1, 3, True),
        (Mode.LEADER, 0, 3, False),
        (Mode.LEADER, 2, 5, True),
        (Mode.LEADER, 1, 5, False),
        (Mode.LEADER, 1, 4, False),
        (Mode.LEADER, 2, 0, False),
    ],
)
def test_a_member_is_ready_where_it_serves_and_a_leader_where_a_quorum_follows(
    mode: Mode | None, synced_followers: int, voters: int, is_ready: bool
) -> None:
    assert judge(mode, synced_followers, voters).is_ready is is_ready
