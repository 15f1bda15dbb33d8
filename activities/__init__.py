"""Named, retryable, idempotent steps: observe through clients, decide by the pure packages, act, record in the ledger."""

from collections.abc import Callable
from typing import Any

from activities.brokers import BrokerActivities
from activities.catch_up import CatchUpActivities
from activities.certificate_watch import CertificateWatchActivities
from activities.decommission import DecommissionActivities
from activities.doctor import DoctorActivities
from activities.drain_plans import DrainPlanActivities
from activities.drains import DrainActivities
from activities.ensemble import EnsembleActivities
from activities.exit_contract import ExitContractActivities
from activities.health import HealthActivities
from activities.kraft_migration import KraftMigrationActivities
from activities.leaders import LeaderActivities
from activities.move_plans import MovePlanActivities
from activities.moves import MoveActivities
from activities.notifications import NotificationActivities
from activities.overrides import OverrideActivities
from activities.permits import PermitActivities
from activities.release import ReleaseActivities
from activities.replacement import ReplacementActivities
from activities.restart_plans import RestartPlanActivities
from activities.restarts import RestartActivities
from activities.rotation_plans import RotationPlanActivities
from activities.rotations import RotationActivities
from activities.step import Access, Steps
from activities.throttle_guard import ThrottleActivities
from activities.topic_plans import TopicPlanActivities
from activities.topics import TopicActivities
from activities.upgrade_plans import UpgradePlanActivities
from activities.upgrades import UpgradeActivities
from activities.voters import VoterActivities

ACTIVITIES: tuple[type[Steps], ...] = (
    BrokerActivities,
    CatchUpActivities,
    CertificateWatchActivities,
    DecommissionActivities,
    DoctorActivities,
    DrainActivities,
    DrainPlanActivities,
    EnsembleActivities,
    ExitContractActivities,
    HealthActivities,
    KraftMigrationActivities,
    LeaderActivities,
    MoveActivities,
    MovePlanActivities,
    NotificationActivities,
    OverrideActivities,
    PermitActivities,
    ReleaseActivities,
    ReplacementActivities,
    RestartActivities,
    RestartPlanActivities,
    RotationActivities,
    RotationPlanActivities,
    ThrottleActivities,
    TopicActivities,
    TopicPlanActivities,
    UpgradeActivities,
    UpgradePlanActivities,
    VoterActivities,
)


def activities(access: Access) -> list[Callable[..., Any]]:
    """Every activity of every class, with this access."""
    return [step for steps in ACTIVITIES for step in steps(access).every()]
