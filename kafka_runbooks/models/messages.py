"""What workflows and activities hand each other. Small by construction: what grows with the cluster stays in the plan store."""

from pydantic import Field

from kafka_runbooks.models.base import Model
from kafka_runbooks.models.change_windows import ChangeWindow
from kafka_runbooks.models.inputs import MoveLimits, ReplaceBrokerInput
from kafka_runbooks.models.moves import MoveSummary
from kafka_runbooks.models.plans import PlanReference
from kafka_runbooks.models.results import Check, Reason
from kafka_runbooks.models.throttles import Throttle


class Token(Model):
    """The right to change a cluster: the run that acts, and the permit run that fences everybody else off."""

    cluster: str
    workflow_id: str
    run_id: str
    permit_run_id: str


class BrokerPlace(Model):
    """A broker as it was found before anything was changed: its pod, disk, node, map and rack."""

    broker_id: int
    pod: str
    claim: str
    claim_uid: str | None = None
    volume: str | None = None
    node: str | None = None
    node_uid: str | None = None
    map: str | None = None
    rack: str | None = None


class Survey(Model):
    """What preflight found. `reasons` are all of them at once; `place` is None where the broker can't be found."""

    place: BrokerPlace | None
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    nothing_to_do: str | None = None


class PlanRequest(Model):
    """Ask for a frozen plan of a replacement."""

    token: Token
    request: ReplaceBrokerInput
    place: BrokerPlace


class StepRequest(Model):
    """One step of a replacement. `acknowledged_risks` and `allow_other_rack` as they stand now, approvals included."""

    token: Token
    place: BrokerPlace
    plan: PlanReference
    throttle: Throttle
    replacement_broker_id: int | None = None
    disk_is_lost: bool = True
    node_is_gone: bool = False
    acknowledged_risks: tuple[str, ...] = ()
    allow_other_rack: bool = False


class RecoveryStep(Model):
    """Brokers that catch up, and how fast they may."""

    token: Token
    brokers: tuple[int, ...]
    throttle: Throttle


class NodeChoice(Model):
    """Where the broker can come back. `rack` differs from the broker's where only another rack has a free node."""

    node: str | None
    rack: str | None
    in_other_rack: bool = False


class Landing(Model):
    """Where the pod came up again."""

    node: str
    rack: str | None
    in_other_rack: bool = False


class Released(Model):
    """What was given back, and what could not be: it stays in the ledger for the next run or `ClearLeftovers`."""

    given_back: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
    rates_bytes_per_s: dict[int, int] = Field(default_factory=dict)
    """The leader rates that were ours, by broker, as set last."""


class MoveSurvey(Model):
    """What looking and planning found: the plan, and every reason not to carry it out, all at once."""

    summary: MoveSummary | None = None
    reasons: tuple[Reason, ...] = ()
    nothing_to_do: str | None = None


class MoveStep(Model):
    """One step of a plan of moves. `is_rollback`: the inverse plan is carried out."""

    token: Token
    plan: PlanReference
    throttle: Throttle
    limits: MoveLimits
    change_windows: tuple[ChangeWindow, ...] = ()
    is_rollback: bool = False
    is_replacement: bool = False
    """The plan is a `ReplacementPlan`: everything goes onto the one broker that an operator named, which is waited for."""


class MoveProof(Model):
    """What the exit contract of moves is proven for."""

    step: MoveStep
    our_rates_bytes_per_s: dict[int, int] = Field(default_factory=dict)
    as_planned: bool = True
    """False where the cluster changed so that nothing of the plan was left to do."""


class MoveChecks(Model):
    """The exit contract of moves."""

    checks: tuple[Check, ...]

    @property
    def broken(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)
