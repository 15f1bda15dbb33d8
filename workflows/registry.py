"""Every workflow.

Not in the package itself: the sandbox imports a workflow's module, and with it its package, for each run anew, so each run
would import all of them (70 ms of CPU; a worker checks twenty of them when it starts).
"""

from workflows.certificate_watch import CertificateWatch
from workflows.clear_leftovers import ClearLeftovers
from workflows.decommission import Decommission
from workflows.doctor import Doctor
from workflows.drain import Drain
from workflows.evacuate_leaders import EvacuateLeaders
from workflows.health_check import HealthCheck
from workflows.migrate_to_kraft import MigrateToKraft
from workflows.notify import Notify
from workflows.permit import ClusterPermit
from workflows.preview import Preview
from workflows.rebalance import Rebalance
from workflows.replace_broker import ReplaceBroker
from workflows.restart_ensemble import RestartEnsemble
from workflows.rolling_restart import RollingRestart
from workflows.rotate_certificates import RotateCertificates
from workflows.run_plan import RunPlan
from workflows.scale_up import ScaleUp
from workflows.set_replication_factor import SetReplicationFactor
from workflows.throttle_recovery import ThrottleRecovery
from workflows.topic_reconcile import TopicReconcile
from workflows.upgrade import Upgrade

WORKFLOWS: tuple[type, ...] = (
    CertificateWatch,
    ClearLeftovers,
    ClusterPermit,
    Decommission,
    Doctor,
    Drain,
    EvacuateLeaders,
    HealthCheck,
    MigrateToKraft,
    Notify,
    Preview,
    Rebalance,
    ReplaceBroker,
    RestartEnsemble,
    RollingRestart,
    RotateCertificates,
    RunPlan,
    ScaleUp,
    SetReplicationFactor,
    ThrottleRecovery,
    TopicReconcile,
    Upgrade,
)
