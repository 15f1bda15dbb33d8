"""What is wrong with a cluster, as a scheduled look reports it."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator

from kafka_runbooks.models.base import Line, Model, first


class Fault(StrEnum):
    """Kinds of faults, the worst first."""

    NO_LEADER = "no leader"
    WRITES_REFUSED = "writes refused"
    BROKER_DOWN = "broker down"
    OUT_OF_SYNC = "out of sync"
    LEADERS_ELSEWHERE = "leaders elsewhere"
    LEFTOVERS = "leftovers"
    UNSEEN = "unseen"
    """A part of the cluster can't be asked."""


class Problem(Model):
    """Something that a look has found."""

    fault: str
    """A `Fault`; a worker of another version may know others."""
    line: Line
    of: Annotated[tuple[str, ...], AfterValidator(first)] = ()
    """Which brokers, or whose leftovers; empty where the fault is the cluster's."""


class Standing(Model):
    """What stays the same from look to look, whatever partitions it concerns just now."""

    fault: str
    of: str = ""


class HealthReport(Model):
    """What was found wrong; nothing is changed.

    Each field has a default: a look reads the last result of its schedule, which may have run something else until then.
    """

    cluster: str = ""
    is_healthy: bool = True
    found: tuple[Problem, ...] = ()
    """The worst first."""
    summary: Line = ""
    standing: Annotated[tuple[Standing, ...], AfterValidator(first)] = ()
    """What people have been told of, and isn't over."""
    news: Line = ""
    """What they are to be told now; empty: nothing that they don't know."""
