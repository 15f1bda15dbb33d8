"""What an operator asks of the runbooks that move data."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from kafka_runbooks.models.moves import MoveLimits
from kafka_runbooks.models.placement import ReassignmentMap
from kafka_runbooks.models.runbooks import AdaptiveThrottle, Name, RunbookInput, Throttle
from kafka_runbooks.models.windows import ChangeWindow

Level = Literal["utilisation", "used bytes", "replica count"]
BrokerIds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=1000)]
Topics = Annotated[tuple[Name, ...], Field(max_length=300)]
MOST_INLINE_PARTITIONS = 300
"""Of a reassignment JSON inside an input: the history keeps it."""


class MovingInput(RunbookInput):
    """What every runbook that moves data is asked with."""

    throttle: Throttle = Field(default_factory=AdaptiveThrottle)
    limits: MoveLimits = Field(default_factory=MoveLimits, description="how much may be in flight at once")
    change_windows: tuple[ChangeWindow, ...] = Field(
        default=(),
        max_length=50,
        description="when moves may start; none is started that can't end in time. Default: at any time",
    )
    wait_for_approval: bool = Field(default=True, description="park at the plan until somebody approves it")
    acknowledged_risks: tuple[str, ...] = Field(default=(), max_length=1000, description="names of risks that preflight reports")


def _distinct(brokers: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(brokers)) != len(brokers):
        raise ValueError("an id appears twice")
    return brokers


def _regexes(topics: tuple[str, ...]) -> tuple[str, ...]:
    for topic in topics:
        try:
            re.compile(topic)
        except re.error as error:
            raise ValueError(f"{topic!r} is no regex: {error}") from error
    return topics


class RebalanceInput(MovingInput):
    """Level the brokers of a map, or of every map, with the fewest bytes that get them there."""

    map: str | None = Field(default=None, max_length=200, description="only this map's brokers and topics; default: every map")
    topics: Topics = Field(default=(), description="names or whole-name regexes; default: all")
    target_spread: float | None = Field(
        default=None, ge=0, description="how far above the best possible spread is level enough (of capacity, or bytes)"
    )
    level: Level = Field(default="utilisation", description="what is to be level; utilisation is used bytes over capacity")
    max_moved_bytes: int | None = Field(default=None, ge=0, description="copy at most so many bytes")

    _topics = field_validator("topics")(_regexes)


class ScaleUpInput(MovingInput):
    """Bring brokers that have joined, and hold nothing yet, to the level of the others of their map."""

    brokers: BrokerIds = Field(description="ids of the new brokers")
    target_spread: float | None = Field(default=None, ge=0, description="how far above the best possible spread is level enough")
    level: Level = Field(default="utilisation", description="what is to be level; utilisation is used bytes over capacity")
    max_moved_bytes: int | None = Field(default=None, ge=0, description="copy at most so many bytes")

    _brokers = field_validator("brokers")(_distinct)


class DecommissionInput(MovingInput):
    """Empty brokers, or a rack, at once. With `remove_pods` their pods go too, where they are the highest ordinals."""

    brokers: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), max_length=1000, description="ids; or give rack")
    rack: str | None = Field(default=None, max_length=200, description="every broker of this rack; or give brokers")
    remove_pods: bool = Field(default=False, description="scale the StatefulSet down once they are empty, and unregister them")

    _brokers = field_validator("brokers")(_distinct)

    @model_validator(mode="after")
    def _one(self) -> "DecommissionInput":
        if bool(self.brokers) == (self.rack is not None):
            raise ValueError("give exactly one of brokers and rack")
        return self


class SetReplicationFactorInput(MovingInput):
    """Another replication factor for topics. Down copies nothing; up copies only the replicas that are new."""

    topics: Topics = Field(min_length=1, description="names, or regexes that match whole names")
    replication_factor: int = Field(ge=1, le=100)

    _topics = field_validator("topics")(_regexes)


class EvacuateLeadersInput(MovingInput):
    """Take leadership off brokers, replicas stay; or, with `back`, give it back as it was before the last evacuation."""

    brokers: BrokerIds = Field(description="ids of the brokers that shall lead nothing")
    back: bool = Field(default=False, description="undo the evacuation of these brokers")

    _brokers = field_validator("brokers")(_distinct)


class RunPlanInput(MovingInput):
    """Carry out a reassignment JSON that somebody brings, as kafka-reassign-partitions takes it."""

    plan: ReassignmentMap | None = Field(default=None, description="the reassignment JSON; or give config_map")
    config_map: str | None = Field(
        default=None, max_length=253, description="a ConfigMap in the cluster's namespace that has it under one key"
    )

    @field_validator("plan")
    @classmethod
    def _small(cls, plan: ReassignmentMap | None) -> ReassignmentMap | None:
        if plan is not None and len(plan.partitions) > MOST_INLINE_PARTITIONS:
            raise ValueError(
                f"{len(plan.partitions)} partitions are too many for the history (at most {MOST_INLINE_PARTITIONS}): "
                "put it into a ConfigMap (kubectl create configmap NAME --from-file plan.json) and give config_map"
            )
        return plan

    @model_validator(mode="after")
    def _one(self) -> "RunPlanInput":
        if (self.plan is None) == (self.config_map is None):
            raise ValueError("give exactly one of plan and config_map")
        return self
