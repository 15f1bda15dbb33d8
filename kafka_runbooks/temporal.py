"""The connection to Temporal, the same for the worker and the command line."""

from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks import search_attributes


class TemporalSettings(BaseSettings):
    """Where runbooks run; from the environment variables `KAFKA_RUNBOOKS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_RUNBOOKS_")

    task_queue: str = "kafka-runbooks"


def connect_config() -> dict[str, Any]:
    """Address, namespace, TLS and keys as the `temporal` command has them: `TEMPORAL_*`, and the profile of its file."""
    return dict(ClientConfig.load_client_connect_config())


async def connect(runtime: Runtime | None = None) -> Client:
    """A client with the project's data converter.

    Raises:
        RuntimeError: the server doesn't answer.
    """
    config = connect_config()
    config.setdefault("target_host", "localhost:7233")
    return await Client.connect(**config, data_converter=pydantic_data_converter, runtime=runtime)


async def search_attributes_are_registered(client: Client) -> bool:
    """Whether the namespace has all of `search_attributes.ALL`, asked by a query that any client may make."""
    query = " AND ".join(f"{key.name} = ''" for key in search_attributes.ALL)
    try:
        await client.count_workflows(query)
    except RPCError as error:
        if error.status in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNIMPLEMENTED):
            return False
        raise
    return True
