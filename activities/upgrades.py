"""What an upgrade does beyond restarting: the canary beside its peers, and the features at the end."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from activities import plan_store
from activities.errors import FeaturesRefused
from activities.permits import Fence
from activities.restarts import Nodes
from activities.step import Reporter, Steps, heartbeating, poll, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.features import BrokerFeatures, finalised, releases, to_finalise
from kafka_runbooks.models.messages import FeaturesFound, FinaliseRequest, SoakReport, SoakRequest, StepRequest
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.traffic import TrafficReport
from kafka_runbooks.models.upgrades import Canary, UpgradePlan
from kafka_runbooks.safety import canary as rules
from kafka_runbooks.safety.availability import listed, out_of_sync

LOOK_SECONDS = 15.0
"""Between two comparisons: about as often as metrics are collected."""
LOOK_SHARE = 0.1
"""Of the soak, where that is less."""
WARM_UP_SECONDS = 120.0
WARM_UP_SHARE = 0.25
"""A process that has just started is slow until its code is compiled and its page cache is warm: the first two minutes, at most a
quarter of the soak, are shown and don't count."""


class UpgradeActivities(Steps):
    """The steps of `Upgrade` that `RollingRestart` doesn't have."""

    @step
    def measure_canary(self, request: StepRequest) -> dict[str, float]:
        """How the canary compares with its peers before it restarts: figure -> how many times theirs. Empty: it isn't known."""
        with heartbeating():
            clients = self._open(request.token.cluster)
            plan = plan_store.load_as(clients.kubernetes, request.plan, UpgradePlan)
            if plan.canary is None or plan.canary.broker_id not in plan.broker_ids:
                return {}
            return rules.usual_ratios(_traffic(clients, plan.canary), plan.canary.broker_id, plan.canary.peers)

    @step
    def watch_canary(self, request: SoakRequest) -> SoakReport:
        """Compare the canary with its peers until the soak is over, or until it is worse in several looks in a row.

        It keeps its slot, since the looks of this attempt are in its memory; another attempt begins to count anew.
        """
        clients = self._open(request.step.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.step.plan, UpgradePlan)
        canary = plan.canary
        if canary is None:
            return SoakReport(verdict="as good", detail="no canary")
        ends = request.since + timedelta(seconds=canary.soak_seconds)
        warm = request.since + timedelta(seconds=min(WARM_UP_SECONDS, WARM_UP_SHARE * canary.soak_seconds))
        pause = min(LOOK_SECONDS, LOOK_SHARE * canary.soak_seconds)
        looks, next_look = rules.Looks(), 0.0

        def look() -> SoakReport | None:
            nonlocal looks, next_look
            now = datetime.now(UTC)
            if time.monotonic() < next_look and now < ends:
                return None
            next_look = time.monotonic() + pause
            one = _compare(clients, canary, request.usual, now)
            if now >= warm and one.measured_at is not None:
                looks = looks.after(one.measured_at, is_worse=one.is_worse)
            if looks.is_worse:
                return SoakReport(verdict="worse", detail=f"in {looks.worse} looks in a row: {one.shown}")
            if now >= ends and looks.is_good:
                return SoakReport(verdict="as good", detail=one.shown)
            if now >= ends and (looks.worse == 0 or one.measured_at is None):
                return SoakReport(
                    verdict="unknown", detail=f"{looks.good} good looks, {rules.LOOKS_IN_A_ROW} needed: {one.shown}"
                )
            until = f"the soak ends at {ends:%H:%M:%S} UTC"
            until += f"; it was worse in {looks.worse} looks in a row, {rules.LOOKS_IN_A_ROW} are too many" if looks.worse else ""
            waiting = Reporter.current().waiting(f"canary {canary.broker_id} beside its peers: {one.shown}", until)
            Reporter.current().report(Progress(waiting=waiting))
            return None

        return poll(look)

    @step
    def features_to_finalise(self, request: StepRequest) -> FeaturesFound:
        """What all brokers support, isn't finalised yet, and Kafka would finalise. Waits for live brokers that don't answer.

        Raises:
            FeaturesRefused: Kafka wouldn't, or a template was changed, so nobody need be asked.
        """
        clients = self._open(request.token.cluster)

        def look() -> FeaturesFound | None:
            found = _features(clients)
            if found is None:
                return None
            kinds, changes = releases(found), to_finalise(found)
            if changes:
                _raise_if_outdated(clients)
            _raise_for(clients.kafka.update_features({one.name: one.after for one in changes}, validate_only=True))
            note = "; ".join(f"{name}: brokers {listed(list(brokers))}" for name, brokers in kinds.items())
            return FeaturesFound(changes=changes, note=f"several releases run: {note}" if len(kinds) > 1 else "")

        return wait(look)

    @step
    def finalise_features(self, request: FinaliseRequest) -> None:
        """Finalise the approved levels, and read them back from every broker.

        Raises:
            FeaturesRefused: a template was changed, as for a rollback, or Kafka refuses.
        """
        clients, fence = self._open(request.step.token.cluster), Fence(self._link, request.step.token)

        def look() -> bool | None:
            found = _features(clients)
            if found is None:
                return None
            now = finalised(found.values())
            left = {name: level for name, level in request.levels.items() if now.get(name, 0) < level}
            if not left:
                return True
            _raise_if_outdated(clients)
            fence.check()
            _raise_for(clients.kafka.update_features(left))
            waiting = Reporter.current().waiting("features were accepted", "every broker reports them")
            Reporter.current().report(Progress(waiting=waiting))
            return None

        wait(look)


def _raise_if_outdated(clients: ClusterClients) -> None:
    """With another template a pod may restart onto a release that lacks what would be finalised, and never come up again."""
    nodes = Nodes(clients)
    outdated = sorted(pod.name for pod in nodes.pods.values() if nodes.is_outdated(pod))
    if outdated:
        shown = ", ".join(outdated[:5]) + (", …" if len(outdated) > 5 else "")
        raise FeaturesRefused(f"the template of {shown} has changed since: features are left as they are; start Upgrade again")


def _raise_for(refused: Mapping[str, str]) -> None:
    if refused:
        raise FeaturesRefused("; ".join(f"{name}: {why}" for name, why in sorted(refused.items())))


def _features(clients: ClusterClients) -> dict[int, BrokerFeatures] | None:
    """Of every live broker; None, and reported, while one doesn't answer."""
    live = clients.kafka.snapshot().live_broker_ids
    found = clients.kafka.features(live)
    silent = sorted(live - found.keys())
    if not silent and found:
        return found
    waiting = Reporter.current().waiting(
        f"brokers {listed(silent)} don't tell their features", "they answer, or are no longer live"
    )
    Reporter.current().report(Progress(waiting=waiting))
    return None


class _Look(NamedTuple):
    """One look at the canary."""

    shown: str
    is_worse: bool = False
    measured_at: datetime | None = None
    """None: nothing could be compared."""


def _compare(clients: ClusterClients, canary: Canary, usual: Mapping[str, float], now: datetime) -> _Look:
    """Whether it is up and in sync, and then its request times beside its peers'."""
    snapshot = clients.kafka.snapshot()
    if canary.broker_id not in snapshot.live_broker_ids:
        return _Look(f"broker {canary.broker_id} is down", True, now)
    if late := len(out_of_sync(snapshot, canary.broker_id)):
        return _Look(f"{late} replicas of broker {canary.broker_id} are not in sync", True, now)
    traffic = _traffic(clients, canary)
    found = rules.compare(traffic, canary.broker_id, canary.peers, usual, canary.tolerated_slowdown)
    if not found:
        why = [traffic.problems[one] for one in (canary.broker_id, *canary.peers) if one in traffic.problems]
        unknown = "there is no peer" if not canary.peers else "; ".join(why[:3]) or "there are no client requests"
        return _Look(f"request times can't be compared: {unknown}")
    is_worse = any(one.is_worse for one in found)
    return _Look("; ".join(map(str, found)), is_worse, traffic.by_broker[canary.broker_id].measured_at)


def _traffic(clients: ClusterClients, canary: Canary) -> TrafficReport:
    """Of the canary and its peers; nothing while the source of metrics is away."""
    ids = {canary.broker_id, *canary.peers}
    try:
        return clients.metrics.traffic([pod for pod in clients.kubernetes.broker_pods() if pod.broker_id in ids])
    except ClientError as error:
        return TrafficReport(problems={canary.broker_id: str(error)})
