"""When no assignment exists: which constraint, on which broker or rack, and the smallest change that would help."""

import numpy as np
import pytest

from kafka_runbooks.placement import batches, planners
from kafka_runbooks.placement.errors import NoAssignment
from kafka_runbooks.placement.planners import Options
from tests.placement.builders import cluster


def reasons(*args: object, **kwargs: object) -> list[tuple[str, str, str]]:
    with pytest.raises(NoAssignment) as refused:
        planners.set_replication(*args, **kwargs)  # type: ignore[arg-type]
    return [(reason.constraint, reason.where, reason.remedy) for reason in refused.value.reasons]


def test_too_few_brokers() -> None:
    observed = cluster({("t", 0): [1]}, {1: ("a", 9), 2: ("b", 9)})
    assert reasons(observed, 3) == [("brokers", "brokers [1, 2]", "add 1 broker(s) or set the replication factor to 2")]


def test_dead_brokers_do_not_count() -> None:
    observed = cluster({("t", 0): [1]}, {1: ("a", 9), 2: ("b", 9)}, dead=[2])
    assert reasons(observed, 2) == [("brokers", "brokers [1]", "add 1 broker(s) or set the replication factor to 1")]


def test_a_rack_without_room_is_named_with_what_it_lacks() -> None:
    brokers: dict[int, tuple[str | None, int]] = {1: ("a", 500), 2: ("a", 500), 3: ("b", 30), 4: ("b", 25)}
    observed = cluster({("t", p): [1 + p % 2] for p in range(6)}, brokers, dict.fromkeys(range(6), 20))
    found = reasons(observed, 2)
    assert any(constraint == "capacity" and where == "rack b" for constraint, where, _ in found)
    assert any(where.startswith("broker ") and "free" in remedy for _, where, remedy in found)
    # The smallest change that it names does help.
    planners.set_replication(observed, 2, Options(min_racks=1))


def test_the_bytes_it_asks_for_are_enough() -> None:
    brokers: dict[int, tuple[str | None, int]] = {1: ("a", 100), 2: ("b", 12)}
    observed = cluster({("t", 0): [1]}, brokers, {0: 20})
    found = reasons(observed, 2)
    assert found[0][0] == "capacity" and found[0][1] == "broker 2" and "free 8 bytes on it" in found[0][2]
    planners.set_replication(cluster({("t", 0): [1]}, {**brokers, 2: ("b", 20)}, {0: 20}), 2)


def test_steps_that_wait_for_each_other_for_space() -> None:
    """Two full brokers that swap their partitions: no order works, and the reason says what is short."""
    brokers: dict[int, tuple[str | None, int]] = {1: ("a", 0), 2: ("b", 0)}
    observed = cluster({("t", 0): [1], ("t", 1): [2]}, brokers, {0: 10, 1: 10}, capacity=10)
    wanted = np.array([[1], [0]], dtype=np.int32)
    with pytest.raises(NoAssignment, match="free 10 bytes on it, or move one of its partitions to a third broker first"):
        batches.cut(observed, observed.replicas, wanted)
    roomy = cluster({("t", 0): [1], ("t", 1): [2]}, {1: ("a", 0), 2: ("b", 10)}, {0: 10, 1: 10}, capacity=20)
    assert [s.rows.tolist() for s in batches.cut(roomy, roomy.replicas, wanted)] == [[0], [1]], "one after the other"
