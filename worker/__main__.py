"""`python -m worker`: run a worker until SIGTERM. Its clusters are those of `KAFKA_RUNBOOKS_CLUSTERS_FILE`.

Exit codes: 1 Temporal can't be reached, 2 the settings or the clusters file are wrong.
"""

import asyncio
import sys

import pydantic

from kafka_runbooks.clients.clusters import ConfiguredClusters
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.temporal import connect_config
from worker.process import run_worker
from worker.settings import WorkerSettings


def main() -> None:
    """Entry point of the worker."""
    try:
        settings = WorkerSettings()
        clusters = ConfiguredClusters.from_file()
    except pydantic.ValidationError as error:
        for fault in error.errors():
            print(f"error: KAFKA_RUNBOOKS_{str(fault['loc'][0]).upper()}: {fault['msg']}", file=sys.stderr)
        sys.exit(2)
    except ClientError as error:
        print(f"error: KAFKA_RUNBOOKS_CLUSTERS_FILE: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        asyncio.run(run_worker(settings, clusters))
    except RuntimeError as error:
        address = connect_config().get("target_host", "localhost:7233")
        print(f"error: Temporal at {address}: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
