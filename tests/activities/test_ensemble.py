"""The steps of `RestartEnsemble`: what was true when a member was chosen is asked again before its pod goes."""

import pytest
from temporalio.testing import ActivityEnvironment

from activities.ensemble import EnsembleActivities
from activities.plan_store import save
from activities.step import Access
from kafka_runbooks.models.ensemble_plan import EnsemblePlan, MemberTarget
from kafka_runbooks.models.messages import StepRequest, Token
from kafka_runbooks.models.steps import StepName
from tests.fakes.ensemble import WorldEnsemble
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.link import PERMIT_RUN_ID, FakeLink
from tests.fakes.world import World
from tests.temporal_env import WorldClusters

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id=PERMIT_RUN_ID)


class Roll:
    """A plan of all three members, and its steps one by one."""

    def __init__(self) -> None:
        self.world = World()
        self.ensemble = self.world.ensemble = WorldEnsemble(self.world)
        self._steps = EnsembleActivities(Access(WorldClusters(self.world, "main"), FakeLink()))  # type: ignore[arg-type]
        targets = tuple(
            MemberTarget(server_id=one.server_id, pod=one.pod, pod_uid=one.uid, why="asked for")
            for one in self.ensemble.members.values()
        )
        plan = EnsemblePlan(
            cluster="main",
            kind="RestartEnsemble",
            title="",
            steps=(StepName.RESTART,),
            reason="",
            targets=targets,
            made_at="2026-01-01T00:00:00+00:00",
        )
        self._reference = save(FakeKubernetes(self.world), plan, TOKEN)

    def restart(self, *server_ids: int) -> tuple[int, ...]:
        request = StepRequest(token=TOKEN, plan=self._reference, broker_ids=server_ids)
        return ActivityEnvironment().run(self._steps.restart_member, request)

    def chosen(self) -> tuple[int, ...]:
        request = StepRequest(token=TOKEN, plan=self._reference)
        return ActivityEnvironment().run(self._steps.choose_member, request).node_ids

    @property
    def uids(self) -> list[str]:
        return [one.uid for one in self.ensemble.members.values()]


@pytest.fixture
def roll() -> Roll:
    return Roll()


def test_another_member_dies_after_one_was_chosen(roll: Roll) -> None:
    before = roll.uids
    assert roll.chosen() == (1,)
    roll.ensemble.kill(2)
    assert roll.restart(1) == () and roll.uids == before, "another one is chosen"
    assert roll.chosen() == (2,), "that one, since it is to restart too"


def test_a_member_that_has_become_the_leader_is_not_restarted(roll: Roll) -> None:
    before = roll.uids
    assert roll.chosen() == (1,)
    roll.ensemble.leader = 1
    assert roll.restart(1) == () and roll.uids == before and roll.chosen() == (2,)


def test_a_member_that_was_told_already_is_not_told_again(roll: Roll) -> None:
    """The attempt before has died after its act."""
    assert roll.restart(1) == (1,)
    roll.world.advance()
    made_anew = roll.uids
    assert roll.restart(1) == (1,) and roll.uids == made_anew
    assert roll.chosen() == (1,), "it is followed, before another one goes"


def test_never_two_even_if_told_so(roll: Roll) -> None:
    before = roll.uids
    assert roll.restart(1, 2) == (1,)
    roll.world.advance(20)
    assert [one for one, other in zip(roll.uids, before, strict=True) if one == other] == before[1:]
