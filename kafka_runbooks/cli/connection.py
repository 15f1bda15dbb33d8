"""Work against a Temporal server, whose failures become one line and an exit code."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from kafka_runbooks.cli.exits import BAD_INPUT, FAILED, fail
from kafka_runbooks.runs.validation import BadInput
from kafka_runbooks.temporal import connect, connect_config

CONNECT_SECONDS = 8.0

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; bad input and a server that fails end the command."""
    try:
        return asyncio.run(work)
    except BadInput as error:
        fail(BAD_INPUT, str(error))
    except RPCError as error:
        fail(FAILED, f"Temporal at {_address()}: {error.message}")


async def open_client() -> Client:
    """Connect, or end the command."""
    try:
        return await asyncio.wait_for(connect(), CONNECT_SECONDS)
    except (RuntimeError, TimeoutError, OSError) as error:
        reason = " ".join(str(error).split())[:200] or f"no answer in {CONNECT_SECONDS:.0f} s"
        fail(FAILED, f"can't reach Temporal at {_address()}: {reason} (set TEMPORAL_ADDRESS, or a profile)")


def _address() -> str:
    return str(connect_config().get("target_host", "localhost:7233"))
