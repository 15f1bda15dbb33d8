"""The migration of a cluster from ZooKeeper to KRaft (KIP-866): what is seen of it, its legs, and the frozen plan of one of them.

No record of ours says how far it is. Brokers tell their mode, controllers their state of the migration, ZooKeeper who controls.
"""

from enum import IntEnum, StrEnum

from pydantic import Field

from kafka_runbooks.models.base import Line, Model
from kafka_runbooks.models.plans import ExitPromises
from kafka_runbooks.models.restart_plan import RestartPlan


class BrokerMode(StrEnum):
    """How a broker was started, by the configuration that it has in force."""

    ZOOKEEPER = "ZooKeeper mode"
    MIGRATING = "ZooKeeper mode with the migration's settings"
    KRAFT = "KRaft mode"


class ZkMigrationState(IntEnum):
    """As it is in the metadata log (Kafka's `ZkMigrationState`)."""

    NONE = 0
    MIGRATION = 1
    """Everything is copied, and written to both."""
    PRE_MIGRATION = 2
    """The controllers wait for brokers."""
    POST_MIGRATION = 3
    """Ended: nothing is written to ZooKeeper any more, and there is no way back."""


class ControllerState(Model):
    """What a KRaft controller says of itself by its metrics."""

    node_id: int
    leader_id: int | None
    """Whom it follows; None: nobody."""
    epoch: int
    lag_seconds: float
    """Since the newest record that it has applied was written; of the leader 0."""
    state: ZkMigrationState | None
    """As far as it has applied the log; None: it has applied none yet."""
    waiting_brokers: int = 0
    """Brokers in ZooKeeper mode that have registered with the controllers, by the active one's count."""

    @property
    def is_active(self) -> bool:
        return self.leader_id == self.node_id


class MigrationZnodes(Model):
    """What Kafka keeps of the migration in ZooKeeper: `/controller`, `/controller_epoch`, `/migration` (`kafka.zk.ZkData`)."""

    controller_id: int | None = None
    kraft_epoch: int | None = None
    """The KRaft quorum's epoch when that controller registered; None: it is a broker in ZooKeeper mode."""
    controller_epoch: int | None = None
    is_begun: bool = False
    """There is a `/migration`."""
    copied_offset: int | None = None
    """The offset in the metadata log up to which everything is in ZooKeeper too; None: nothing has been copied."""

    @property
    def kraft_controls(self) -> bool:
        """Whether brokers in ZooKeeper mode obey a KRaft controller."""
        return self.kraft_epoch is not None


class MigrationSeen(Model):
    """Everything that tells how far a migration is."""

    modes: dict[int, BrokerMode]
    """Of each broker that answers."""
    silent_brokers: tuple[int, ...] = ()
    """Others that the cluster has."""
    znodes: MigrationZnodes
    controller_pods: tuple[str, ...] = ()
    controllers: tuple[ControllerState, ...] = ()
    """Of those pods, those that answer."""
    silent_controllers: tuple[Line, ...] = ()
    """Why others don't."""
    controllers_migrating: dict[int, bool] = Field(default_factory=dict)
    """Whether each has the migration's settings in force; those of which that isn't known are missing."""

    def of_mode(self, mode: BrokerMode) -> tuple[int, ...]:
        return tuple(sorted(broker for broker, found in self.modes.items() if found is mode))

    @property
    def active(self) -> ControllerState | None:
        """The active controller; None: nobody, or several, say that it is they."""
        found = [one for one in self.controllers if one.is_active]
        return found[0] if len(found) == 1 else None

    @property
    def state(self) -> ZkMigrationState | None:
        """By the active controller; None: nobody knows."""
        return None if self.active is None else self.active.state

    @property
    def is_finished(self) -> bool:
        """The quorum says that the migration has ended, and no broker and no controller could go back by its settings."""
        known = {one.node_id for one in self.controllers}
        return (
            set(self.modes.values()) == {BrokerMode.KRAFT}
            and self.state is ZkMigrationState.POST_MIGRATION
            and not self.silent_controllers
            and self.controllers_migrating == dict.fromkeys(known, False)
        )


class Leg(StrEnum):
    """A part of the way, from one gate to the next."""

    CONTROLLERS = "deploy the controllers"
    DUAL_WRITE = "give brokers the migration's settings"
    KRAFT = "bring brokers into KRaft mode"
    FINISH = "end the migration"
    BACK_TO_ZOOKEEPER_MODE = "bring brokers back into ZooKeeper mode"
    BACK_TO_A_BROKER = "give control back to a broker"
    BACK_TO_PLAIN = "take the migration's settings from brokers"


class MigrationPlan(RestartPlan):
    """One leg: which nodes restart for it, and what has to be applied before."""

    leg: Leg
    lines: tuple[str, ...] = Field(default=())
    """What to apply, and where."""

    @property
    def promises(self) -> ExitPromises:
        """Not that pods are of the newest template: somebody may have applied the next leg's already."""
        return ExitPromises(in_sync_brokers=self.broker_ids)
