"""A frozen plan of an upgrade: restarts onto a new pod template, a canary, and what is finalised at the end."""

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.plans import ExitPromises
from kafka_runbooks.models.restart_plan import RestartPlan


class Canary(Model):
    """The broker that the others wait for, and how it is judged."""

    broker_id: int
    peers: tuple[int, ...]
    """Brokers that it is compared with; none: it can't be compared."""
    soak_seconds: float
    tolerated_slowdown: float


class UpgradePlan(RestartPlan):
    """Which nodes restart onto the template of now."""

    canary: Canary | None = None
    finalise_features: bool

    @property
    def with_canary(self) -> tuple[int, ...]:
        """The nodes up to the canary; without its round, since it has the new template already, the controllers."""
        if self.canary is None:
            return ()
        for number, found in enumerate(self.rounds, start=1):
            if self.canary.broker_id in found:
                return tuple(node_id for one in self.rounds[:number] for node_id in one)
        return tuple(target.node.id for target in self.targets if target.node.is_controller)

    @property
    def promises(self) -> ExitPromises:
        return super().promises.model_copy(update={"finalised_features": self.finalise_features})
