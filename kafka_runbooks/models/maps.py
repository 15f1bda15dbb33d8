"""Maps as an operator writes them: a topic regex -> broker ids, or -> N instances of a type."""

from pydantic import Field, field_validator, model_validator

from kafka_runbooks.models import patterns
from kafka_runbooks.models.base import OperatorInput


class Instances(OperatorInput):
    """A number of brokers of an instance type."""

    type: str = Field(min_length=1)
    count: int = Field(gt=0)


class TopicMap(OperatorInput):
    """One map. `topics` is a regex that must match a topic's whole name."""

    name: str = Field(min_length=1)
    topics: str = Field(min_length=1)
    brokers: tuple[int, ...] = ()
    instances: Instances | None = None

    _topics = field_validator("topics")(patterns.check)

    @model_validator(mode="after")
    def _one_kind(self) -> "TopicMap":
        if bool(self.brokers) == (self.instances is not None):
            raise ValueError("give either brokers or instances")
        if len(set(self.brokers)) != len(self.brokers):
            raise ValueError("brokers: an id appears twice")
        return self
