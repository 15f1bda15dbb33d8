"""Figures of a copy: rate, time left, bytes arrived, free space, and how good the first estimate was."""

from kafka_runbooks.models.cluster import Replica, ReplicaSizes
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.moves.progress import CopyProgress, EtaError, Pace, copied, copies, copy_seconds, headroom
from tests.moves.simulated import Simulated, move, name, plan_of


def test_rate_and_time_left_come_from_what_arrived() -> None:
    pace = Pace()
    assert pace.bytes_per_s == 0.0
    assert pace.seconds_left(10) is None
    for second in range(0, 100, 2):
        pace.observe(second, second * 1_000)
    assert pace.bytes_per_s == 1_000
    assert pace.seconds_left(5_000) == 5
    assert pace.seconds_left(0) == 0


def test_it_notices_that_nothing_arrives() -> None:
    pace = Pace()
    pace.observe(0, 5)
    pace.observe(10, 5)
    assert pace.still_for_seconds(70) == 70
    pace.observe(71, 6)
    assert pace.still_for_seconds(72) == 1


def test_fewer_bytes_than_before_start_over() -> None:
    pace = Pace()
    pace.observe(0, 1_000_000)
    pace.observe(2, 10)
    assert pace.bytes_per_s == 0.0


def test_copy_seconds_share_the_sources() -> None:
    assert copy_seconds(200, [10, 10]) == 10
    assert copy_seconds(200, [15, 5]) == 10
    assert copy_seconds(0, []) == 0


def test_the_first_estimate_is_compared_with_the_current_one() -> None:
    error = EtaError()
    assert error.observe(0, None) == "" and error.observe(5, 0.0) == "" and error.observe(10, 100.0) == ""
    assert error.observe(60, 75.0) == "; first estimate 100 s, now 125 s in all (+25%)"
    assert error.observe(60, None) == ""
    assert error.observe(80, 5.0) == "; first estimate 100 s, now 75 s in all (-25%)"


def test_what_moves_still_copy() -> None:
    plan = plan_of(move(0, (1, 2), (3, 4)), move(1, (1, 2), (2, 1)), move(2, (1, 2), (3, 2)))
    world = Simulated.before(plan)
    for one in plan.moves:
        world.reassign(one.name, one.after)
    world.in_sync[plan.moves[0].name].add(3)
    world.end(plan.moves[2].name)
    partitions = world.observe().partitions
    assert copies(plan.moves, partitions) == [Copy(partitions[plan.moves[0].name], (4,))]


def test_bytes_arrived_left_and_free() -> None:
    plan = plan_of(move(0, (1, 2), (3, 4), 100), move(1, (1, 2), (3, 2), 50))
    world = Simulated.before(plan)
    first, second = plan.moves
    world.reassign(first.name, first.after)
    sizes = ReplicaSizes(
        size_bytes={Replica("t", 0, 3): 30, Replica("t", 0, 4): 170, Replica("t", 1, 3): 5}, usable_bytes={3: 1_000, 9: 7}
    )
    partitions = world.observe().partitions
    assert copied(first, partitions[first.name], sizes) == (200, 70), "what is on the disks, and what the source has more"
    assert copied(second, partitions[second.name], sizes) == (0, 50), "it isn't in flight: what lies there is something else"
    assert headroom(plan, world.moving, partitions, sizes) == {3: 930, 9: 7}
    limited = plan.model_copy(update={"max_utilisation": 0.75})
    told = sizes.model_copy(update={"total_bytes": {3: 2000}})
    assert headroom(limited, world.moving, partitions, told) == {3: 430, 9: 7}, "a quarter of what it tells stays free"
    assert headroom(limited.inverse(), {}, partitions, told)[3] == 1000, "what was there before may come back"


def test_a_source_that_grows_leaves_more_to_copy_and_never_freezes_the_progress() -> None:
    """Once a replica had the planned bytes, it counted as copied, although its source had grown and it was not in sync."""
    plan = plan_of(move(0, (1, 2), (3, 2), 100))
    world = Simulated.before(plan)
    (one,) = plan.moves
    world.reassign(one.name, one.after)
    progress, pace = CopyProgress(plan, is_rollback=False), Pace()
    for second in range(0, 120, 10):
        sizes = ReplicaSizes(size_bytes={Replica("t", 0, 2): 300 + second, Replica("t", 0, 3): 100 + second})
        progress.observe(world.observe().partitions, (), {one.name}, (), sizes)
        pace.observe(second, progress.done_bytes)
        assert (progress.done_bytes, progress.left_bytes) == (100 + second, 200)
    assert pace.still_for_seconds(111) == 1 and round(pace.bytes_per_s) == 1 and pace.seconds_left(progress.left_bytes) == 200
    world.end(one.name)
    progress.observe(world.observe().partitions, {one.name}, (), (), sizes)
    assert (progress.done_bytes, progress.left_bytes) == (410, 0), "what was really copied, not what was planned"


def test_what_was_deleted_counts_with_what_was_copied_of_it() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2), 100))
    world = Simulated.before(plan)
    (one,) = plan.moves
    progress = CopyProgress(plan, is_rollback=False)
    progress.observe({}, (), (), {one.name}, ReplicaSizes(size_bytes={}))
    assert (progress.done_bytes, progress.left_bytes) == (0, 0)
    world.reassign(one.name, one.after)
    progress.observe(world.observe().partitions, (), {one.name}, (), ReplicaSizes(size_bytes={Replica("t", 0, 3): 40}))
    progress.observe({}, (), (), {one.name}, ReplicaSizes(size_bytes={}))
    assert (progress.done_bytes, progress.left_bytes) == (40, 0)


def test_what_had_arrived_before_counts_as_planned_but_for_nothing_in_a_rollback() -> None:
    plan = plan_of(move(0, (1, 2), (3, 2), 100))
    for is_rollback, expected in ((False, 100), (True, 0)):
        progress = CopyProgress(plan, is_rollback=is_rollback)
        progress.observe({}, {name(0)}, (), (), ReplicaSizes(size_bytes={}))
        assert progress.done_bytes == expected
