"""`setup`: what the namespace needs once."""

import asyncio

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks import search_attributes
from kafka_runbooks.cli import connection, equivalents
from kafka_runbooks.cli.exits import FAILED, fail
from kafka_runbooks.cli.output import console, print_equivalent
from kafka_runbooks.cli.parameters import typer_app
from kafka_runbooks.temporal import WrongSearchAttributeType, register_search_attributes, search_attributes_are_registered

USABLE_SECONDS = 90.0
"""Servers cache the names; other clusters than a development server take up to a minute."""

app = typer_app()


@app.command()
def setup() -> None:
    """Register the search attributes that `list` filters by.

    Runs set them on themselves: KafkaCluster, Runbook, Phase, Requester, Ticket. Needs the rights of an administrator of the
    namespace. May be repeated.
    """
    screen = console()
    command = equivalents.create_search_attributes([key.name for key in search_attributes.ALL])
    print_equivalent(screen, command)

    async def work() -> tuple[str, ...]:
        client = await connection.open_client()
        try:
            added = await register_search_attributes(client)
        except WrongSearchAttributeType as error:
            fail(FAILED, f"{error}; remove it with `temporal operator search-attribute remove`, or use another namespace")
        except RPCError as error:
            if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
                fail(
                    FAILED, f"not allowed to register search attributes ({error.message}); ask an administrator to run: {command}"
                )
            raise
        await _wait_until_usable(client)
        return added

    added = connection.run(work())
    screen.print(f"registered: {', '.join(added)}" if added else "every search attribute is registered already")


async def _wait_until_usable(client: Client) -> None:
    for _ in range(round(USABLE_SECONDS)):
        if await search_attributes_are_registered(client):
            return
        await asyncio.sleep(1)
    fail(FAILED, f"registered, but queries don't accept them after {USABLE_SECONDS:.0f} s; repeat `kafka-runbooks setup` later")
