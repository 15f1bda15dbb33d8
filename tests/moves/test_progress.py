from kafka_runbooks.moves.progress import Pace, copy_seconds


def test_rate_and_time_left_come_from_what_was_seen() -> None:
    pace = Pace()
    assert pace.bytes_per_s == 0.0
    assert pace.seconds_left(10) is None
    for second in range(0, 100, 2):
        pace.look(second, second * 1_000)
    assert pace.bytes_per_s == 1_000
    assert pace.seconds_left(5_000) == 5
    assert pace.seconds_left(0) == 0


def test_it_notices_that_nothing_moves() -> None:
    pace = Pace()
    pace.look(0, 5)
    pace.look(10, 5)
    assert pace.still_for_seconds(70) == 70
    pace.look(71, 6)
    assert pace.still_for_seconds(72) == 1


def test_fewer_bytes_than_before_start_anew() -> None:
    pace = Pace()
    pace.look(0, 1_000_000)
    pace.look(2, 10)
    assert pace.bytes_per_s == 0.0


def test_copy_seconds_share_the_sources() -> None:
    assert copy_seconds([100, 100], 2, 10) == 10
    assert copy_seconds([], 0, 10) == 0
