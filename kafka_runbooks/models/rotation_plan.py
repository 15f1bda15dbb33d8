"""A frozen plan of a rotation: who takes part, what each presented before, and what each is to present.

It has public certificates only. Private keys are in Secrets, where a former key stays beside the new one until the rotation ends.
"""

from pydantic import Field

from kafka_runbooks.models.base import Line, Lines, Model
from kafka_runbooks.models.certificates import Certificate, ClientSecret, Stores
from kafka_runbooks.models.ledger import EntryLease
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.plans import ExitPromises, Plan, PlannedPartition
from kafka_runbooks.models.restart_plan import WaitFor
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits
from kafka_runbooks.models.rotations import Goal, Mode, Phase


class RotatedNode(Model):
    """A node whose files change."""

    node: KafkaNode
    pod: str
    stores: tuple[Stores, ...]
    """Its listeners with TLS."""
    secret: str
    keystore: str
    """The key of the Secret that its certificate and private key are in."""
    truststore: str
    """The same of the authorities that it trusts."""
    before: Certificate
    """What it presented when the plan was made."""
    subject: str
    """Of the new certificate; so are its names."""
    names: tuple[str, ...]
    reloads: bool
    """It takes new files without a restart."""
    keeps: bool = False
    """Its certificate stays: others are renewed, and all must trust each other."""

    @property
    def name(self) -> str:
        return f"{'broker' if self.node.is_broker else 'controller'} {self.node.id}"

    @property
    def is_controller(self) -> bool:
        """It has a controller's listener with TLS."""
        return any(one.listener.is_controller for one in self.stores)

    @property
    def files(self) -> tuple[str, str]:
        """The paths of keystore and truststore."""
        first = self.stores[0]
        return first.keystore, first.truststore or ""


class RotatedClient(Model):
    """One of our own clients, whose certificate changes too."""

    client: ClientSecret
    before: Certificate | None
    """None: it presents none (SASL alone), and only trusts."""

    @property
    def name(self) -> str:
        return self.client.name


class RotationPlan(Plan):
    """What a rotation is to bring about, and for whom."""

    reason: str
    mode: Mode
    issuer: str
    authority: str
    """That issues the new certificates; by SHA-256, like all others."""
    old: tuple[str, ...] = ()
    """That nobody is to trust any more."""
    old_subjects: tuple[str, ...] = ()
    """Their distinguished names, but for one that the wanted authority has too: logs call authorities by these."""
    authorities: dict[str, str] = Field(default_factory=dict)
    """The certificate (PEM) of each one that anybody presents a certificate of, or trusts."""
    nodes: tuple[RotatedNode, ...]
    clients: tuple[RotatedClient, ...] = ()
    canary: str | None = None
    at_once: int
    may_restart: bool = True
    break_glass: bool = False
    """Nodes whose certificates have expired restart although Kafka can't be asked who may be down."""
    limits: RestartLimits
    wait_for: WaitFor = "in sync"
    eta_seconds: float = 0.0

    @property
    def goal(self) -> Goal:
        return Goal(
            self.mode,
            self.authority,
            frozenset(self.old),
            self.canary,
            self.at_once,
            may_restart=self.may_restart,
            has_controllers=any(node.is_controller for node in self.nodes),
            controllers_first=self.break_glass,
        )

    @property
    def planned(self) -> tuple[PlannedPartition, ...]:
        return ()

    @property
    def total_bytes(self) -> int:
        return 0

    @property
    def promises(self) -> ExitPromises:
        return ExitPromises(in_sync_brokers=tuple(one.node.id for one in self.nodes if one.node.is_broker))

    def throttled_entries(self) -> dict[str, EntryLease]:
        return {}


class NextChange(Model):
    """The next change of a rotation, and how far it is; no phase: it is done."""

    phase: Phase | None = None
    names: tuple[str, ...] = ()
    by_restart: bool = False
    done: int = 0
    """Parties that are done with the phase."""
    total: int = 0


class ChangeRequest(Model):
    """Carry out a change, or take it back."""

    step: StepRequest
    phase: Phase
    names: tuple[str, ...]
    takes_back: bool = False


class ChangeReport(Model):
    """What handshakes have shown of a change: party -> why it isn't proven. None: all are."""

    unproven: dict[str, Line] = Field(default_factory=dict)


class OldClients(Model):
    """Who was seen to present certificates of the old authority, and what can't be seen."""

    clients: Lines = ()
    unseen: Line = ""
