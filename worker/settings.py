"""The worker's settings, from environment variables `KAFKA_RUNBOOKS_*`; Temporal's own are those of the `temporal` command."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from activities.pools import Pool
from kafka_runbooks.temporal import TemporalSettings


class WorkerSettings(TemporalSettings):
    """Each field is `KAFKA_RUNBOOKS_<FIELD>`; the clusters' file is `KAFKA_RUNBOOKS_CLUSTERS_FILE` (`clients.clusters`)."""

    health_port: int = 8080
    metrics_port: int = 9090
    act_slots: int = Field(default=32, ge=1)
    """Brief steps at the same time."""
    look_slots: int = Field(default=32, ge=1)
    """Looks of waiting runs, and plans that are made, at the same time: what a plan of a large cluster needs is memory."""
    copy_slots: int = Field(default=128, ge=1)
    """So many runs copy data at the same time in one worker. A slot costs a thread once it is used, and one that heartbeats."""
    cached_workflows: int = Field(default=500, ge=1)
    """Runs whose state stays in memory: a run has two workflows (itself and its permit); one that isn't there is replayed."""
    webhook_url_file: Path | None = None
    """The file, of a mounted Secret, with the URL that is told when a run waits for a person, fails or ends."""
    build_id: str | None = None
    """If set, the worker is versioned (Temporal Worker Deployments): running workflows stay on the build that they started on."""

    @property
    def slots(self) -> Mapping[Pool, int]:
        return {Pool.ACTS: self.act_slots, Pool.LOOKS: self.look_slots, Pool.COPIES: self.copy_slots}
