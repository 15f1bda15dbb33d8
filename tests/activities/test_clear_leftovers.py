"""What other runs left: it never keeps a run from starting, whatever state its records, brokers and owners are in."""

import time
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import ActivityEnvironment

from activities import ledgers, overrides, plan_store, release
from activities.overrides import OverrideActivities
from activities.release import ReleaseActivities
from activities.step import Access
from kafka_runbooks.clients import store
from kafka_runbooks.models.cluster import ThrottleRates
from kafka_runbooks.models.ledger import Ledger, Owner, RateLease
from kafka_runbooks.models.messages import OverrideRequest, Released, Token
from kafka_runbooks.models.moves import Move, MovePlan
from kafka_runbooks.models.operator import Override
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.link import PERMIT_RUN_ID, FakeLink
from tests.fakes.world import World
from tests.temporal_env import WorldClusters

MEGABYTE = 1_000_000
TOKEN = Token(cluster="main", workflow_id="new", run_id="now", permit_run_id=PERMIT_RUN_ID, namespace="default")
CLOSED, OPEN = WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.RUNNING


class Clock:
    """`datetime` as a module sees it, some time later."""

    def __init__(self, later: timedelta) -> None:
        self._later = later

    def now(self, zone: tzinfo) -> datetime:
        return datetime.now(zone) + self._later


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "PATIENCE_SECONDS", 0.0)


class Site:
    def __init__(self) -> None:
        self.world = World(advance_at_look=False)
        self.kubernetes = FakeKubernetes(self.world)
        self.link = FakeLink()
        access = Access(WorldClusters(self.world, "main"), self.link)  # type: ignore[arg-type]
        self._acts, self._overrides = ReleaseActivities(access), OverrideActivities(access)

    def left_by(self, run_id: str, broker: int, *, lease: timedelta = timedelta(minutes=20), namespace: str = "default") -> None:
        """A ledger with one broker's rate."""
        ours = ThrottleRates(leader_bytes_per_s=MEGABYTE)
        self.world.rates[broker] = ours
        owner = Owner(workflow_id="old", run_id=run_id, expires_at=datetime.now(UTC) + lease, namespace=namespace)
        ledger = Ledger(owner=owner, cluster="main", rates={broker: RateLease(previous=ThrottleRates(), ours=ours)})
        store.save(self.kubernetes, store.LEDGER, ledgers.name_of(run_id), ledger, "words")

    def clear(self, *, only_expired: bool = False) -> Released:
        act = self._acts.clear_expired if only_expired else self._acts.clear_leftovers
        found: Released = ActivityEnvironment().run(act, TOKEN)
        return found

    def release(self, token: Token = TOKEN) -> Released:
        found: Released = ActivityEnvironment().run(self._acts.release, token)
        return found

    def set_by_hand(self, token: Token) -> None:
        override = Override(rate_bytes_per_s=5 * MEGABYTE, by="ana", reason="INC-7")
        ActivityEnvironment().run(self._overrides.set_throttle, OverrideRequest(token=token, override=override))

    def rated(self) -> set[int]:
        return {broker for broker, rates in self.world.rates.items() if rates != ThrottleRates()}


@pytest.fixture
def site() -> Site:
    return Site()


def test_what_a_closed_run_left_is_removed_and_an_open_run_s_stays(site: Site) -> None:
    site.link.runs = {"closed": CLOSED, "open": OPEN}
    site.left_by("closed", 1001)
    site.left_by("open", 1002)
    cleared = site.clear()
    assert site.rated() == {1002} and cleared.left_behind == ()
    assert cleared.given_back == ("old/closed: broker 1001: leader replication throttle 1000000 B/s",)
    assert site.clear(only_expired=True) == Released()


def test_one_unreadable_ledger_is_named_and_stops_nobody(site: Site) -> None:
    """Every runbook failed on it, ClearLeftovers too."""
    site.link.runs = {"closed": CLOSED}
    bad = ledgers.name_of("a")
    site.world.records[bad] = ("ledger", {"json.gz": b"no gzip", "summary": b"broker 1001: 5 B/s"})
    site.left_by("closed", 1002)
    cleared = site.clear()
    (line,) = cleared.left_behind
    assert bad in line and "It says: broker 1001: 5 B/s." in line and f"kubectl delete configmap {bad}" in line
    assert site.rated() == set()


def test_so_are_unreadable_overrides_and_plans(site: Site) -> None:
    site.link.runs = {"closed": CLOSED}
    site.left_by("closed", 1002)
    for kind in (store.OVERRIDES, store.PLAN, store.EVACUATION):
        site.world.records[f"bad-{kind}"] = (kind, {"json.gz": b"no gzip"})
        site.world.record_annotations[f"bad-{kind}"] = {"parts": "no json"}
    cleared = site.clear()
    assert [line for line in cleared.left_behind if "bad-overrides" in line] and site.rated() == set()
    assert "bad-plan" not in site.world.records, "it doesn't say how old it is, nor for whom it was made"
    assert "bad-evacuation" in site.world.records


def test_a_silent_broker_of_many_ledgers_is_asked_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The permit was held meanwhile, and every runbook was busy: also the replacement of that very broker."""
    asked = []
    kafka = site._acts._open("main").kafka
    rates = kafka.throttle_rates

    def throttle_rates(brokers: list[int]) -> object:
        asked.extend(brokers)
        return rates(brokers)

    monkeypatch.setattr(kafka, "throttle_rates", throttle_rates)
    site.world.silent[1001] = 1_000
    for number in range(5):
        site.link.runs[f"closed-{number}"] = CLOSED
        site.left_by(f"closed-{number}", 1001 if number else 1002)
    cleared = site.clear()
    assert asked.count(1001) == 1 and site.rated() == {1001}
    assert len(cleared.left_behind) == 4 and all("answer" in line for line in cleared.left_behind)


def test_it_takes_a_minute_at_most(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ticks:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 25.0
            return self.now

    monkeypatch.setattr(release, "time", Ticks())
    for number in range(9):
        site.link.runs[f"closed-{number}"] = CLOSED
        site.left_by(f"closed-{number}", 1001 + number % 6)
    cleared = site.clear()
    assert len(cleared.given_back) == 2 and len(cleared.left_behind) == 7
    assert all("ClearLeftovers looks again" in line for line in cleared.left_behind)


def test_a_run_of_another_temporal_is_cleared_only_past_its_lease_and_is_said(site: Site) -> None:
    """NOT_FOUND was taken for forgotten: a stand-in Temporal cancelled live work."""
    site.left_by("unknown", 1001)
    site.left_by("elsewhere", 1002, namespace="blue")
    site.link.runs["elsewhere"] = CLOSED
    cleared = site.clear()
    assert site.rated() == {1001, 1002}
    assert sorted(line.split(";")[0] for line in cleared.left_behind) == [
        "old/elsewhere is a run of another Temporal namespace (blue)",
        "old/unknown is not known to this Temporal server",
    ]
    over = -timedelta(minutes=5)
    site.left_by("unknown", 1001, lease=over)
    site.left_by("elsewhere", 1002, lease=over, namespace="blue")
    assert site.clear().left_behind == () and site.rated() == set()


def test_where_temporal_does_not_say_nothing_is_cleared(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.left_by("closed", 1001, lease=-timedelta(hours=1))
    site.link.is_away = True
    assert "is not known" in site.clear().left_behind[0] and site.rated() == {1001}


def test_overrides_end_with_their_run(site: Site) -> None:
    """One that nobody cleared held the next run's brokers, and the run after that."""
    site.set_by_hand(TOKEN)
    assert overrides.in_force(site.kubernetes, TOKEN) != ()
    another = TOKEN.model_copy(update={"run_id": "another"})
    assert overrides.in_force(site.kubernetes, another) == ()
    site.release()
    assert overrides.in_force(site.kubernetes, TOKEN) == () and site.world.records == {}


def test_overrides_of_a_terminated_run_are_cleared_and_an_open_run_s_stay(site: Site) -> None:
    terminated, running = (TOKEN.model_copy(update={"run_id": run}) for run in ("terminated", "running"))
    site.link.runs = {"terminated": CLOSED, "running": OPEN}
    site.set_by_hand(terminated)
    site.set_by_hand(running)
    cleared = site.clear()
    assert cleared.given_back == ("new/terminated: throttle override 5 MB/s set by ana: INC-7",)
    assert list(site.kubernetes.records(store.OVERRIDES)) == [overrides.name_of("running")]


def test_plans_are_removed_after_two_weeks_but_none_of_an_open_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.link.runs = {"closed": CLOSED, "open": OPEN}
    for run in ("closed", "open", "now"):
        move = Move(topic=run, partition=0, before=(1,), after=(2,), size_bytes=1)
        plan = MovePlan(cluster="main", kind="Rebalance", title=run, moves=(move,), made_at="")
        plan_store.save(site.kubernetes, plan, TOKEN.model_copy(update={"run_id": run}))
    site.clear()
    assert len(site.kubernetes.records(store.PLAN)) == 3
    for module in (plan_store, release):
        monkeypatch.setattr(module, "datetime", Clock(plan_store.KEPT_FOR + timedelta(hours=1)))
    assert site.clear().given_back == ("1 plans that no run has used for 14 days",)
    assert sorted(one.owner.run_id for one in store.written(site.kubernetes, store.PLAN) if one.owner) == ["now", "open"]


def test_the_number_of_plans_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_store, "MOST_KEPT", 3)
    for number in range(6):
        move = Move(topic="t", partition=number, before=(1,), after=(2,), size_bytes=1)
        plan = MovePlan(cluster="main", kind="Rebalance", title="", moves=(move,), made_at="")
        plan_store.save(site.kubernetes, plan, TOKEN.model_copy(update={"run_id": f"closed-{number}"}))
        site.link.runs[f"closed-{number}"] = CLOSED
    monkeypatch.setattr(release, "datetime", Clock(timedelta(hours=1)))
    site.clear()
    assert len(site.kubernetes.records(store.PLAN)) == 3


def test_while_kafka_does_not_answer_what_is_in_kubernetes_is_removed(site: Site) -> None:
    site.left_by("now", 1001)
    (node,) = [node for node in site.kubernetes.nodes() if node.name == "node-events-c"]
    ledgers.own_cordon(site.kubernetes, ledgers.read(site.kubernetes, TOKEN), node)
    site.world.is_kafka_away = True
    released = site.release()
    assert not site.world.nodes["node-events-c"].is_cordoned
    assert released.left_behind == ("broker 1001: leader replication throttle 1000000 B/s: Kafka doesn't answer",)
    site.world.is_kafka_away = False
    assert site.release().left_behind == () and site.rated() == set()


def test_a_broker_that_answers_again_in_time_is_released(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that has just changed leaves nothing behind."""
    monkeypatch.setattr(release, "PATIENCE_SECONDS", 20.0)
    monkeypatch.setattr(release, "PAUSE_SECONDS", 0.01)
    site.left_by("now", 1002)
    site.world.silent[1002] = 1_000
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            site.world.silent.clear()

    monkeypatch.setattr(site.world, "look", look)
    released = site.release()
    assert released.left_behind == () and site.rated() == set() and looks == 3


def test_a_run_s_own_release_passes_over_a_silent_broker_in_no_time(site: Site) -> None:
    site.world.silent[1001] = 1_000
    site.left_by("now", 1001)
    began = time.monotonic()
    assert "doesn't answer" in site.release().left_behind[0]
    assert time.monotonic() - began < 5
