"""A plan of 200,000 moves on its way: frozen, kept, shown at the gate, carried out. Whatever is written somewhere fits there."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic_core import to_json
from temporalio.testing import ActivityEnvironment

from activities import ledgers, move_plans, mover, plan_store, step
from activities.mover import Mover
from activities.step import Access, Steps
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import ClusterClients, ClusterSettings
from kafka_runbooks.models import history
from kafka_runbooks.models.inputs import MoveLimits, RunPlanInput
from kafka_runbooks.models.messages import PlanRequest, StepRequest, Survey, Token
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.placement import PartitionAssignment, ReassignmentMap
from kafka_runbooks.models.status import Progress, Signalled, Status
from kafka_runbooks.moves import planning
from tests.fakes.kafka import FakeKafka
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.large import LargeWorld
from tests.fakes.link import FakeLink
from tests.fakes.metrics import FakeMetrics
from workflows.details import markdown

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")
MAPS = 100
BLOB_WARNING_BYTES = 256 * 1024
"""From here on Temporal warns (`limit.blobSize.warn`); 2 MiB are refused."""
HEARTBEAT_BYTES = 16 * 1024
"""Every two seconds, from each of a hundred runs."""
DETAILS_BYTES = 20_000
LIMITS = MoveLimits(moves_in_per_broker=1000, moves_out_per_broker=1000, moves_at_once=10_000)
"""As many in flight as an operator may ask for."""


class Site:
    """Three hundred brokers, on fakes."""

    def __init__(self, partitions: int) -> None:
        self.world = LargeWorld(maps=MAPS, partitions=partitions)
        self.kubernetes = FakeKubernetes(self.world)
        self.link = FakeLink()
        self.heartbeats: list[int] = []
        self.signals: list[Progress] = []
        settings = ClusterSettings(bootstrap_servers="none:9092", namespace="kafka")
        self.clients = ClusterClients(FakeKafka(self.world), self.kubernetes, FakeMetrics(self.world), settings)

    def records(self, kind: str) -> list[str]:
        return [name for name, (found, _) in self.world.records.items() if found == kind]

    def survey(self) -> Survey:
        """Every partition gets the third broker of its map, in the place of its second."""
        wanted = ReassignmentMap(
            partitions=tuple(
                PartitionAssignment(
                    topic=name.topic,
                    partition=name.partition,
                    replicas=(partition.replicas[0], self.world.other_broker(name)),
                )
                for name, partition in self.world.partitions.items()
            )
        )
        request = RunPlanInput(cluster="main", requester="test", config_map="given", limits=LIMITS)
        asked: PlanRequest[RunPlanInput] = PlanRequest(request=request, token=TOKEN)
        return move_plans.survey(self.clients, "RunPlan", asked, lambda _, observed: planning.reassignment(observed, wanted))

    def carried_out(self, request: StepRequest, looks: Callable[[Mover], None]) -> None:
        """The mover of a plan, as an activity."""
        link: Any = self.link

        class Moves(Steps):
            @step.step
            def move(self, request: StepRequest) -> None:
                looks(Mover(site.clients, link, request, plan_store.load_moves(site.kubernetes, request)))

        site = self
        clusters: Any = None

        def beat(*details: Any) -> None:
            self.heartbeats.append(sum(len(to_json(one)) for one in details))

        environment = ActivityEnvironment()
        environment.on_heartbeat = beat
        environment.run(Moves(Access(clusters, link)).move, request)


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SIGNAL_SECONDS", 0.0)
    monkeypatch.setattr(mover, "DEAD_SECONDS", 10_000.0)


# The soak is the same with more: a faster one is beside it.
@pytest.mark.parametrize("moves", [12_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_a_large_plan_is_carried_out(moves: int, in_a_hurry: None) -> None:
    site = Site(moves)
    survey = site.survey()

    # The gate: what the history keeps of it, and what a person reads.
    assert survey.plan is not None and not survey.reasons and survey.plan.partitions == moves
    status = Status(runbook="RunPlan", cluster="main", phase="gate", plan=survey.plan, reasons=survey.reasons)
    assert len(to_json(survey)) < BLOB_WARNING_BYTES and len(to_json(status)) < BLOB_WARNING_BYTES
    assert len(markdown(status).encode()) < DETAILS_BYTES

    # The plan store: the fake refuses a ConfigMap that the API server would refuse.
    request = StepRequest(token=TOKEN, plan=survey.plan.reference)
    parts = site.records(store.part_of(store.PLAN))
    (first,) = site.records(store.PLAN)
    plan = store.load(site.kubernetes, first, MovePlan)
    assert plan is not None and len(plan.moves) == moves and plan.sha256() == request.plan.sha256
    compressed = sum(len(site.world.records[name][1].get(store.DATA, b"")) for name in (first, *parts))
    assert compressed < 30 * moves, "bytes in etcd for each move"
    assert [one.name for one in store.written(site.kubernetes, store.PLAN)] == [first]

    # The window and the ledger, with as much in flight as may be.
    def looks(mover: Mover) -> None:
        flown = 0
        while True:
            decision, progress = mover.advance()
            site.signals.append(progress)
            if decision.is_done or flown >= 2 * LIMITS.moves_at_once:
                break
            assert decision.submit, decision.hold
            ledger = ledgers.read(site.kubernetes, TOKEN)
            in_flight = len(site.world.moving())
            assert len(ledger.reassignments) >= in_flight and ledger.entries and ledger.rates
            summaries.append(len(site.world.records[ledgers.name_of(TOKEN.run_id)][1]["summary"]))
            most.append(in_flight)
            flown += site.world.arrive()

    most: list[int] = []
    summaries: list[int] = []
    site.carried_out(request, looks)
    assert max(most) == min(moves, LIMITS.moves_at_once), "the window is as full as the limits let it be"
    assert 0 < max(summaries) < 2 * store.SUMMARY_CHARACTERS, "of the ledger, in plain text"

    # What Temporal gets while it runs, and what a history would hold if it were told each time.
    assert site.heartbeats and max(site.heartbeats) < HEARTBEAT_BYTES
    signal_bytes = max(len(to_json(Signalled(progress=one))) for one in site.signals)
    assert history.MOST_SIGNALS * 2 * signal_bytes < history.LIMIT_BYTES * history.NOTE_SHARE
