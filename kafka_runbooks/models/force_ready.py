"""The break-glass annotation on a broker's pod: readiness forced by hand, with owner, reason and expiry."""

from pydantic import AwareDatetime, Field

from kafka_runbooks.models.base import OperatorInput


class ForceReady(OperatorInput):
    """The annotation `kafka-runbooks.io/force-ready`, as JSON."""

    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires_at: AwareDatetime
