"""What workflows and activities exchange. Small by construction: what grows with the cluster stays in the plan store."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field, SerializeAsAny

from kafka_runbooks.models.base import Line, Lines, Model
from kafka_runbooks.models.cluster import ThrottleRates
from kafka_runbooks.models.features import FeatureChange
from kafka_runbooks.models.inputs import PlannedInput
from kafka_runbooks.models.operator import AddBrokers, Override
from kafka_runbooks.models.plans import PlanReference, PlanSummary
from kafka_runbooks.models.results import Reason, Reasons
from kafka_runbooks.models.throttles import Throttle

Request = TypeVar("Request", bound=PlannedInput)


class Token(Model):
    """The right to change a cluster: the run that acts, and the permit run that fences all others off."""

    cluster: str
    workflow_id: str
    run_id: str
    permit_run_id: str
    namespace: str = ""
    """Temporal's."""


class PlanRequest(Model, Generic[Request]):
    """Ask for a frozen plan of a runbook. Without a token the plan is a preview and is kept nowhere.

    `approved` is the plan that was approved last, where the rest of it has to be planned again.
    """

    request: SerializeAsAny[Request]
    token: Token | None = None
    approved: PlanReference | None = None
    adds: bool = False
    """What is asked for comes in addition to the approved plan, which is being carried out."""

    def keeps_plan(self, reasons: Sequence[Reason]) -> bool:
        """Whether the run will go on with its plan, at the gate at least: one that it refuses is kept nowhere."""
        may_go_on = self.request.wait_for_approval and all(reason.can_be_acknowledged for reason in reasons)
        return self.token is not None and (may_go_on or not reasons)


class PreviewRequest(Model):
    """A runbook's name and its input as JSON."""

    runbook: str
    request: dict[str, Any]


class Survey(Model):
    """What preflight and planning found: the plan, and every reason not to carry it out, all at once.

    Also the answer of `kafka-runbooks plan`. `plan` is None where there is none, or nothing to do.
    """

    plan: PlanSummary | None = None
    reasons: Reasons = ()
    notes: Lines = ()
    nothing_to_do: Line | None = None
    needs_second_person: bool = False
    """Somebody else than the requester must approve."""


class StepRequest(Model):
    """One step of a frozen plan, with the approvals that were given by now."""

    token: Token
    plan: PlanReference
    is_rollback: bool = False
    """The plan's inverse is carried out."""
    acknowledged_risks: tuple[str, ...] = ()
    broker_ids: tuple[int, ...] = ()
    """The brokers of the plan that the step is about; empty: all."""


class TopicStepRequest(Model):
    """A step of a plan of topics."""

    step: StepRequest
    has_moved: bool = False
    """What waits for moves is done too."""


class Round(Model):
    """The nodes that restart together next; none where all are done."""

    node_ids: tuple[int, ...]
    done: int
    """Nodes of the plan that have been restarted."""
    total: int


class SoakRequest(Model):
    """Compare the canary of a plan with its peers."""

    step: StepRequest
    since: datetime
    """When it was back."""
    usual: dict[str, float]
    """Figure -> how many times its peers' the canary's was before."""


class SoakReport(Model):
    """How the canary did."""

    verdict: Literal["as good", "worse", "unknown"]
    detail: Line


class FeaturesFound(Model):
    """What could be finalised now, and why not more."""

    changes: tuple[FeatureChange, ...] = ()
    note: Line = ""


class FinaliseRequest(Model):
    """Finalise these levels: feature -> level."""

    step: StepRequest
    levels: dict[str, int]


class NodesRequest(Model):
    """A step of a drain, and the nodes that it is about; the next ones are chosen of all but these."""

    step: StepRequest
    nodes: tuple[str, ...]


class ProofRequest(Model):
    """What the exit contract is proven for."""

    step: StepRequest
    our_rates: dict[int, ThrottleRates] = Field(default_factory=dict)
    """The rates that the run had set, by broker, as set last."""
    as_planned: bool = True
    """False where the cluster changed so that nothing of the plan was left to do."""


class GiveWayRequest(Model):
    """Ask the run that holds the cluster to end, if it only waits at its gate and a schedule has started it."""

    cluster: str
    holder: str
    by: str


class JoinRequest(Model):
    """Ask the run that holds the cluster to take brokers along."""

    holder: str
    brokers: AddBrokers


class RecoveryRequest(Model):
    """Brokers that catch up, and how fast they may."""

    token: Token
    brokers: tuple[int, ...]
    throttle: Throttle


class EvacuationRequest(Model):
    """Brokers whose leaders are back."""

    token: Token
    brokers: tuple[int, ...]


class UnregisterRequest(Model):
    """Brokers of the plan that have left, and the pods that they ran in."""

    step: StepRequest
    pods: tuple[str, ...]


class OverrideRequest(Model):
    """`throttle set`."""

    token: Token
    override: Override


class ClearOverrideRequest(Model):
    """`throttle clear`: one broker's override, the one for all brokers (no `broker_id`), or every one."""

    token: Token
    broker_id: int | None = None
    everything: bool = False


class NodeChoice(Model):
    """Where the broker can come back. `rack` differs from the broker's where only another rack has a free node."""

    node: str | None
    rack: str | None
    in_other_rack: bool = False
    rack_is_unknown: bool = False
    """Nothing tells which rack the broker was in, so this one may be another."""


class Landing(Model):
    """Where the pod came up again."""

    node: str
    rack: str | None
    in_other_rack: bool = False


class Released(Model):
    """What was removed, and what could not be: it stays in the ledger for the next run or `ClearLeftovers`."""

    given_back: Lines = ()
    left_behind: Lines = ()
    rates: dict[int, ThrottleRates] = Field(default_factory=dict)
    """The rates that the run had set, by broker, as set last."""
    is_unanswered: bool = False
    """Something is left only because nobody answered just now: another attempt may remove it."""
