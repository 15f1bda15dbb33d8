"""When certificates end, and how urgent it is to renew them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator

from kafka_runbooks.models.base import Line, Lines, Model, first


class Urgency(StrEnum):
    """From the calmest on."""

    NOT_DUE = "not due"
    DUE = "due"
    """Renewal has to begin."""
    URGENT = "urgent"
    """Half of the margin is gone."""
    LATE = "too late to end in time"
    """A rotation that begins now is predicted to end after the certificate."""
    EXPIRED = "expired"

    @property
    def rank(self) -> int:
        return list(Urgency).index(self)


class CertificateEnd(Model):
    """A certificate in use, and when it ends."""

    holder: str
    """`broker 1001`, `controller 1`, `worker`."""
    where: str
    """`listener CLIENTS`, `Secret kafka-agent-tls`, or what its process was started with."""
    subject: str = ""
    not_before: datetime
    not_after: datetime
    needs_restart: bool = False
    """It ends with its process: a new one in the files doesn't replace it."""
    rotated_as: Literal["node", "client"] | None = None
    """What `RotateCertificates` renews it as: a node's own, or that of a client which `clusters.yaml` names. None: not at all."""


class Renewal(Model):
    """What one certificate's end means now."""

    certificate: CertificateEnd
    begins_at: datetime
    """When its renewal has to begin."""
    days_left: float
    urgency: Urgency


class DueRotation(Model):
    """What `RotateCertificates` would renew now, none of it expired."""

    certificates: int
    urgency: Urgency
    ending_within_days: float | None = None
    """None: all, since certificates of clients are among them, which are renewed with all nodes' only."""


class CertificateReport(Model):
    """Of a cluster's certificates, those that end first.

    Each field has a default: a look reads the last result of its schedule, which may have run something else until then.
    """

    cluster: str = ""
    renewals: Annotated[tuple[Renewal, ...], AfterValidator(first)] = ()
    certificates: int = 0
    due: int = 0
    unseen: Lines = ()
    """Why others couldn't be seen."""
    rotation: DueRotation | None = None
    """None: none is due that a run could renew, or some have expired, so that a person has to decide."""
    started: str | None = None
    """The workflow ID of the run that renews them."""
    summary: Line = ""
    news: Line = ""
    """What people are to be told; empty: nothing that they don't know."""

    @property
    def urgency(self) -> Urgency:
        return max((one.urgency for one in self.renewals), key=lambda urgency: urgency.rank, default=Urgency.NOT_DUE)
