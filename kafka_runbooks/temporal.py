"""Temporal, the same for worker and command line: the connection, and the search attributes of the namespace."""

from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks import search_attributes

_KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
_UNUSABLE = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED)


class TemporalSettings(BaseSettings):
    """Where runbooks run; from the environment variables `KAFKA_RUNBOOKS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_RUNBOOKS_")

    task_queue: str = "kafka-runbooks"


class WrongSearchAttributeType(Exception):
    """A search attribute is registered with a type that runs can't set."""


def connect_config() -> dict[str, Any]:
    """Address, namespace, TLS and keys, from where the `temporal` command reads them: `TEMPORAL_*` and its configuration file."""
    return dict(ClientConfig.load_client_connect_config())


async def connect(runtime: Runtime | None = None) -> Client:
    """Connect, with the project's data converter.

    Raises:
        RuntimeError: the server doesn't answer.
    """
    config = connect_config()
    config.setdefault("target_host", "localhost:7233")
    return await Client.connect(**config, data_converter=pydantic_data_converter, runtime=runtime)


async def search_attributes_are_registered(client: Client) -> bool:
    """Whether runs in this namespace may set, and queries may use, every one of our search attributes.

    Asks by a query that uses them all, which needs no more rights than listing runs; the server rejects a query with an unknown
    name. False too where the server has no advanced visibility or doesn't let us query: without an answer runs do without.

    Raises:
        RPCError: the server doesn't answer.
    """
    query = " AND ".join(f"{key.name} = ''" for key in search_attributes.ALL)
    try:
        await client.count_workflows(query)
    except RPCError as error:
        if error.status in _UNUSABLE:
            return False
        raise
    return True


async def register_search_attributes(client: Client) -> tuple[str, ...]:
    """Register those of our search attributes that the namespace lacks, and return their names. Needs an administrator's rights.

    Raises:
        WrongSearchAttributeType: one of the names is taken by an attribute of another type.
        RPCError: the server doesn't answer, or refuses.
    """
    listing = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(listing)).custom_attributes
    for key in search_attributes.ALL:
        if key.name in known and known[key.name] != _KEYWORD:
            kind = IndexedValueType.Name(known[key.name]).removeprefix("INDEXED_VALUE_TYPE_").title()
            raise WrongSearchAttributeType(f"{key.name} is registered as {kind}, but must be a Keyword")
    missing = {key.name: _KEYWORD for key in search_attributes.ALL if key.name not in known}
    if missing:
        adding = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        await client.operator_service.add_search_attributes(adding)
    return tuple(missing)
