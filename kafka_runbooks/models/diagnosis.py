"""What `doctor` found: each thing that a runbook counts on, and for what isn't so the line that mends it."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from kafka_runbooks.models.base import Line, Model, Name, OperatorInput, first


class DoctorInput(OperatorInput):
    """The cluster that a worker is asked about."""

    cluster: Name


class Check(Model):
    """One thing that was looked at."""

    about: str
    """`Kafka`, `ACL`, `RBAC`, `StatefulSet`."""
    what: Line
    """What has to be so, or what was seen."""
    fault: Line | None = None
    """What isn't so; None: all is well."""
    remedy: Line | None = None
    """The line that mends it: a command, or what to write where."""
    hinders: Literal["runbooks", "migration"] = "runbooks"
    """What can't be done until it is mended; `migration`: to KRaft."""


class Diagnosis(Model):
    """Everything that was looked at, in the order in which to mend it."""

    checks: Annotated[tuple[Check, ...], AfterValidator(first)] = ()

    @property
    def faults(self) -> tuple[Check, ...]:
        """What hinders runbooks."""
        return tuple(check for check in self.checks if check.fault is not None and check.hinders == "runbooks")
