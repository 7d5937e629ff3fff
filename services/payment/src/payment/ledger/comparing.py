"""Reconciliations as the API needs them: asked for, looked at, and ended."""

import time
from collections.abc import Sequence

from sqlalchemy import RowMapping

from payment.core.cause import Cause
from payment.ledger import reconciliations
from payment.ledger.feed import Read
from payment.ledger.notifications import Write
from payment.ledger.reconciliations import Asked


class Reconciliations:
    """Those that somebody asked for; a worker works them off. Every method runs on the event loop.

    Args:
        read: runs a query.
        write: runs what may write.
    """

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def ask(self, asked: Asked, cause: Cause) -> RowMapping:
        """Write one down for a worker, and return it.

        Raises:
            ReconciliationRunning: another one is open.
            Unavailable: the database does not answer.
        """
        return await self._write(
            lambda connection: reconciliations.ask(connection, asked, cause, time.time_ns() // 1000)
        )

    async def all(self) -> Sequence[RowMapping]:
        """Return all that are kept, the newest first.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(reconciliations.find_all)

    async def one(self, reconciliation_id: str) -> RowMapping:
        """Return one.

        Raises:
            ReconciliationNotFound: there is none with this id, or no more.
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: reconciliations.find(connection, reconciliation_id))

    async def findings(self, reconciliation_id: str, after: int, limit: int) -> Sequence[RowMapping]:
        """Return what did not agree, as it was found; see `reconciliations.find_disagreements`.

        Raises:
            ReconciliationNotFound: there is none with this id, or no more.
            Unavailable: the database does not answer.
        """
        return await self._read(
            lambda connection: reconciliations.find_disagreements(connection, reconciliation_id, after, limit)
        )

    async def cancel(self, reconciliation_id: str) -> RowMapping:
        """End one if it has not ended, and return it.

        Raises:
            ReconciliationNotFound: there is none with this id, or no more.
            Unavailable: the database does not answer.
        """
        return await self._write(
            lambda connection: reconciliations.cancel(connection, reconciliation_id, time.time_ns() // 1000)
        )
