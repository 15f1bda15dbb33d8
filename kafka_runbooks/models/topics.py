"""Topics as they are declared, and what is known of the cluster that has them."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from kafka_runbooks.models import patterns
from kafka_runbooks.models.base import Model, Name, OperatorInput
from kafka_runbooks.models.maps import TopicMap

MOST_NAME_CHARACTERS = 249
"""Of a topic's name (Topic.MAX_NAME_LENGTH)."""
INTERNAL = "__"
"""What the names of Kafka's own topics begin with."""
THROTTLED = re.compile(r"\.replication\.throttled\.")
"""In the names of configs that hold throttles: those are of runs that move data, never of a definition."""
NAMED_ONCE = "give name or names, one of them"
MINIMUM_IN_SYNC = "min.insync.replicas"
ConfigScalar = str | int | float | bool
AskKafka = Callable[[Sequence[Mapping[str, str]]], Sequence[str | None]]
"""Asks of each set of configs why Kafka would refuse it; None: it wouldn't."""


def name_fault(name: str) -> str | None:
    """What is wrong with a topic's name by Kafka's rules (`Topic.validate`), or by ours: none of Kafka's own."""
    if not name:
        return "a topic's name can't be empty"
    if name in (".", ".."):
        return f"a topic can't be called {name!r}"
    if len(name) > MOST_NAME_CHARACTERS:
        return f"a topic's name has {MOST_NAME_CHARACTERS} characters at most; this has {len(name)}"
    if illegal := sorted(set(name) - patterns.LEGAL):
        return f"{name!r} has {' '.join(map(repr, illegal))}; a topic's name has ASCII letters, digits, '.', '_' and '-' only"
    if name.startswith(INTERNAL):
        return f"{name!r} is Kafka's own, as names with {INTERNAL} in front are: leave it out"
    return None


def collision_key(name: str) -> str:
    """The same for names that Kafka doesn't let stand beside each other, for their metrics would have one name."""
    return name.replace(".", "_")


def _legal_name(name: str) -> str:
    if (fault := name_fault(name)) is not None:
        raise ValueError(fault)
    return name


def _no_throttle(key: str) -> str:
    if THROTTLED.search(key):
        raise ValueError("is never declared: throttles are set and removed by runs that move data; leave it out")
    return key


def as_kafka_has_it(value: Any) -> str:
    """A config's value as Kafka's text: `true`, `604800000`, `compact,delete` of a list.

    Raises:
        ValueError: it is nothing that a config can be.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return repr(value)
        case list() | tuple() if value and all(isinstance(one, str) for one in value):
            return ",".join(value)
        case None:
            raise ValueError("has no value: give one, or leave it out for Kafka's default")
        case _:
            raise ValueError("give a text, a number, true or false, or a list of texts")


def as_people_write_it(value: str) -> ConfigScalar:
    """The number or boolean whose text it is, else the text."""
    if value in ("true", "false"):
        return value == "true"
    return int(value) if re.fullmatch(r"0|-?[1-9][0-9]{0,18}", value) else value


def _whole(value: object) -> object:
    """12.0 is an integer to JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


TopicName = Annotated[
    str,
    AfterValidator(_legal_name),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MOST_NAME_CHARACTERS,
            "pattern": rf"^(?!\.{{1,2}}$)(?!{INTERNAL})[a-zA-Z0-9._-]+$",
        }
    ),
]
ConfigKey = Annotated[str, StringConstraints(min_length=1), AfterValidator(_no_throttle)]
ConfigValue = Annotated[
    str,
    BeforeValidator(as_kafka_has_it),
    WithJsonSchema({"type": ["string", "number", "boolean", "array"], "items": {"type": "string"}, "minItems": 1}),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TopicDefinition(OperatorInput):
    """A topic, or several that are alike."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["name"]}, {"required": ["names"]}]})

    name: TopicName | None = Field(default=None, description="the topic's name; or give names")
    names: tuple[TopicName, ...] | None = Field(
        default=None, min_length=1, json_schema_extra={"uniqueItems": True}, description="of topics that are alike"
    )
    map: Text | None = Field(default=None, description="the map whose brokers have it; default: the one whose expression matches")
    partitions: Annotated[int, Field(strict=True, ge=1, lt=2**31), BeforeValidator(_whole)] = Field(
        description="never fewer than there are: Kafka can't take any away"
    )
    replication_factor: Annotated[int, Field(strict=True, ge=1, lt=2**15), BeforeValidator(_whole)] = Field(
        description="copies of each partition, each on another broker"
    )
    configs: dict[ConfigKey, ConfigValue] = Field(
        default_factory=dict,
        json_schema_extra={"propertyNames": {"minLength": 1, "not": {"pattern": THROTTLED.pattern}}},
        description="topic configs, as Kafka calls them; those that are left out have Kafka's default",
    )
    owner: Text | None = Field(default=None, description="whom to ask about it")
    delete: StrictBool = Field(default=False, description="mark it for deletion; leaving a topic out never deletes it")

    @model_validator(mode="after")
    def _is_named_once(self) -> Self:
        if (self.name is None) == (self.names is None):
            raise ValueError(NAMED_ONCE)
        return self

    @field_validator("name", "names", "map", "owner", mode="before")
    @classmethod
    def _has_value(cls, given: Any) -> Any:
        if given is None:
            raise ValueError("has no value: give one, or leave it out")
        return given

    @property
    def topics(self) -> tuple[str, ...]:
        """Every name."""
        return self.names if self.names is not None else (self.name or "",)


class TopicDefinitions(OperatorInput):
    """A document of definitions."""

    model_config = ConfigDict(
        title="Topics of a Kafka cluster", json_schema_extra={"anyOf": [{"required": ["maps"]}, {"required": ["topics"]}]}
    )

    maps: tuple[TopicMap, ...] = Field(default=(), description="which topics live on which brokers")
    topics: tuple[TopicDefinition, ...] = ()


class KeptTopics(OperatorInput):
    """What somebody has changed by hand and wants to stay for a while."""

    topics: tuple[str, ...] = Field(min_length=1, description="names or regular expressions that match whole names")
    until: AwareDatetime = Field(description="RFC 3339, such as 2026-03-01T09:00:00Z")
    by: Name = Field(description="who has changed it")
    reason: Name = Field(description="why")

    @field_validator("topics")
    @classmethod
    def _are_patterns(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            patterns.check(one)
        return given

    def keeps(self, topic: str, now: datetime) -> bool:
        """Whether what was set on a topic stays as it is."""
        return now < self.until and any(
            one == topic if patterns.is_literal(one) else bool(patterns.matching(one, [topic])) for one in self.topics
        )


class RefusedConfigs(Model):
    """Configs that Kafka refuses together; the smallest set of them that is known."""

    configs: dict[str, str]
    reason: str
    """Kafka's own words."""


class TopicConfigs(NamedTuple):
    """What is set on topics themselves, and every key that a topic can have; none is known where no topic could be asked."""

    own: Mapping[str, Mapping[str, str]]
    keys: frozenset[str]


class ValidatedConfigs(NamedTuple):
    """Kafka's word on sets of configs: of each the reason why it is refused, or None; and every key that a topic can have."""

    reasons: tuple[str | None, ...]
    keys: frozenset[str]


class ExistingTopic(Model):
    """A topic that there is."""

    partitions: int
    replication_factor: int
    """The most replicas that one of its partitions has, or will have at the end of a reassignment."""
    broker_ids: tuple[int, ...]
    """Those that have a replica, or will."""
    topic_id: str | None = None
    replicas: tuple[tuple[int, ...], ...] = ()
    """Of each partition as they are, or will be."""
    configs: dict[str, str] = Field(default_factory=dict)
    """Those that are set on the topic itself, throttles included."""


class TopicFacts(Model):
    """What is known of a cluster, as far as definitions are checked against it. None is what couldn't be found out."""

    racks: dict[int, str | None]
    """Of each registered broker."""
    brokers_by_map: dict[str, tuple[int, ...]] | None = None
    """As Kubernetes' labels say it."""
    topics: dict[str, ExistingTopic] = Field(default_factory=dict)
    config_keys: tuple[str, ...] | None = None
    """Every config that a topic of the running version can have."""
    refused_configs: tuple[RefusedConfigs, ...] | None = None
    """What Kafka says of the configs that are declared."""
    unknown: tuple[str, ...] = ()
    """Why something is None, for people."""
