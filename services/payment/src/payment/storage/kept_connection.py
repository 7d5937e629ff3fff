"""A connection that is kept from one use to the next: the one that books, and the one that announces.

To take one from the pool and give it back took more of a payment alone than the rules that decide it.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from payment.storage.postgres_session import AsyncSession

Result = TypeVar("Result")


class KeptConnection:
    """Runs work on a connection of a pool, and keeps that as long as nothing goes wrong.

    Args:
        engine: whose pool it is. Work that runs at the same time takes a connection of its own.
        waited: called with the seconds that each work had to wait for a connection.

    Attributes:
        _kept: the connection while nobody uses it. Only `run` and `aclose` change it, on one event loop.
    """

    def __init__(self, engine: AsyncEngine, waited: Callable[[float], None]) -> None:
        self._engine = engine
        self._waited = waited
        self._kept: AsyncConnection | None = None

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        """Return what the work returns. What it has not committed is rolled back."""
        began_s = time.perf_counter()
        connection, self._kept = self._kept, None
        if connection is None:
            connection = await self._engine.connect()
        self._waited(time.perf_counter() - began_s)
        is_good = False
        try:
            result = await connection.run_sync(work)
            is_good = _is_idle(connection)
        finally:
            if not is_good:
                await connection.close()  # the pool rolls back
        await self._keep(connection if is_good else None)
        return result

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._keep(None)

    async def _keep(self, connection: AsyncConnection | None) -> None:
        another, self._kept = self._kept, connection
        if another is not None:
            await another.close()


def _is_idle(connection: AsyncConnection) -> bool:
    """Say whether no transaction is under way."""
    assert connection.sync_connection is not None
    session = connection.sync_connection.connection.driver_connection
    assert isinstance(session, AsyncSession)
    return session.pgconn.transaction_status == TransactionStatus.IDLE
