"""The page's connection to Temporal, which may be away: nothing is lost then, and each request tries again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks import temporal

PATIENCE_SECONDS = 12.0
"""How long somebody looks at an empty page before he is told why."""
_AWAY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.PERMISSION_DENIED,
)


class TemporalAway(Exception):
    """Temporal doesn't answer, or doesn't let us in."""


class Temporal:
    """One connection, opened when it is first needed; the SDK opens it again after it broke."""

    def __init__(self, connect: Callable[[], Awaitable[Client]] = temporal.connect) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def client(self, seconds: float | None = None) -> AsyncIterator[Client]:
        """The client, for work that may take so long; default: `PATIENCE_SECONDS`.

        Raises:
            TemporalAway: no answer in time.
        """
        seconds = PATIENCE_SECONDS if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                yield await self._open()
        except TimeoutError as error:
            raise TemporalAway(f"no answer in {seconds:.0f} s") from error
        except RPCError as error:
            if error.status not in _AWAY:
                raise
            raise TemporalAway(error.message) from error

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None:
                try:
                    self._client = await self._connect()
                except (RuntimeError, OSError) as error:
                    raise TemporalAway("it can't be reached") from error
            return self._client
