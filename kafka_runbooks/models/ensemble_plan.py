"""A frozen plan of restarts of a ZooKeeper ensemble's members.

A member is known by its pod's uid, as nodes of Kafka are (`restart_plan`): one whose pod has another uid has been restarted.
"""

from kafka_runbooks.models.base import Line, Model
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.plans import ExitPromises, Plan, PlannedPartition


class MemberTarget(Model):
    """One member to restart, as it was found."""

    server_id: int
    pod: str
    pod_uid: str
    why: Line
    """Asked for, or its pod template or TLS files have changed."""


class EnsemblePlan(Plan):
    """Which members restart. In which order, the ensemble says before each: who leads may change."""

    reason: str
    targets: tuple[MemberTarget, ...]
    """By server id."""

    @property
    def planned(self) -> tuple[PlannedPartition, ...]:
        return ()

    @property
    def total_bytes(self) -> int:
        return 0

    @property
    def promises(self) -> ExitPromises:
        return ExitPromises(restarted_members={target.pod: target.pod_uid for target in self.targets})

    def throttled_entries(self) -> dict[str, EntryLease]:
        return {}
