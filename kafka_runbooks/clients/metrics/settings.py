"""`metrics: {source: …}` of a cluster's entry in the clusters file: which backend, and how to reach it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field

from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.traffic import FIGURES, TOTALS, Figure

BROKER_ID_LABEL = "broker_id"


class _Settings(BaseModel):
    """Values stay out of error messages: a secret pasted into the wrong field would end up in a log."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _checked(queries: dict[Figure, str | None]) -> dict[Figure, str | None]:
    if all(figure in queries and queries[figure] is None for figure in FIGURES):
        raise ValueError("every figure is null; query at least one")
    if unknown := sorted(set(queries) & set(TOTALS)):
        # A count and its mean must be of one moment, which two queries are not.
        raise ValueError(f"{', '.join(unknown)}: only source: exporter has it")
    return queries


Queries = Annotated[dict[Figure, str | None], AfterValidator(_checked)]
"""A query for each figure whose default doesn't fit; null: the figure isn't queried and stays unknown."""


def with_defaults(queries: Mapping[Figure, str | None], defaults: Mapping[Figure, str]) -> dict[Figure, str]:
    """The file's queries, and the defaults for figures that it doesn't mention."""
    return {figure: query for figure, query in {**defaults, **queries}.items() if query is not None}


class ExporterSource(_Settings):
    """The brokers' own JMX exporters, each at its pod's address and the cluster's `metrics_port`."""

    source: Literal["exporter"] = "exporter"


class PrometheusSource(_Settings):
    """A Prometheus server, or another one with its HTTP API, that scrapes the brokers."""

    source: Literal["prometheus"]
    url: AnyHttpUrl
    """Of the server, including its path prefix if it has one."""
    broker_label: str = Field(default=BROKER_ID_LABEL, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    """The label whose value is the broker ID."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Only series with these labels count: one server often scrapes several clusters with the same broker IDs."""
    queries: Queries = Field(default_factory=dict)
    measured_at: str | None = None
    """A query whose value is the samples' time in Unix seconds, by broker. Needed where queries are expressions, whose age
    Prometheus doesn't report. Without it, each query is also sent as `timestamp(query)`."""
    max_age_seconds: float = Field(default=60, gt=0)
    bearer_token_file: Path | None = None


class DatadogSource(_Settings):
    """Datadog's API. The keys come from files, else from DD_API_KEY and DD_APP_KEY."""

    source: Literal["datadog"]
    url: AnyHttpUrl = AnyHttpUrl("https://api.datadoghq.com")
    """Of the site's API (`https://api.datadoghq.eu` for the EU)."""
    scope: str = Field(default="*", min_length=1)
    """The scope of the default queries, for example `service:kafka,cluster:main`."""
    broker_tag: str = Field(default=BROKER_ID_LABEL, pattern=r"^[a-zA-Z][\w\-./]*$")
    """The tag whose value is the broker ID; custom queries must group by it."""
    queries: Queries = Field(default_factory=dict)
    max_age_seconds: float = Field(default=60, gt=0)
    api_key_file: Path | None = None
    application_key_file: Path | None = None


class ZookeeperSource(ZookeeperSettings):
    """`Traffic` beside `StorageFree` in kafka-kit's znode `/<prefix>/brokermetrics`."""

    source: Literal["zookeeper"]
    prefix: str = "topicmappr"
    """kafka-kit's `--zk-metrics-prefix`; empty: the root."""
    max_age_seconds: float = Field(default=60, gt=0)


class FileSource(_Settings):
    """A JSON file with a `TrafficReport`, kept fresh by the operator's own script."""

    source: Literal["file"]
    path: Path
    max_age_seconds: float = Field(default=60, gt=0)


MetricsSource = Annotated[
    ExporterSource | PrometheusSource | DatadogSource | ZookeeperSource | FileSource, Field(discriminator="source")
]
