"""Where a cluster's metrics come from, as its entry in the clusters file says: `metrics: {source: …}`.

Settings only: a backend's library is imported when a cluster that uses it is opened.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field

from kafka_runbooks.models.traffic import FIGURES, TOTALS, Figure

BROKER_ID_LABEL = "broker_id"


class _Settings(BaseModel):
    """Inputs stay out of error messages: a secret that was pasted into the wrong field would end in a log."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _checked(queries: dict[Figure, str | None]) -> dict[Figure, str | None]:
    if all(figure in queries and queries[figure] is None for figure in FIGURES):
        raise ValueError("every figure is null; leave one to ask for")
    if unknown := sorted(set(queries) & set(TOTALS)):
        # A number and its mean have to be of one moment, and two queries aren't.
        raise ValueError(f"{', '.join(unknown)}: only the brokers' exporters tell it")
    return queries


Queries = Annotated[dict[Figure, str | None], AfterValidator(_checked)]
"""One query a figure, where the default doesn't fit; null: the figure isn't asked for, and stays unknown."""


def asked(queries: Mapping[Figure, str | None], defaults: Mapping[Figure, str]) -> dict[Figure, str]:
    """The queries to ask: the file's own, and the defaults of the figures that it doesn't mention."""
    return {figure: query for figure, query in {**defaults, **queries}.items() if query is not None}


class ExporterSource(_Settings):
    """The brokers' own JMX exporters, each at its pod's address and the cluster's `metrics_port`."""

    source: Literal["exporter"] = "exporter"


class PrometheusSource(_Settings):
    """A Prometheus server (or what speaks its HTTP API) that scrapes the brokers."""

    source: Literal["prometheus"]
    url: AnyHttpUrl
    """Of the server, with its path prefix where it has one."""
    broker_label: str = Field(default=BROKER_ID_LABEL, pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    """The label whose value is the broker id."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Only series with these labels count: one server often scrapes several clusters, whose broker ids are alike."""
    queries: Queries = Field(default_factory=dict)
    measured_at: str | None = None
    """A query whose value is the time (Unix seconds) of the samples, by broker: for queries that are expressions, of which
    Prometheus no longer says how old they are. Without it, `timestamp(…)` of each query is asked."""
    max_age_seconds: float = Field(default=60, gt=0)
    bearer_token_file: Path | None = None


class DatadogSource(_Settings):
    """Datadog's API. The keys come from files, else from DD_API_KEY and DD_APP_KEY."""

    source: Literal["datadog"]
    url: AnyHttpUrl = AnyHttpUrl("https://api.datadoghq.com")
    """Of the site's API (for the EU `https://api.datadoghq.eu`)."""
    scope: str = Field(default="*", min_length=1)
    """Which hosts the default queries look at, for example `service:kafka,cluster:main`."""
    broker_tag: str = Field(default=BROKER_ID_LABEL, pattern=r"^[a-zA-Z][\w\-./]*$")
    """The tag whose value is the broker id; queries of your own must group by it."""
    queries: Queries = Field(default_factory=dict)
    max_age_seconds: float = Field(default=60, gt=0)
    api_key_file: Path | None = None
    application_key_file: Path | None = None


class ZookeeperSource(_Settings):
    """kafka-kit's znodes `/<prefix>/partitionmeta` and `/<prefix>/brokermetrics`."""

    source: Literal["zookeeper"]
    hosts: str = Field(min_length=1)
    """`host:port,host:port`, with a chroot at the end where there is one."""
    prefix: str = "topicmappr"
    """kafka-kit's `--zk-metrics-prefix`; empty: the root."""
    max_age_seconds: float = Field(default=60, gt=0)
    """Of the traffic; sizes may be older (`metrics_znodes.SIZES_MAX_AGE_SECONDS`)."""


class FileSource(_Settings):
    """A file with a `TrafficReport` as JSON, which something else keeps fresh."""

    source: Literal["file"]
    path: Path
    max_age_seconds: float = Field(default=60, gt=0)


MetricsSource = Annotated[
    ExporterSource | PrometheusSource | DatadogSource | ZookeeperSource | FileSource, Field(discriminator="source")
]
