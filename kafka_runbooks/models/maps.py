"""Maps as an operator writes them: a topic regex -> broker ids, or -> N instances of a type."""

from typing import Annotated

from pydantic import ConfigDict, Field, field_validator, model_validator

from kafka_runbooks.models import patterns
from kafka_runbooks.models.base import OperatorInput


class Instances(OperatorInput):
    """A number of brokers of an instance type."""

    type: str = Field(min_length=1)
    count: int = Field(gt=0)


class TopicMap(OperatorInput):
    """One map. `topics` is a regex that must match a topic's whole name.

    Without brokers or instances it has the brokers that are labelled with its name, where there are labels.
    """

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["brokers", "instances"]}})

    name: str = Field(min_length=1, description="as brokers' StatefulSets are labelled with it")
    topics: str = Field(min_length=1, description="a regular expression (RE2) that matches whole names")
    brokers: tuple[Annotated[int, Field(ge=0, strict=True)], ...] = Field(
        default=(), json_schema_extra={"uniqueItems": True}, description="broker IDs"
    )
    instances: Instances | None = Field(default=None, description="or so many brokers of an instance type")

    _topics = field_validator("topics")(patterns.check)

    @model_validator(mode="after")
    def _one_kind(self) -> "TopicMap":
        if self.brokers and self.instances is not None:
            raise ValueError("give either brokers or instances")
        if len(set(self.brokers)) != len(self.brokers):
            raise ValueError("brokers: an id appears twice")
        return self
