"""A broker that catches up: bytes that count, losses that were acknowledged, and every reason why it stands still."""

from kafka_runbooks.models.cluster import Partition, Replica, ReplicaSizes, TopicPartition
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.moves.catch_up import STILL_SECONDS, acknowledged_losses, copied_to, hold
from tests.safety.builders import cluster, part

PLANNED = {TopicPartition("t", number): 100 for number in range(3)}


def onto(broker: int, *partitions: Partition) -> list[Copy]:
    return [Copy(partition, (broker,)) for partition in partitions]


def test_a_source_that_grows_leaves_more_to_copy_and_never_freezes_the_progress() -> None:
    """A replica with as much as was planned counted as copied, in sync or not: nothing arrived any more, and nothing was left."""
    assigned = [part((2, 1), (2,), 0), part((2, 1), (2,), 1), part((2, 1), (2, 1), 2)]
    sizes = {Replica("t", 0, 1): 30, Replica("t", 1, 1): 500, Replica("t", 2, 1): 170, Replica("t", 1, 2): 620}
    found = copied_to(1, PLANNED, assigned, ReplicaSizes(size_bytes=sizes))
    assert (found.done_bytes, found.total_bytes - found.done_bytes) == (30 + 500 + 100, 70 + 120)
    found = copied_to(1, PLANNED, assigned, ReplicaSizes(size_bytes={}))
    assert (found.done_bytes, found.total_bytes - found.done_bytes) == (100, 200)
    assert (found.in_sync_partitions, found.partitions) == (1, 3)


def test_a_broker_that_does_not_answer_is_named_with_what_waits_for_it() -> None:
    late = [part((2, 1), (2,)), part((3, 1), (3,), 1)]
    seen = cluster(*late, minimum=1)
    found = hold(seen, [1], onto(1, *late), 0.0, {3})
    assert found is not None and found.blocking == ("t-1",) and "broker 3 doesn't answer" in found.reason
    found = hold(seen, [1], onto(1, *late), 0.0, {1})
    assert found is not None and found.blocking == ("t-0", "t-1")
    assert hold(seen, [1], onto(1, *late), 0.0, {4}) is None


def test_replicas_on_a_failed_log_directory_are_named() -> None:
    broken = part((2, 1), (2,))._replace(offline=(1,))
    found = hold(cluster(broken, minimum=1), [1], onto(1, broken), 0.0)
    assert found is not None and "log directory of broker 1 is offline" in found.reason and found.blocking == ("t-0",)


def test_only_a_sole_replica_whose_loss_was_acknowledged_is_elected_unclean() -> None:
    alone, led, shared = part((1,), ()), part((1,), (1,), 1), part((1, 2), (), 2)
    assert acknowledged_losses([1], [alone, led, shared], ["data-loss:t"]) == [alone.name]
    assert acknowledged_losses([1], [alone], []) == []
    assert acknowledged_losses([2], [alone], ["data-loss:t"]) == []
    assert acknowledged_losses([1, 2], [shared], ["data-loss:t"]) == [shared.name], "both are on new disks"


def test_why_nothing_arrives() -> None:
    late, fine = part((1, 2), (2,)), part((2, 3), (2, 3), 1)
    away = hold(cluster(late, minimum=1, live=(2, 3)), [1], onto(1, late), 0.0)
    assert away is not None and away.reason == "broker 1 is not registered with the controller"
    whole = cluster(late, fine, minimum=1)
    assert hold(whole, [1], onto(1, late), STILL_SECONDS) is None
    still = hold(whole, [1], onto(1, late), STILL_SECONDS + 1)
    assert still is not None and "nothing arrived on broker 1 for 61 s" in still.reason and still.blocking == ("t-0",)
    assert hold(whole, [1], [], STILL_SECONDS + 1) is None


def test_another_broker_that_is_down_is_named_with_what_has_no_source_left() -> None:
    late = part((1, 2), (2,))
    found = hold(cluster(late, minimum=1, live=(1, 3)), [1], onto(1, late), 0.0)
    assert found is not None and found.blocking == ("broker 2",)
    why = (
        "broker 2 is down too, which holds replicas of 1 of the 1 partitions that are copied: "
        "their brokers go no faster than needed, but for those that can't wait"
    )
    assert found.reason == f"{why}; 1 partitions have no live source: t-0"


def test_brokers_that_come_back_together_wait_for_each_other_only_where_they_are_all_away() -> None:
    late = [Copy(part((1, 2, 3), (3,)), (1, 2))]
    assert hold(cluster(late[0].partition, minimum=1, live=(1, 3)), [1, 2], late, 0.0) is None, "1 copies from 3 meanwhile"
    found = hold(cluster(late[0].partition, minimum=1, live=(3,)), [1, 2], late, 0.0)
    assert found is not None and found.reason == "broker 1, 2 is not registered with the controller"
