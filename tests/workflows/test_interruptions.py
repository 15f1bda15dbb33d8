"""A worker may die between any two lines: each change is cut off on its way there, or on its way back, and tried again."""

from collections import Counter

import pytest

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.results import Outcome
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import lose, nothing_is_left


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fields", [{}, {"replacement_broker_id": 1004}], ids=["lost", "substitution"])
async def test_each_change_is_cut_off_once(runbooks: Bench, when: str, fields: dict[str, object]) -> None:
    world = runbooks.world
    if not fields:
        lose(world)
        world.add_node("spare", "zone-a", "events")
    tries: Counter[str] = Counter()

    def cut(name: str) -> None:
        tries[name] += 1
        if tries[name] % 2 == 1 and tries[name] < 8:
            raise Unreachable(f"cut off {when} {name}")

    if when == "before":
        world.before_act = cut
    else:
        world.after_act = cut
    result = await (await runbooks.start(**fields)).result()
    assert result.outcome is Outcome.DONE
    assert [check.name for check in result.checks if not check.passed] == []
    assert set(tries) >= {"write_record", "set_throttle_rates", "set_throttled_replicas", "delete_record"}
    nothing_is_left(world)
