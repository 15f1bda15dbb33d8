"""What a plan says of its time and its throttle: with what others have set, with overrides, and with silent brokers."""

import pytest
from temporalio.testing import ActivityEnvironment

from activities import ledgers
from activities.move_plans import MovePlanActivities
from activities.overrides import OverrideActivities
from activities.replacement import ReplacementActivities
from activities.step import Access
from kafka_runbooks.clients import store
from kafka_runbooks.models.cluster import ThrottleRates
from kafka_runbooks.models.inputs import RebalanceInput, ReplaceBrokerInput
from kafka_runbooks.models.ledger import RateLease
from kafka_runbooks.models.messages import OverrideRequest, PlanRequest, Survey, Token
from kafka_runbooks.models.operator import Override
from kafka_runbooks.models.plans import PlanSummary
from kafka_runbooks.models.replacement import ReplacementPlan
from tests.fakes.link import PERMIT_RUN_ID, FakeLink
from tests.fakes.world import World
from tests.temporal_env import WorldClusters, make_world

MEGABYTE = 1_000_000
TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id=PERMIT_RUN_ID)


class Site:
    def __init__(self, world: World) -> None:
        self.world = world
        self.access = Access(WorldClusters(world, "main"), FakeLink())  # type: ignore[arg-type]
        self.kubernetes = self.access.clusters.open("main").kubernetes

    def replacement(self, token: Token | None = None) -> PlanSummary:
        request = ReplaceBrokerInput(cluster="main", requester="test", broker_ids=(1001,), node_is_gone=True)
        asked: PlanRequest[ReplaceBrokerInput] = PlanRequest(request=request, token=token)
        return self._plan(ActivityEnvironment().run(ReplacementActivities(self.access).plan_replace_broker, asked))

    def rebalance(self, token: Token | None = None) -> PlanSummary:
        request = RebalanceInput(cluster="main", requester="test", map="events")
        asked: PlanRequest[RebalanceInput] = PlanRequest(request=request, token=token)
        return self._plan(ActivityEnvironment().run(MovePlanActivities(self.access).plan_rebalance, asked))

    def of(self, runbook: str, token: Token | None = None) -> PlanSummary:
        return self.replacement(token) if runbook == "replacement" else self.rebalance(token)

    def set_by_hand(self, broker: int | None = None) -> None:
        override = Override(rate_bytes_per_s=MEGABYTE, broker_id=broker, by="ana", reason="INC-7")
        ActivityEnvironment().run(OverrideActivities(self.access).set_throttle, OverrideRequest(token=TOKEN, override=override))

    @staticmethod
    def _plan(found: Survey) -> PlanSummary:
        assert found.plan is not None, found
        return found.plan


@pytest.fixture
def replaced() -> Site:
    world = make_world()
    world.lose_node("node-events-a")
    return Site(world)


@pytest.fixture
def uneven() -> Site:
    world = make_world()
    world.add_broker("events", "zone-a")
    return Site(world)


@pytest.fixture(params=["replacement", "rebalance"])
def runbook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(runbook: str, replaced: Site, uneven: Site) -> Site:
    return replaced if runbook == "replacement" else uneven


@pytest.mark.parametrize("level", ["rates", "default_rates", "static_rates"])
def test_a_rate_that_others_have_set_is_named_and_counted_in(site: Site, runbook: str, level: str) -> None:
    before = site.of(runbook)
    slow = ThrottleRates(leader_bytes_per_s=MEGABYTE)
    setattr(site.world, level, dict.fromkeys(range(1001, 1008), slow) if level == "rates" else slow)
    after = site.of(runbook)
    assert after.eta_seconds > 10 * before.eta_seconds
    where = "by someone else" if level == "rates" else "for the whole cluster"
    assert any(f"broker 1002: 1000000 B/s set {where}" in line for line in after.foreign_throttles)


def test_an_override_of_the_run_is_named_and_counted_in_where_the_rest_is_planned_again(site: Site, runbook: str) -> None:
    """The plan promised the ceiling's time, and an override held it at a hundredth."""
    before = site.of(runbook, TOKEN)
    site.set_by_hand()
    after = site.of(runbook, TOKEN)
    assert after.eta_seconds > 10 * before.eta_seconds
    assert any("override for all brokers: 1 MB/s set by ana: INC-7" in line.text for line in after.lines)
    assert site.of(runbook).eta_seconds == before.eta_seconds, "another run's plan knows nothing of it"


def test_a_broker_that_does_not_answer_stops_no_plan(site: Site, runbook: str) -> None:
    """Live is not answering: its rates were asked for, and no plan was made."""
    site.world.silent[1002] = 1_000
    if runbook == "replacement":
        assert any("broker 1002 doesn't answer" in line.text for line in site.of(runbook).lines)


def test_what_the_run_itself_has_set_is_no_rate_of_before(replaced: Site) -> None:
    """Planned again, its own rate counted as one that others had set, and the exit contract let it pass."""
    ours = ThrottleRates(leader_bytes_per_s=MEGABYTE)
    replaced.world.rates[1002] = ours
    ledger = ledgers.read(replaced.kubernetes, TOKEN)
    lease = RateLease(previous=ThrottleRates(), ours=ours)
    ledgers.write(replaced.kubernetes, ledger.model_copy(update={"rates": {1002: lease}}))
    plan = replaced.replacement(TOKEN)
    kept = store.load(replaced.kubernetes, plan.reference.plan_id, ReplacementPlan)
    assert kept is not None and kept.rates_before == {} and plan.foreign_throttles == ()
