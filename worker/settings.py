"""The worker's settings, from environment variables `KAFKA_RUNBOOKS_*`; Temporal's own are those of the `temporal` command."""

from kafka_runbooks.temporal import TemporalSettings


class WorkerSettings(TemporalSettings):
    """Each field is `KAFKA_RUNBOOKS_<FIELD>`; the clusters' file is `KAFKA_RUNBOOKS_CLUSTERS_FILE` (`clients.clusters`)."""

    health_port: int = 8080
    metrics_port: int = 9090
    activity_threads: int = 32
    """Slots of each pool (`activities.pools`): so many runs copy data at the same time in one worker."""
    build_id: str | None = None
    """If set, the worker is versioned (Temporal Worker Deployments): running workflows stay on the build that they started on."""
